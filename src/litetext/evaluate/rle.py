"""Masks as run lengths (COCO's compressed RLE): checked, compared and measured without ever being painted.

A mask of ``height x width`` is a byte string of run lengths, column by column, the first run background. pycocotools
compares two of them by merging their runs; a string whose runs do not add up to the image would make it loop
or read outside its memory, so `run_totals` checks thousands of strings at once in numpy before any comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""(height, width) in pixels."""


def run_totals(masks: Sequence[bytes]) -> NDArray[np.int64]:
    """Return, for every compressed RLE string, the sum of its run lengths, or -1 where the string is malformed.

    A well-formed string of an image has height x width as its total. Malformed: a character outside the alphabet, a
    number that does not end, a negative run.
    """
    totals = np.full(len(masks), -1, dtype=np.int64)
    filled = [i for i, mask in enumerate(masks) if mask]
    if filled:
        runs, first, well_formed = _decoded_runs([masks[i] for i in filled])
        totals[filled] = np.where(well_formed, np.add.reduceat(runs, first), -1)
    return totals


def joined(masks: Sequence[bytes | None], pixels: int) -> NDArray[np.int64]:
    """Return the run lengths of a masklet: its frames (``pixels`` each; None: nothing there) laid end to end.

    Runs are column by column, so the frames side by side are one wide image, and the IoU of two masklets (sums over
    frames) is the plain IoU of two such images.
    """
    seen = [t for t, mask in enumerate(masks) if mask]
    edges = np.zeros(0, dtype=np.int64)
    if seen:
        runs, first, _ = _decoded_runs([mask for mask in masks if mask])
        counts = np.diff(np.append(first, len(runs)))
        ends = np.cumsum(runs) + np.repeat(np.array(seen) - np.arange(len(seen)), counts) * pixels
        inner = np.ones(len(runs), dtype=bool)
        inner[(first + counts - 1)[counts % 2 == 1]] = False  # where a frame ends in background, nothing changes
        places, times = np.unique(ends[inner], return_counts=True)
        edges = places[times % 2 == 1]  # an object that goes on from a frame's last pixel into the next frame's first
    total = len(masks) * pixels
    return np.diff(edges[edges < total], prepend=0, append=total)


def _decoded_runs(masks: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """All run lengths of some strings (none empty), where each string's begin, and which strings are well formed.

    As in COCO's ``maskApi.c``: 5 bits a character from the low end, a continuation bit, the sign in the last character,
    and from the fourth run on the difference to the run two before.
    """
    lengths = np.array([len(mask) for mask in masks], dtype=np.int64)
    codes = np.frombuffer(b"".join(masks), dtype=np.uint8).astype(np.int64) - 48
    ends_number = (codes & 32) == 0
    mask_ends = np.cumsum(lengths) - 1
    well_formed = ends_number[mask_ends]
    ends_number[mask_ends] = True  # so that a broken string does not spoil the next

    number_ends = np.flatnonzero(ends_number)
    number_starts = np.concatenate([[0], number_ends[:-1] + 1])
    number_lengths = number_ends - number_starts + 1
    digit = np.arange(len(codes)) - np.repeat(number_starts, number_lengths)
    values = np.add.reduceat((codes & 31) << (5 * np.minimum(digit, 11)), number_starts)
    values -= np.where(codes[number_ends] & 16, np.int64(1) << (5 * np.minimum(number_lengths, 12)), 0)

    first = np.searchsorted(number_ends, mask_ends - lengths + 1)  # each mask's first number
    counts = np.diff(np.append(first, len(values)))
    place = np.arange(len(values)) - np.repeat(first, counts)
    runs = np.where(place == 0, values, 0)
    for parity in (0, 1):  # undo the differences along every second run
        chain = (place % 2 == parity) & (place > 0)
        sums = np.cumsum(np.where(chain, values, 0))
        before = np.where(first > 0, sums[first - 1], 0)
        runs = np.where(chain, sums - np.repeat(before, counts), runs)

    in_alphabet = np.minimum.reduceat((codes >= 0) & (codes < 64), mask_ends - lengths + 1)
    short_numbers = np.maximum.reduceat(number_lengths, first) <= 6  # 30 bits: far above any image's pixels
    well_formed = well_formed & in_alphabet & short_numbers & (np.minimum.reduceat(runs, first) >= 0)
    return runs, first, well_formed


def compressed(segmentation: Any, size: Size) -> bytes:
    """Return COCO polygons or an uncompressed RLE (a list of run lengths) as a compressed RLE string."""
    from pycocotools import mask as coco

    if isinstance(segmentation, dict):
        return bytes(coco.frPyObjects(segmentation, *size)["counts"])
    return bytes(coco.merge(coco.frPyObjects(segmentation, *size))["counts"])


def area(mask: bytes, size: Size) -> int:
    """Return the number of pixels of a compressed RLE."""
    from pycocotools import mask as coco

    return int(coco.area({"size": list(size), "counts": mask}))


def overlap(one: bytes, other: bytes, size: Size) -> int:
    """Return the number of pixels two compressed RLEs share."""
    from pycocotools import mask as coco

    shape = list(size)
    both = coco.merge([{"size": shape, "counts": one}, {"size": shape, "counts": other}], intersect=True)
    return int(coco.area(both))


def bounding_box(mask: bytes, size: Size) -> tuple[float, float, float, float]:
    """Return the smallest box (x, y, width, height in pixels) around a compressed RLE."""
    from pycocotools import mask as coco

    x, y, width, height = coco.toBbox({"size": list(size), "counts": mask}).tolist()
    return (x, y, width, height)


def box_mask(box: Sequence[float], size: Size) -> bytes:
    """Return the compressed RLE of a filled rectangle (x, y, width, height in pixels)."""
    from pycocotools import mask as coco

    return bytes(coco.frPyObjects(np.array([box], dtype=np.float64), *size)[0]["counts"])


def encoded(mask: NDArray[np.bool_]) -> bytes:
    """Return the compressed RLE of a boolean mask [height, width]."""
    from pycocotools import mask as coco

    return bytes(coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])


def decoded(mask: bytes, size: Size) -> NDArray[np.bool_]:
    """Return a compressed RLE as a boolean mask [height, width] (for drawing only)."""
    from pycocotools import mask as coco

    return np.asarray(coco.decode({"size": list(size), "counts": mask}), dtype=bool)


def mask_ious(predictions: Sequence[bytes], truths: Sequence[bytes], size: Size) -> NDArray[np.float64]:
    """Return the IoU of every prediction with every truth [P, T]; two empty masks have IoU 0."""
    from pycocotools import mask as coco

    shape = list(size)
    ious = coco.iou(
        [{"size": shape, "counts": counts} for counts in predictions],
        [{"size": shape, "counts": counts} for counts in truths],
        [0] * len(truths),
    )
    return np.asarray(ious, dtype=np.float64).reshape(len(predictions), len(truths))


def box_ious(predictions: Sequence[Sequence[float]], truths: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the IoU of boxes (x, y, width, height; any one unit) [P, T]; boxes that do not overlap have 0."""
    p = np.asarray(predictions, dtype=np.float64).reshape(-1, 1, 4)
    t = np.asarray(truths, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(p[..., :2] + p[..., 2:], t[..., :2] + t[..., 2:]) - np.maximum(p[..., :2], t[..., :2])
    shared = np.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], 0.0)
    union = p[..., 2] * p[..., 3] + t[..., 2] * t[..., 3] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
