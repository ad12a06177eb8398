"""What stands under a `Segmenter`: a detector that sees, finds and draws, in torch or without it.

Everything that is the same for all of them (questions, thresholds, batches, which pixels are decoded at all, results
tied to their prompts) is in `segmenter`, once. A backend's own tensors stay inside it; what crosses is numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..encoders.features import TextFeatures


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the detector answers to P prompts with its Q queries each, before any pixel is decoded.

    Attributes:
        scores: [P, Q] float32 in 0..1, presence times query score.
        presence: [P] float32 in 0..1.
        boxes: [P, Q, 4] float32, x1, y1, x2, y2 as fractions of the image.
        state: what the backend needs of them to decode pixels.
    """

    scores: NDArray[np.float32]
    presence: NDArray[np.float32]
    boxes: NDArray[np.float32]
    state: Any


class Backend(Protocol):
    """A promptable detector."""

    @property
    def width(self) -> int:
        """D, the numbers a text token must have; 256 for SAM3."""
        ...

    def features(self, text: TextFeatures) -> TextFeatures:
        """Return text features as `find` reads them, owing nothing to the encoder that made them."""
        ...

    def see(self, photo: NDArray[np.uint8]) -> Any:
        """Return the backend's sight of one photo, uint8 [H, W, 3]."""
        ...

    def find(
        self,
        sight: Any,
        text: TextFeatures,
        boxes: NDArray[np.float32] | None = None,
        labels: NDArray[np.int64] | None = None,
    ) -> Answers:
        """Decode P prompts over one sight.

        Args:
            sight: of `see`.
            text: of P prompts, as `features` returned them.
            boxes: [P, n, 4] example boxes of each prompt: centre x, centre y, width, height as fractions.
            labels: [P, n]: 1 for an example, 0 for a counterexample.
        """
        ...

    def probabilities(self, sight: Any, answers: Answers, prompt: int, queries: NDArray[np.int64]) -> NDArray[Any]:
        """Return mask probabilities, float32 [n, h, w], of the chosen ``queries`` [n] of one prompt (its row)."""
        ...

    def return_memory(self) -> None:
        """Give memory that a text encoder left free back to the system."""
        ...
