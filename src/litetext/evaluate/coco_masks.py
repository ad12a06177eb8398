"""Overlaps of masks by COCO's own C code, which scoring asks of millions of small masks.

`litetext.results.rle` computes the same numbers in numpy for whoever holds a few; a call of it takes ten times as long.
The strings must be well formed: the C code would loop or read outside its memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import extras_named
from ..results.rle import Runs, Size

with extras_named():
    from pycocotools import mask as coco


def mask_ious(predictions: Sequence[bytes], truths: Sequence[bytes], size: Size) -> NDArray[np.float64]:
    """Return the IoU of every prediction with every truth [P, T]; two empty masks have IoU 0."""
    shape = list(size)
    ious = coco.iou(
        [{"size": shape, "counts": counts} for counts in predictions],
        [{"size": shape, "counts": counts} for counts in truths],
        [0] * len(truths),
    )
    return np.asarray(ious, dtype=np.float64).reshape(len(predictions), len(truths))


def overlap(one: bytes, other: bytes, size: Size) -> int:
    """Return the number of pixels two masks share."""
    shape = list(size)
    both = coco.merge([{"size": shape, "counts": one}, {"size": shape, "counts": other}], intersect=True)
    return int(coco.area(both))


def joined(masks: Sequence[bytes | None], pixels: int) -> NDArray[np.int64]:
    """Return the run lengths of a masklet: its frames (``pixels`` each; None: nothing there) laid end to end.

    Runs are column by column, so the frames side by side are one wide image, and the IoU of two masklets (sums over
    frames) is the plain IoU of two such images.
    """
    frames = [t for t, mask in enumerate(masks) if mask]
    runs = Runs.of([mask for mask in masks if mask])
    offset = np.repeat(np.array(frames, dtype=np.int64) * pixels, runs.counts)
    # an object that goes on from a frame's last pixel into the next frame's first makes one run, not two
    edges, times = np.unique(np.concatenate([runs.starts + offset, runs.ends + offset]), return_counts=True)
    edges = edges[times % 2 == 1]
    total = len(masks) * pixels
    return np.diff(edges[edges < total], prepend=0, append=total)
