"""Outlines of masks, and masks of outlines.

`filled` is COCO's rasterizer (``rleFrPoly``), pixel for pixel. `outlines` follows the edges between pixels, so that
what it returns, filled, is the mask again. A polygon is an array [n, 2] of x, y in pixels; pixel (0, 0) covers
0..1 x 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import rle
from .rle import Indices, Size

_SCALE = 5  # COCO draws outlines at five times the resolution
_MOST_COMPARED = 2**20  # pairs of corners; of longer lines only some corners are tried


def filled(polygons: Iterable[ArrayLike], size: Size) -> bytes:
    """Return the compressed run lengths of the pixels inside any of some polygons.

    Args:
        polygons: [n, 2] each, or flat x, y, x, y, … as COCO writes them.
        size: height and width of the image.
    """
    masks = [_filled_one(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), size) for polygon in polygons]
    return masks[0] if len(masks) == 1 else rle.merge(masks, size)


def _filled_one(polygon: NDArray[np.float64], size: Size) -> bytes:
    height, width = size
    u, v = _dense_outline(polygon)
    crossing = np.flatnonzero(u[1:] != u[:-1]) + 1
    here, before = u[crossing], u[crossing - 1]
    column = (np.where(here < before, here, here - 1) + 0.5) / _SCALE - 0.5
    kept = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    crossing, column = crossing[kept], column[kept]
    row = np.ceil(((np.minimum(v[crossing], v[crossing - 1]) + 0.5) / _SCALE - 0.5).clip(0, height))
    places, times = np.unique((column * height + row).astype(np.int64), return_counts=True)
    places = places[(times % 2 == 1) & (places < height * width)]
    return rle.compress(np.diff(places, prepend=0, append=height * width))


def _dense_outline(polygon: NDArray[np.float64]) -> tuple[Indices, Indices]:
    """Every point of the outline on COCO's finer grid."""
    corners = np.trunc(_SCALE * polygon + 0.5).astype(np.int64)
    start, end = corners, np.roll(corners, -1, axis=0)
    sides = np.abs(end - start)
    steep = sides[:, 0] < sides[:, 1]
    swapped = np.where(steep, start[:, 1] > end[:, 1], start[:, 0] > end[:, 0])
    low, high = np.where(swapped[:, None], end, start), np.where(swapped[:, None], start, end)
    steps = sides.max(axis=1)
    edge = np.repeat(np.arange(len(steps)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(swapped[edge], steps[edge] - step, step)
    rise = np.where(steep, high[:, 0] - low[:, 0], high[:, 1] - low[:, 1]) / np.maximum(steps, 1)
    along = step + np.where(steep, low[:, 1], low[:, 0])[edge]
    across = np.trunc(np.where(steep, low[:, 0], low[:, 1])[edge] + rise[edge] * step + 0.5).astype(np.int64)
    return np.where(steep[edge], across, along), np.where(steep[edge], along, across)


def corners_of(box: Sequence[float]) -> list[float]:
    """Return a box (x1, y1, x2, y2) as a flat polygon."""
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def outlines(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[NDArray[np.float32]]:
    """Return one polygon [n, 2] for each connected part of a mask, bool [H, W]; corners alone belong together.

    A hole is joined to the outline around it by a cut of no width, there and back, so that one line of points says it.

    Args:
        mask: of an image.
        tolerance: how far, in pixels, a corner that is left out may lie from the line drawn in its place. With 0 the
            polygons, filled, are the mask exactly.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    rings = _rings(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    outer = [ring for ring in rings if _signed_area(ring) > 0]
    holes = [ring for ring in rings if _signed_area(ring) < 0]
    for hole in holes:
        owner = _surrounding(hole, outer)
        outer[owner] = joined(outer[owner], hole)
    shifted = [ring + np.array([left, top]) for ring in outer]
    return [(_simplified(ring, tolerance) if tolerance > 0 else ring).astype(np.float32) for ring in shifted]


def joined(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two polygons as one, joined by a cut of no width between their nearest corners."""
    stride = max(1, len(one) * len(other) // _MOST_COMPARED)
    some = one[::stride]
    distance = ((some[:, None] - other[None]) ** 2).sum(-1)
    a, b = np.unravel_index(int(distance.argmin()), distance.shape)
    at = int(a) * stride
    there = np.concatenate([other[b:], other[: b + 1]])
    return np.concatenate([one[: at + 1], there, one[at:]])


def _rings(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The closed outlines of a mask, corner by corner: clockwise (as seen) around parts, the other way around holes."""
    start, end = _directed_edges(mask)
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    follow = _followers(start, end, mask.shape[1] + 1)
    left = np.ones(len(start), dtype=bool)
    rings = []
    nexts = follow.tolist()
    for first in range(len(nexts)):
        if not left[first]:
            continue
        ring = [first]
        at = nexts[first]
        while at != first:
            ring.append(at)
            at = nexts[at]
        left[ring] = False
        y, x = np.divmod(start[ring], mask.shape[1] + 1)
        rings.append(np.stack([x, y], axis=1).astype(np.float64))
    return rings


def _directed_edges(mask: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """The straight pieces of all outlines, the mask on their right, as their first and last corner [E].

    A corner (x, y) is the number y * (width + 1) + x.
    """
    stride = mask.shape[1] + 1
    starts, ends = [], []
    for axis in (0, 1):  # pieces along x, then along y
        pixels = np.pad(mask if axis == 0 else mask.T, 1).astype(np.int8)
        step = np.diff(pixels, axis=0)[:, 1:-1]  # 1: the mask begins behind the line, -1: it ends there
        for sign in (1, -1):
            change = np.diff((step == sign).astype(np.int8), axis=1, prepend=0, append=0)
            line, begin = np.nonzero(change == 1)
            _, stop = np.nonzero(change == -1)
            low, high = (line * stride + at if axis == 0 else at * stride + line for at in (begin, stop))
            forward = (sign == 1) == (axis == 0)
            starts.append(low if forward else high)
            ends.append(high if forward else low)
    return np.concatenate(starts), np.concatenate(ends)


def _followers(start: Indices, end: Indices, stride: int) -> Indices:
    """For each piece the one that goes on where it ends; where two do (pixels touch by a corner), the left turn."""
    first = np.searchsorted(start, end)
    second = np.minimum(first + 1, len(start) - 1)
    two = (start[second] == end) & (second > first)
    dx, dy = (np.sign(part) for part in _steps(start, end, stride))
    turn = dx * dy[first] - dy * dx[first]  # with y down: -1 is a turn to the left
    return np.where(two & (turn > 0), second, first)


def _steps(start: Indices, end: Indices, stride: int) -> tuple[Indices, Indices]:
    return end % stride - start % stride, end // stride - start // stride


def _signed_area(ring: NDArray[np.float64]) -> float:
    """Above 0 for a ring that goes clockwise as seen, y down."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _surrounding(hole: NDArray[np.float64], outer: Sequence[NDArray[np.float64]]) -> int:
    """Which of some outlines surrounds a hole: the smallest with the hole's first corner's inner side in it."""
    x, y = hole[np.lexsort((hole[:, 1], hole[:, 0]))[0]] + np.array([0.5, 0.5])
    inside = [row for row, ring in enumerate(outer) if _contains(ring, x, y)]
    return min(inside, key=lambda row: abs(_signed_area(outer[row])))


def _contains(ring: NDArray[np.float64], x: float, y: float) -> bool:
    a, b = ring, np.roll(ring, -1, axis=0)
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(crosses, b[:, 1] - a[:, 1], 1)
    return bool((crosses & (x < a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0]))).sum() % 2)


def _simplified(ring: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Ramer, Douglas and Peucker's algorithm on a closed line of at least three corners."""
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far]] = True
    waiting = [(0, far), (far, len(closed) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distance = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    return ring[kept[:-1]] if kept[:-1].sum() >= 3 else ring


def _distances(points: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far points lie from the segment between a and b."""
    along = b - a
    length = float((along**2).sum())
    place = ((points - a) @ along / length).clip(0, 1) if length else np.zeros(len(points))
    return np.asarray(np.sqrt(((points - a - place[:, None] * along) ** 2).sum(1)))
