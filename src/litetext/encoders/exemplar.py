"""A concept shown by example: boxes in one image that say what to find in others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from .features import TextFeatures


@dataclass(frozen=True, slots=True, eq=False)
class ExemplarConcept:
    """What to find, as `Segmenter.concept` makes it of example boxes; it belongs to the detector that made it.

    Attributes:
        name: what results call it.
        tokens: [T, D] float32, the tokens of the prompt's text and of the example boxes.
        threshold: the lowest score that counts for it, in 0..1; None: whatever the caller asks for.
    """

    name: str
    tokens: NDArray[np.float32]
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise LitetextError("a concept needs a name, such as 'widget'")
        if self.tokens.ndim != 2 or not len(self.tokens) or not np.isfinite(self.tokens).all():
            raise LitetextError(f"the tokens of concept {self.name!r} must be finite numbers [T, D]")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise LitetextError(f"the threshold of concept {self.name!r} must lie in 0..1, got {self.threshold}")

    def __repr__(self) -> str:
        own = "" if self.threshold is None else f", threshold {self.threshold:g}"
        return f"ExemplarConcept({self.name!r}, {len(self.tokens)} tokens{own})"

    @property
    def features(self) -> TextFeatures[NDArray[Any]]:
        """The concept as the features of one prompt."""
        threshold = np.nan if self.threshold is None else self.threshold
        return TextFeatures(
            self.tokens[None],
            np.zeros((1, len(self.tokens)), dtype=bool),
            thresholds=np.array([threshold], dtype=np.float32),
            by_example=np.ones(1, dtype=bool),
        )
