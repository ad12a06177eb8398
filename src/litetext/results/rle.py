"""Masks as run lengths, in COCO's compressed form: encoded, decoded, compared and measured in numpy.

A mask of ``height x width`` is a byte string of run lengths, column by column, the first run background (COCO's
``maskApi.c``): 5 bits a character from the low end, a continuation bit, the sign in the last character, and from the
fourth run on the difference to the run two before. The strings are those of pycocotools, byte for byte, so files go
both ways; numpy alone is needed, since a small device must be able to hold masks.

Many strings are decoded in one pass, and a string that is no mask never disturbs its neighbors: `run_totals` says for
thousands of strings which are well formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LitetextError

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

Indices: TypeAlias = NDArray[np.int64]


def run_totals(masks: Sequence[bytes]) -> Indices:
    """Return, for every compressed string, the sum of its run lengths, or -1 where the string is malformed.

    A well-formed string of an image has height x width as its total. Malformed: a character outside the alphabet, a
    number that does not end, a negative run.
    """
    totals = np.full(len(masks), -1, dtype=np.int64)
    filled = [i for i, mask in enumerate(masks) if mask]
    if filled:
        runs, first, well_formed = _decoded_runs([masks[i] for i in filled])
        totals[filled] = np.where(well_formed, np.add.reduceat(runs, first), -1)
    return totals


def encode(mask: NDArray[np.bool_]) -> bytes:
    """Return the compressed string of a mask, bool [H, W]."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return compress([mask.size])
    top, left = int(rows[0]), int(columns[0])
    size = (mask.shape[0], mask.shape[1])
    return encode_region(mask[top : rows[-1] + 1, left : columns[-1] + 1], top, left, size)


def encode_region(region: NDArray[np.bool_], top: int, left: int, size: Size) -> bytes:
    """Return the compressed string of a mask of ``size`` that is ``region`` [h, w] at (top, left), else background."""
    height, width = size
    padded = region.shape[0] < height  # a background pixel at a column's end keeps it apart from the next column
    columns = np.zeros((region.shape[1], region.shape[0] + padded), dtype=bool)
    columns[:, : region.shape[0]] = region.T
    pixels = columns.ravel()
    changes = np.empty(len(pixels) + 1, dtype=bool)
    changes[0], changes[-1] = pixels[:1].any(), pixels[-1:].any()
    np.not_equal(pixels[1:], pixels[:-1], out=changes[1:-1])
    edges = np.flatnonzero(changes)
    if padded:
        edges += edges // columns.shape[1] * (height - columns.shape[1])
    return _string_of(edges + (left * height + top), height * width)


def decode(mask: bytes, size: Size) -> NDArray[np.bool_]:
    """Return a compressed string as a mask, bool [H, W].

    Raises:
        LitetextError: a malformed string, or one of another size.
    """
    runs = _checked_runs(mask, size)
    inside = np.zeros(len(runs), dtype=bool)
    inside[1::2] = True
    return np.repeat(inside, runs).reshape(size[1], size[0]).T


def compress(runs: ArrayLike) -> bytes:
    """Return the compressed string of some run lengths, background first."""
    values = np.array(runs, dtype=np.int64)
    values[3:] -= np.asarray(runs, dtype=np.int64)[1:-2]
    groups = np.ones(len(values), dtype=np.int64)  # of 5 bits, as many as hold the number and its sign
    left = np.arange(len(values))
    for bits in range(4, 64, 5):
        high = values[left] >> bits
        left = left[(high != 0) & (high != -1)]
        if not len(left):
            break
        groups[left] += 1
    ends = np.cumsum(groups)
    codes = np.empty(ends[-1] if len(ends) else 0, dtype=np.uint8)
    left = np.arange(len(values))
    for place in range(int(groups.max(initial=0))):
        rest = groups[left] - place
        more = np.where(rest > 1, 32 + 48, 48)
        codes[ends[left] - rest] = ((values[left] >> (5 * place)) & 31) + more
        left = left[rest > 1]
    return codes.tobytes()


def merge(masks: Sequence[bytes], size: Size, least: int = 1) -> bytes:
    """Return the pixels that at least ``least`` of some masks cover: 1 for the union, all for what they share."""
    runs = Runs.of(masks)
    steps = np.concatenate([np.ones(len(runs.starts), np.int64), np.full(len(runs.ends), -1, np.int64)])
    places, owners = np.unique(np.concatenate([runs.starts, runs.ends]), return_inverse=True)
    depth = np.cumsum(np.bincount(owners, weights=steps, minlength=len(places)).astype(np.int64))
    return _string_of(places[np.diff(depth >= least, prepend=False)], size[0] * size[1])


def areas(masks: Sequence[bytes]) -> Indices:
    """Return the number of pixels of every mask [N]."""
    return Runs.of(masks).areas


def bounding_boxes(masks: Sequence[bytes], size: Size) -> NDArray[np.float64]:
    """Return the smallest box (x, y, width, height in pixels) around every mask [N, 4]; zeros around an empty one."""
    return Runs.of(masks).boxes(size[0])


def mask_ious(ones: Sequence[bytes], others: Sequence[bytes], size: Size) -> NDArray[np.float64]:
    """Return the IoU of each of N masks with each of M [N, M]; two empty masks have IoU 0."""
    shared = overlaps(ones, others, size)
    union = areas(ones)[:, None] + areas(others) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=shared > 0)


