"""What runs under a `Segmenter`: a promptable detector, in torch or without it.

Everything that is the same for all of them (questions, thresholds, batches, which pixels are decoded at all, results
tied to their prompts) is in `segmenter`, once. A backend's own tensors stay inside it; what crosses is numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..encoders.features import TextFeatures
from .convention import DetectorConvention

if TYPE_CHECKING:
    from ..images import ImageLike


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """One image, encoded, for any number of `Segmenter.detect` calls.

    Attributes:
        size: height and width of the image in pixels.
        image: what was encoded, as the caller gave it (for drawing), or None.
        backend: what encoded it; every segmenter with this backend can read it, whatever its text encoder.
        state: the backend's own tensors.
    """

    size: tuple[int, int]
    image: ImageLike | None
    backend: Backend
    state: Any

    def __repr__(self) -> str:
        return f"ImageFeatures({self.size[1]}x{self.size[0]})"


@dataclass(frozen=True, eq=False)
class Detections:
    """What the detector returns for P prompts with its Q queries each, before any pixel is decoded.

    Attributes:
        logits: [P, Q] float32, how well each query fits the prompt.
        presence_logits: [P] float32, of the prompt being in the image at all.
        boxes: [P, Q, 4] float32, x1, y1, x2, y2 as fractions of the image.
        state: what the backend needs to decode masks.
    """

    logits: NDArray[np.float32]
    presence_logits: NDArray[np.float32]
    boxes: NDArray[np.float32]
    state: Any

    @cached_property
    def presence(self) -> NDArray[np.float32]:
        """[P] float32 in 0..1."""
        return sigmoid(self.presence_logits)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """[P, Q] float32 in 0..1: presence times query score, as SAM3 defines a detection's score."""
        return sigmoid(self.logits) * self.presence[:, None]


class Backend(Protocol):
    """A promptable detector."""

    @property
    def image_size(self) -> int:
        """Side of the square that pictures are resized to, in pixels."""
        ...

    @property
    def dim(self) -> int:
        """D, the numbers a text token must have; 256 for SAM3."""
        ...

    @property
    def convention(self) -> DetectorConvention:
        """What the checkpoint's weights expect of the code around them."""
        ...

    def prepare_text(self, text: TextFeatures) -> TextFeatures:
        """Return text features as `detect` reads them, with no reference to the encoder that made them."""
        ...

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """Return the encoded state of each image, uint8 [H, W, 3]; all run through the vision encoder together."""
        ...

    def feature_maps(self, state: Any) -> list[NDArray[np.float32]]:
        """Return the levels of one image's pyramid, fine to coarse, float32 [C, h, w] each."""
        ...

    def encode_boxes(self, state: Any, boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the example boxes of P prompts in one image as tokens, float32 [P, m, C].

        Args:
            state: of the image, from `encode_images`.
            boxes: [P, n, 4] center x, center y, width, height as fractions.
            labels: [P, n]: 1 for an example, 0 for a counterexample.
        """
        ...

    def detect(self, state: Any, text: TextFeatures, geometry: NDArray[np.float32] | None = None) -> Detections:
        """Decode P prompts over one image.

        Args:
            state: of the image, from `encode_images`.
            text: of P prompts, as `prepare_text` returned them.
            geometry: [P, m, C] tokens to put behind each prompt's text, of `encode_boxes` or none at all (m = 0); by
                default what the detector's convention puts there.
        """
        ...

    def decode_masks(
        self, state: Any, detections: Detections, prompt: int, queries: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return mask logits, float32 [n, h, w], of the chosen ``queries`` [n] of one prompt (its row)."""
        ...

    def decode_masks_together(
        self, state: Any, detections: Detections, queries: Mapping[int, NDArray[np.int64]]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield what `decode_masks` returns of several prompts, as many at once as pay and fit into memory.

        Args:
            state: of the image, from `encode_images`.
            detections: of these prompts and others, from `detect`.
            queries: one or more chosen queries of each prompt, by its row; masks come in this order.
        """
        ...

    def return_memory(self) -> None:
        """Return memory that a text encoder left free to the system."""
        ...


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities of ``logits``, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits < 0, small, np.float32(1)) / (1 + small)


def logit(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of ``probabilities``; 0 and 1 become the largest that float32 tells apart from them."""
    near = np.clip(probabilities, np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
    return np.asarray(np.log(near) - np.log1p(-near), np.float32)
