"""What an export of a whole model is: its files, and how far it is from torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..encoders.export import Export
from .convention import DetectorConvention


@dataclass(frozen=True)
class Agreement:
    """How far an export is from torch at worst, over all queries of some prompts, example boxes among them.

    Attributes:
        photos, prompts: how many were compared.
        score, presence: of probabilities.
        box: as fractions of the photo.
        mask: of probabilities, over the masks of the best queries of each prompt.
    """

    photos: int
    prompts: int
    score: float
    presence: float
    box: float
    mask: float

    @property
    def worst(self) -> float:
        """The largest of them; NaN if one of them is."""
        return float(np.max([self.score, self.presence, self.box, self.mask]))


@dataclass(frozen=True, slots=True)
class Errors:
    """How far a product would be off in fewer bits: its mean error as a share of its mean size.

    Attributes:
        even, by_row: in int8, rounded by one scale and row by row.
        four: with its matrix in 4 bits; None where that was not asked for.
    """

    even: float
    by_row: float
    four: float | None = None


@dataclass(frozen=True)
class Int8Graph:
    """What became of a graph in int8, or in 4 bits.

    Attributes:
        matrices: how many are stored in 8 bits or fewer.
        sensitive: those of them that are stored in 8 bits and multiplied in float32.
        worst: the largest error of the products in int8, as a share of their mean size.
        fours: how many are stored in 4 bits.
        worst_four: the largest error of their products.
    """

    matrices: int
    sensitive: int
    worst: float
    fours: int = 0
    worst_four: float = 0.0


@dataclass(frozen=True)
class CalibratedGraph:
    """What became of a graph in OpenVINO's int8.

    Attributes:
        runs: of the graph that its ranges were measured on.
        products: with stored matrices or kernels.
        int8: how many of them are multiplied in int8.
    """

    runs: int
    products: int
    int8: int


@dataclass(frozen=True)
class WholeExport:
    """What was written.

    Attributes:
        folder: where.
        image_size: the model's side of a picture in pixels.
        opset: the ONNX operator set.
        bytes: of every graph with its weights, by name; ``text`` is the encoder.
        convention: under which the graphs run.
        text: what was written of the text encoder.
        agreement: with torch, from words and photo to masks.
        int8: what became of each graph, where they are in int8.
        calibrated: what became of the graphs that OpenVINO runs in int8, where there are such.
    """

    folder: str
    image_size: int
    opset: int
    bytes: dict[str, int]
    convention: DetectorConvention
    text: Export
    agreement: Agreement
    int8: dict[str, Int8Graph] | None = None
    calibrated: dict[str, CalibratedGraph] | None = None
