"""Bilinear resampling in numpy: of photos to the detector's size, of masks to the photo's.

Both give what torch gives. Photos are shrunk with antialiasing in 16-bit integers, as torch does on CPUs for uint8,
bit for bit; masks by plain interpolation between neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..results import Masks
from ..results.rle import encode_region
from .backend import sigmoid
from .convention import MaskResampling

_LARGEST_BITS = 22  # of a weight's fraction, for sums in 32 bits
_LARGEST_WEIGHT = 1 << 15
_STRIP = 64  # rows of a mask computed at once


def resized_photo(photo: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return ``photo`` [H, W, C] at ``size`` (height, width): bilinear, antialiased."""
    for axis in (1, 0):  # rows first, as torch does: every pass rounds
        if photo.shape[axis] != size[axis]:
            photo = _resampled(photo, size[axis], axis)
    return photo


def masks_of(logits: NDArray[np.float32], size: tuple[int, int], resampling: MaskResampling) -> Masks:
    """Return masks of ``size`` from mask ``logits`` [n, h, w], which are resized as a `DetectorConvention` says."""
    return masks_at(logits, size, 0.0) if resampling == "logits" else masks_at(sigmoid(logits), size, 0.5)


def masks_at(maps: NDArray[np.float32], size: tuple[int, int], threshold: float) -> Masks:
    """Return masks of ``size``: ``maps`` [n, h, w] resized (bilinear), above ``threshold``.

    Only the part of the image that can be above it is computed, in strips of rows that stay in the processor's
    cache: no mask of the image's size is ever held as floats, and only one at a time as pixels.
    """
    return Masks(size, tuple(_encoded_at(maps, size, threshold)))


def _encoded_at(maps: NDArray[np.float32], size: tuple[int, int], threshold: float) -> Iterator[bytes]:
    height, width = size
    upper, lower, down = _neighbors(maps.shape[1], height)
    left, right, across = _neighbors(maps.shape[2], width)
    above, below = np.empty((2, _STRIP * width), dtype=np.float32)
    for low in maps:
        inside: NDArray[np.bool_] = low > threshold
        y = _span(np.asarray(inside.any(1)), upper, lower)
        x = _span(np.asarray(inside.any(0)), left, right)
        # take(), since low[:, left] would lie in memory column by column
        columns = low.take(left[x], 1) * (1 - across[x]) + low.take(right[x], 1) * across[x]
        region = np.empty((y.stop - y.start, x.stop - x.start), dtype=bool)
        for top in range(y.start, y.stop, _STRIP):
            rows = slice(top, min(top + _STRIP, y.stop))
            shape = (rows.stop - top, columns.shape[1])
            first, second = (one[: shape[0] * shape[1]].reshape(shape) for one in (above, below))
            columns.take(upper[rows], 0, first, "clip")  # "clip" alone writes into place without a buffer
            columns.take(lower[rows], 0, second, "clip")
            first *= 1 - down[rows, None]
            second *= down[rows, None]
            first += second
            np.greater(first, np.float32(threshold), out=region[top - y.start : rows.stop - y.start])
        yield encode_region(region, y.start, x.start, size)


def _span(inside: NDArray[np.bool_], *neighbors: NDArray[np.int64]) -> slice:
    """The output positions, from first to last, with a neighbor that is ``inside``."""
    reached = np.flatnonzero(np.logical_or.reduce([inside[one] for one in neighbors]))
    return slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 0)


def _neighbors(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each of ``new`` positions: its two neighbors among ``old`` ones, and the second's weight."""
    position = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5)
    position = position.clip(0, old - 1)
    first = position.astype(np.int64)
    return first, np.minimum(first + 1, old - 1), position - first.astype(np.float32)


def _resampled(photo: NDArray[np.uint8], length: int, axis: int) -> NDArray[np.uint8]:
    first, weights, bits = _taps(photo.shape[axis], length)
    shape = [1, 1, 1]
    shape[axis] = length
    total: NDArray[np.int32] = np.full(1, 1 << (bits - 1), np.int32)
    for tap, weight in enumerate(weights.T):
        pixels = photo.take(np.minimum(first + tap, photo.shape[axis] - 1), axis)
        total = total + pixels * weight.reshape(shape)
    return (total >> bits).clip(0, 255).astype(np.uint8)


def _taps(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """For each of ``new`` pixels: the first of the ``old`` that it reads, the integer weights [new, taps], their bits.

    The filter is a triangle as wide as two pixels of the coarser of the two grids.
    """
    scale = old / new
    reach = max(scale, 1.0)
    center = scale * (np.arange(new) + 0.5)
    first = (center - reach + 0.5).astype(np.int64).clip(0)
    end = (center + reach + 0.5).astype(np.int64).clip(max=old)
    pixel = first[:, None] + np.arange(2 * math.ceil(reach) + 1)
    weights = np.where(pixel < end[:, None], 1 - np.abs(pixel + 0.5 - center[:, None]) / reach, 0).clip(0)
    weights /= weights.sum(1, keepdims=True)
    bits = next(
        bits for bits in range(_LARGEST_BITS + 1)
        if bits == _LARGEST_BITS or int(0.5 + weights.max() * (1 << (bits + 1))) >= _LARGEST_WEIGHT
    )  # fmt: skip
    return first, (weights * (1 << bits) + 0.5).astype(np.int32), bits