def overlaps(ones: Sequence[bytes], others: Sequence[bytes], size: Size) -> Indices:
    """Return the number of pixels that each of N masks shares with each of M [N, M].

    The runs of one mask are looked up in those of all others at once, whose pixels are numbered through.
    """
    runs, targets = Runs.of(ones), Runs.of(others)
    result = np.zeros((len(ones), len(others)), dtype=np.int64)
    stride = size[0] * size[1] + 1
    keys = targets.starts + np.repeat(np.arange(len(others)) * stride, targets.counts)
    before = np.append(0, np.cumsum(targets.ends - targets.starts))
    ours, theirs = runs.boxes(size[0]), targets.boxes(size[0])
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, :2] + ours[:, None, 2:], theirs[None, :, :2] + theirs[None, :, 2:])
    touching: NDArray[np.bool_] = np.asarray((low < high).all(-1))
    for row in np.flatnonzero(touching.sum(1)):
        near = np.flatnonzero(touching[row])
        own = slice(runs.first[row], runs.first[row + 1])
        places = np.stack([runs.starts[own], runs.ends[own]])
        run = np.searchsorted(keys, places + near[:, None, None] * stride, side="right") - 1
        first = targets.first[near][:, None, None]
        inside = np.minimum(places, targets.ends[run]) - targets.starts[run]
        covered = np.where(run >= first, before[run] - before[first] + inside, 0)
        result[row, near] = (covered[:, 1] - covered[:, 0]).sum(-1)
    return result


def box_ious(ones: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return the IoU of boxes (x, y, width, height; any one unit) [N, M]; boxes that do not overlap have 0."""
    p = np.asarray(ones, dtype=np.float64).reshape(-1, 1, 4)
    t = np.asarray(others, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(p[..., :2] + p[..., 2:], t[..., :2] + t[..., 2:]) - np.maximum(p[..., :2], t[..., :2])
    shared = np.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], 0.0)
    union = p[..., 2] * p[..., 3] + t[..., 2] * t[..., 3] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def corner_ious(ones: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return `box_ious` of boxes that are given by their corners (x1, y1, x2, y2) [N, M]."""
    return box_ious(_with_sides(ones), _with_sides(others))


def _with_sides(corners: ArrayLike) -> NDArray[np.float64]:
    boxes = np.asarray(corners, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The foreground of N masks, decoded: mask i has the runs ``first[i] : first[i + 1]``.

    Attributes:
        starts, ends: [R] the pixels where each run begins and where it has ended, column by column, from 0.
        first: [N + 1].
    """

    starts: Indices
    ends: Indices
    first: Indices

    @classmethod
    def of(cls, masks: Sequence[bytes]) -> Runs:
        """Decode well-formed strings (see `run_totals`)."""
        if not len(masks):
            none = np.zeros(0, dtype=np.int64)
            return cls(none, none, np.zeros(1, dtype=np.int64))
        runs, first, _ = _decoded_runs(masks)
        counts = np.diff(np.append(first, len(runs)))
        ends = np.cumsum(runs)
        ends -= np.repeat(ends[first] - runs[first], counts)
        inside = (np.arange(len(runs)) - np.repeat(first, counts)) % 2 == 1
        return cls((ends - runs)[inside], ends[inside], np.append(0, np.cumsum(counts // 2)))

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def counts(self) -> Indices:
        """How many runs each mask has [N]."""
        return np.diff(self.first)

    @property
    def areas(self) -> Indices:
        """The number of pixels of each mask [N]."""
        covered = np.append(0, np.cumsum(self.ends - self.starts))
        return covered[self.first[1:]] - covered[self.first[:-1]]

    def region(self, row: int, box: Sequence[float], height: int) -> NDArray[np.bool_]:
        """Return what of a mask lies in the box around it, see `boxes`: bool [h, w]."""
        x, y, wide, high = (int(side) for side in box)
        own = slice(self.first[row], self.first[row + 1])
        edges = np.stack([self.starts[own], self.ends[own]], axis=1).ravel() - x * height
        lengths = np.diff(edges, prepend=0, append=wide * height)
        inside = np.zeros(len(lengths), dtype=bool)
        inside[1::2] = True
        return np.repeat(inside, lengths).reshape(wide, height).T[y : y + high]

    def boxes(self, height: int) -> NDArray[np.float64]:
        """Return the smallest box (x, y, width, height) around each mask [N, 4], of an image ``height`` pixels high."""
        result = np.zeros((len(self), 4))
        some = np.flatnonzero(self.counts)
        if len(some):
            at = self.first[some]
            x1, x2 = self.starts // height, (self.ends - 1) // height
            turns = x1 < x2  # the run goes on at the top of the next column
            y1, y2 = np.where(turns, 0, self.starts % height), np.where(turns, height - 1, (self.ends - 1) % height)
            low = np.stack([np.minimum.reduceat(side, at) for side in (x1, y1)], axis=1)
            high = np.stack([np.maximum.reduceat(side, at) for side in (x2, y2)], axis=1)
            result[some] = np.concatenate([low, high - low + 1], axis=1)
        return result


def _checked_runs(mask: bytes, size: Size) -> Indices:
    runs, _, (well_formed,) = _decoded_runs([mask or b" "])
    if not well_formed or runs.sum() != size[0] * size[1]:
        what = f"covers {runs.sum():,} pixels" if well_formed else "is malformed"
        raise LitetextError(
            f"the RLE {what}, its size {size[0]} x {size[1]} has {size[0] * size[1]:,}; write the mask again"
        )
    return runs


def _string_of(edges: Indices, pixels: int) -> bytes:
    """The compressed string of a mask whose pixels change at ``edges``, rising, the first from background."""
    edges = edges[edges < pixels]
    return compress(np.diff(edges, prepend=0, append=pixels))


def _decoded_runs(masks: Sequence[bytes]) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """All run lengths of some strings (none empty), where each string's begin, and which strings are well formed."""
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
