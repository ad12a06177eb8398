"""Which of several masks say the same: non-maximum suppression on masks, by overlap and by containment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .masks import Masks


def kept_rows(
    masks: Masks,
    scores: NDArray[np.float32],
    groups: NDArray[np.int64],
    iou: float = 0.5,
    containment: float | None = None,
) -> NDArray[np.int64]:
    """Return the rows, in their order, that no better one of their group suppresses.

    Args:
        masks: N masks.
        scores: [N]; of equals the earlier row is the better.
        groups: [N]; only rows of one group suppress each other.
        iou: a row goes when its IoU with a better one that stays is above this.
        containment: a row also goes when more than this share of it lies inside a better one that stays; None: never.
    """
    areas = masks.areas
    left = np.ones(len(masks), dtype=bool)
    for row in np.argsort(-scores, kind="stable"):
        if not left[row]:
            continue
        rivals = np.flatnonzero(left & (groups == groups[row]) & (np.arange(len(masks)) != row))
        rivals = rivals[(scores[rivals] < scores[row]) | ((scores[rivals] == scores[row]) & (rivals > row))]
        shared = masks[[int(row)]].overlaps(masks[rivals])[0]
        union = areas[row] + areas[rivals] - shared
        gone = shared > iou * np.maximum(union, 1)
        if containment is not None:
            gone |= shared > containment * np.maximum(areas[rivals], 1)
        left[rivals[gone]] = False
    return np.flatnonzero(left)
