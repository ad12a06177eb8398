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


@dataclass(frozen=True)
class Int8Graph:
    """What became of a graph in int8.

    Attributes:
        matrices: how many are stored in 8 bits.
        sensitive: those of them that are multiplied in float32.
        worst: the largest error of the others' products, as a share of their mean size.
    """

    matrices: int
    sensitive: int
    worst: float


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
    """

    folder: str
    image_size: int
    opset: int
    bytes: dict[str, int]
    convention: DetectorConvention
    text: Export
    agreement: Agreement
    int8: dict[str, Int8Graph] | None = None
