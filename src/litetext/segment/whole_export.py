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
    """

    folder: str
    image_size: int
    opset: int
    bytes: dict[str, int]
    convention: DetectorConvention
    text: Export
    agreement: Agreement
