"""What the readers of JSON annotations demand of an entry; errors name the file, the entry and the key."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import LitetextError, short
from ...json_files import Entry
from ..polygons import filled
from ..rle import Size, compress, run_totals

NUMBER = (int, float)
ID = (int, str)
_KINDS: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "an object"}
_CHECKED_TOGETHER = 512

MOST_PIXELS = 1 << 31
"""Of an image; the largest that Pillow opens has 179 million."""

LONGEST_OUTLINE = 1 << 22
"""Pixels along a polygon."""


def plain(value: Any) -> Any:
    """Return a value as JSON would give it: numpy's numbers and arrays, tuples and ASCII bytes become Python's own."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def require(entry: Entry, key: str, kind: type | tuple[type, ...], name: str) -> Any:
    """Return ``entry.value[key]`` if it is there and of that kind; otherwise a `LitetextError` naming all three."""
    if not isinstance(entry.value, dict):
        raise LitetextError(f"{name}: {entry.place} is {type(entry.value).__name__}, not an object with keys")
    if key not in entry.value:
        raise LitetextError(f"{name}: {entry.place}: key {key!r} is missing; every entry needs it")
    value = entry.value[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, NUMBER, ID)):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_KINDS.get(one, one.__name__) for one in kinds)
        raise fault(name, entry, key, f"is {short(value)}, where {wanted} should stand")
    return value


def require_score(entry: Entry, name: str, key: str = "score") -> float:
    """Return the entry's ``score`` (or another key's) if it is a number from 0 to 1."""
    score = float(require(entry, key, NUMBER, name))
    if not 0 <= score <= 1:  # NaN neither
        raise fault(name, entry, key, f"is {score:g}, where a number from 0 to 1 should stand")
    return score


def require_size(entry: Entry, name: str) -> Size:
    """Return (``height``, ``width``) of an image or a video in pixels, if both can be."""
    size = (require(entry, "height", int, name), require(entry, "width", int, name))
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise fault(
            name,
            entry,
            "height",
            f"and 'width' are {size[0]} and {size[1]}; both are at least 1 pixel, together at most {MOST_PIXELS:,}",
        )
    return size


def require_list(entry: Entry, key: str, kind: type, name: str) -> list[Any]:
    """Return the list under ``key`` whose entries are all of one kind; none where the entry has no such key."""
    values: list[Any] = require(entry, key, list, name) if key in entry.value else []
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise fault(name, entry, key, f"holds {short(value)}, where {_KINDS[kind]} should stand")
    return values


def require_box(entry: Entry, key: str, box: Any, name: str) -> tuple[float, float, float, float]:
    """Return a box [x, y, width, height] as floats; finite, with no negative side."""
    numbers = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
    if not numbers or not all(math.isfinite(side) for side in box) or box[2] < 0 or box[3] < 0:
        raise fault(name, entry, key, f"is {short(box)}, where [x, y, width, height] should stand")
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def require_mask(entry: Entry, key: str, mask: Any, name: str, size: Size | None) -> tuple[bytes, Size]:
    """Return a mask as (compressed RLE, size); ``size`` is the image's where known, which polygons need."""
    if isinstance(mask, list):
        if size is None:
            raise fault(name, entry, key, "holds polygons, whose image size the file does not tell; give an RLE")
        if not mask or not all(_is_polygon(polygon, size) for polygon in mask):
            raise fault(name, entry, key, f"is {short(mask)}, where an RLE or a list of polygons should stand")
        return filled(mask, size), size
    if not isinstance(mask, dict) or "size" not in mask or "counts" not in mask:
        raise fault(name, entry, key, f"is {short(mask)}, where an RLE with keys 'size' and 'counts' should stand")
    own = mask["size"]
    if not (isinstance(own, list) and len(own) == 2 and all(type(side) is int and side > 0 for side in own)):
        raise fault(name, entry, key, f"has size {short(own)}, where [height, width] should stand")
    own_size = (own[0], own[1])
    counts = mask["counts"]
    if isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
        if sum(counts) != own[0] * own[1]:
            raise fault(name, entry, key, f"covers {sum(counts):,} pixels, its size {own[0]} x {own[1]} has others")
        return compress(counts), own_size
    if not isinstance(counts, str) or not counts.isascii():
        raise fault(name, entry, key, "has counts that are neither a compressed string nor a list of run lengths")
    return counts.encode("ascii"), own_size


def fault(name: str, entry: Entry, key: str, what: str) -> LitetextError:
    """Return the error that names file, entry and key."""
    return LitetextError(f"{name}: {entry.place}: key {key!r} {what}")


class MaskCheck:
    """Checks that run lengths fill their mask, hundreds of masks at a time; call `finish` after the last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: list[tuple[bytes, Size, str, str]] = []

    def add(self, mask: bytes, size: Size, place: str, key: str) -> None:
        """Take a mask to check, soon, together with others."""
        self._waiting.append((mask, size, place, key))
        if len(self._waiting) >= _CHECKED_TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Check what is still waiting."""
        totals = run_totals([mask for mask, *_ in self._waiting])
        for total, (_, (height, width), place, key) in zip(totals.tolist(), self._waiting, strict=True):
            if total != height * width:
                what = "is malformed" if total < 0 else f"covers {total:,} pixels"
                raise LitetextError(
                    f"{self._name}: {place}: key {key!r}: the RLE {what}, its size {height} x {width} has "
                    f"{height * width:,}; write the mask again"
                )
        self._waiting.clear()


def _is_polygon(value: Any, size: Size) -> bool:
    """Whether a value is [x, y, x, y, …] of at least three points, none further from the image than it is large.

    Nor may it be longer than `LONGEST_OUTLINE`: drawing one takes memory for every pixel on its way.
    """
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        return False
    largest = max(size)
    if not all(type(side) in (int, float) and -largest <= side <= 2 * largest for side in value):
        return False
    points = np.array(value, dtype=np.float64).reshape(-1, 2)
    return bool(np.abs(points - np.roll(points, 1, axis=0)).sum() <= LONGEST_OUTLINE)
