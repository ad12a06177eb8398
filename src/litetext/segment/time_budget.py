"""The largest input size at which an image takes no longer than a user can wait, measured on the machine it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LitetextError
from .image_size import set_image_size
from .segmenter import Segmenter

if TYPE_CHECKING:
    from .torch_backend import TorchBackend

_SHARES = (1 / 3, 1 / 2, 2 / 3, 1)
"""Sizes that are tried, of a model's own: 336, 504, 672 and 1008 pixels for SAM3."""

_RUNS = 2
_PHOTO = np.full((480, 640, 3), 128, np.uint8)


@dataclass(frozen=True, slots=True)
class FittedSize:
    """What `fit_image_size` chose.

    Attributes:
        image_size: side of the square that pictures are resized to, in pixels.
        budget_ms: milliseconds that an image may take.
        prompts: how many were asked.
        measured_ms: milliseconds of an image at the sizes that were tried, smallest first.
    """

    image_size: int
    budget_ms: float
    prompts: int
    measured_ms: dict[int, float]

    def __str__(self) -> str:
        asked = f"an image with {self.prompts} prompt{'s' * (self.prompts > 1)}"
        larger = [f"; {size} takes {ms:.0f} ms" for size, ms in self.measured_ms.items() if size > self.image_size]
        return (
            f"image size {self.image_size}: {asked} takes {self.measured_ms[self.image_size]:.0f} ms of "
            f"{self.budget_ms:g}{''.join(larger)}"
        )


def fit_image_size(
    segmenter: Segmenter, budget_ms: float, prompts: Sequence[str], *, batch_size: int = 8
) -> FittedSize:
    """Set a segmenter to the largest input size at which an image takes no more than a number of milliseconds.

    A third, half, two thirds and all of the model's own size are tried, from the smallest on. What is measured is the
    vision encoder once, the detector for all prompts and the pixels of one mask of each, without reading and drawing.

    Args:
        segmenter: in torch, at its own size; it is changed.
        budget_ms: for an image with all prompts.
        prompts: that will be asked.
        batch_size: prompts that the detector decodes together.

    Raises:
        LitetextError: a segmenter that torch does not run, or a budget that even the smallest size exceeds.
    """
    backend: Any = segmenter.backend
    if not hasattr(backend, "processor"):
        raise LitetextError("an export sees pictures at the size it was written for; leave out the budget")
    texts = backend.prepare_text(segmenter.text.encode(list(prompts)))
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    measured: dict[int, float] = {}
    fitting = None
    for size in _candidates(backend):
        set_image_size(backend.detector, backend.processor, size)
        measured[size] = _milliseconds(backend, batches)
        if measured[size] > budget_ms:
            break
        fitting = size
    if fitting is None:
        least, taken = next(iter(measured.items()))
        raise LitetextError(
            f"at {least} pixels, the least that is tried, an image with {len(texts)} prompt{'s' * (len(texts) > 1)} "
            f"takes {taken:.0f} ms of the {budget_ms:g} allowed; allow more, ask fewer prompts, try --dtype auto or "
            "another model, or give the size as a number"
        )
    set_image_size(backend.detector, backend.processor, fitting)
    return FittedSize(fitting, budget_ms, len(texts), measured)


def _candidates(backend: TorchBackend) -> list[int]:
    """The sizes that are tried, smallest first, in whole patches."""
    config: Any = backend.detector.config
    patch = config.vision_config.backbone_config.patch_size
    return [max(2, round(share * backend.image_size / patch)) * patch for share in _SHARES]


def _milliseconds(backend: TorchBackend, batches: Sequence[Any]) -> float:
    """What an image takes, once all shapes have run before."""
    _run(backend, batches)
    return min(_seconds(backend, batches) for _ in range(_RUNS)) * 1e3


def _seconds(backend: TorchBackend, batches: Sequence[Any]) -> float:
    start = perf_counter()
    _run(backend, batches)
    return perf_counter() - start


def _run(backend: TorchBackend, batches: Sequence[Any]) -> None:
    """Take one image through all stages; its masks, which come to the CPU at the end, are what a GPU is waited for."""
    (image,) = backend.encode_images([_PHOTO])
    for texts in batches:
        detections = backend.detect(image, texts)
        best = {row: scores.argmax(keepdims=True) for row, scores in enumerate(detections.scores)}
        for _ in backend.decode_masks_together(image, detections, best):
            pass
