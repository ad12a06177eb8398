"""`Masks`: the masks of one image as run lengths, decoded when they are looked at.

250 masks of a 12-megapixel photo are 3 GB as arrays and about a megabyte as run lengths, so that is how results hold
them. A `Masks` still reads like the array [N, H, W]: ``masks[0]`` is a mask, iterating gives masks one after the other,
``np.asarray(masks)`` all of them, and numpy's operators and functions see the array too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, NDArray

from ..errors import LitetextError
from . import polygons, rle
from .rle import Size


@dataclass(frozen=True, slots=True, eq=False)
class Masks(NDArrayOperatorsMixin):
    """N masks of one size, as COCO's compressed run lengths.

    Attributes:
        size: height and width in pixels.
        counts: for each mask its compressed run lengths; they fit ``size``.
    """

    size: Size
    counts: tuple[bytes, ...] = ()

    @classmethod
    def from_dense(cls, masks: ArrayLike | Iterable[NDArray[Any]], size: Size | None = None) -> Masks:
        """Return masks given as arrays.

        Args:
            masks: bool [N, H, W], or anything that yields masks [H, W]: a generator is read one mask at a time.
            size: height and width, needed where there may be no mask.

        Raises:
            LitetextError: masks that are not two-dimensional, or of several sizes.
        """
        counts = []
        size = size or (masks.shape[1:] if isinstance(masks, np.ndarray) and masks.ndim == 3 else None)  # type: ignore[assignment]
        for mask in masks:  # type: ignore[union-attr]
            array = np.asarray(mask, dtype=bool)
            size = size or array.shape  # type: ignore[assignment]
            if array.shape != size or array.ndim != 2:
                raise LitetextError(f"masks must be [H, W] and of one size, got {array.shape} beside {size}")
            counts.append(rle.encode(array))
        if size is None:
            raise LitetextError(
                "there is no mask whose size could be read; give from_dense(masks, size=(height, width))"
            )
        return cls((int(size[0]), int(size[1])), tuple(counts))

    @classmethod
    def from_rle(cls, masks: Iterable[Mapping[str, Any]], size: Size | None = None) -> Masks:
        """Return masks given as COCO writes them, ``{"size": [H, W], "counts": …}``, compressed or lists of runs.

        Args:
            masks: one mapping a mask.
            size: height and width, needed where there may be no mask.

        Raises:
            LitetextError: run lengths that do not fill their size, or masks of several sizes.
        """
        several = list(masks)
        sizes = {tuple(mask["size"]) for mask in several} | ({size} if size else set())
        if len(sizes) != 1:
            raise LitetextError(f"the masks of one image must have one size, got {sorted(sizes) or 'none'}")
        found: Size = sizes.pop()
        counts = tuple(_compressed(mask["counts"]) for mask in several)
        for row, total in enumerate(rle.run_totals(counts).tolist()):
            if total != math.prod(found):
                what = "is malformed" if total < 0 else f"covers {total:,} pixels"
                raise LitetextError(f"mask {row}: the RLE {what}, its size {found[0]} x {found[1]} has others")
        return cls(found, counts)

    @classmethod
    def from_polygons(cls, masks: Iterable[Sequence[ArrayLike]], size: Size) -> Masks:
        """Return masks given as polygons, filled as COCO fills them.

        Args:
            masks: for each mask its polygons, [n, 2] each (x, y in pixels) or flat x, y, x, y, …
            size: height and width.
        """
        return cls(size, tuple(polygons.filled(several, size) for several in masks))

    @classmethod
    def concatenate(cls, parts: Iterable[Masks], size: Size | None = None) -> Masks:
        """Return the masks of several `Masks` of one size, one after the other."""
        several = list(parts)
        sizes = {part.size for part in several} | ({size} if size else set())
        if len(sizes) != 1:
            raise LitetextError(f"masks can be joined where they have one size, got {sorted(sizes) or 'none'}")
        return cls(sizes.pop(), tuple(counts for part in several for counts in part.counts))

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        return f"Masks({len(self)} of {self.size[1]}x{self.size[0]})"

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> NDArray[np.bool_]: ...

    @overload
    def __getitem__(self, rows: slice | Sequence[int] | NDArray[Any]) -> Masks: ...

    def __getitem__(self, rows: Any) -> NDArray[np.bool_] | Masks:
        """One mask, bool [H, W], for a row; some of them, still run lengths, for a slice, indices or [N] bool."""
        if isinstance(rows, int | np.integer):
            return rle.decode(self.counts[rows], self.size)
        if isinstance(rows, slice):
            return Masks(self.size, self.counts[rows])
        index = np.asarray(rows, dtype=None if len(rows) else np.int64)
        index = np.flatnonzero(index) if index.dtype == bool else index
        return Masks(self.size, tuple(self.counts[row] for row in index.tolist()))

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (rle.decode(counts, self.size) for counts in self.counts)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.dense() if dtype is None else self.dense().astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        dense = [one.dense() if isinstance(one, Masks) else one for one in inputs]
        return getattr(ufunc, method)(*dense, **options)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[N, H, W], as of the array."""
        return (len(self), *self.size)

    def dense(self) -> NDArray[np.bool_]:
        """Return all masks as an array, bool [N, H, W]: N times H times W bytes."""
        masks = np.empty(self.shape, dtype=bool)
        for row, mask in enumerate(self):
            masks[row] = mask
        return masks

    @property
    def areas(self) -> NDArray[np.int64]:
        """The number of pixels of each mask [N]."""
        return rle.areas(self.counts)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The smallest box around each mask [N, 4]: x1, y1, x2, y2 in pixels; zeros around an empty mask."""
        boxes = rle.bounding_boxes(self.counts, self.size)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)

    def iou(self, others: Masks) -> NDArray[np.float64]:
        """Return the IoU of each mask with each of ``others``, of the same size [N, M]; of two empty masks it is 0."""
        self._check_size(others)
        return rle.mask_ious(self.counts, others.counts, self.size)

    def overlaps(self, others: Masks) -> NDArray[np.int64]:
        """Return the number of pixels that each mask shares with each of ``others``, of the same size [N, M]."""
        self._check_size(others)
        return rle.overlaps(self.counts, others.counts, self.size)

    def union(self) -> Masks:
        """Return one mask: the pixels that any of these cover."""
        return Masks(self.size, (rle.merge(self.counts, self.size),))

    def resize(self, size: Size) -> Masks:
        """Return the masks at another size (height, width), by nearest neighbor."""
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(np.int64) for old, new in zip(self.size, size, strict=True)
        )
        return Masks.from_dense((mask[rows[:, None], columns] for mask in self), size)

    def crop(self, box: Sequence[float]) -> Masks:
        """Return what a box (x1, y1, x2, y2 in pixels, widened to whole ones) holds of the masks, at its own size."""
        x1, y1, x2, y2 = whole_box(box, self.size)
        return Masks.from_dense((mask[y1:y2, x1:x2] for mask in self), (y2 - y1, x2 - x1))

    def to_polygons(self, tolerance: float = 0.0) -> list[list[NDArray[np.float32]]]:
        """Return, for each mask, a polygon [n, 2] (x, y in pixels) for each connected part.

        Args:
            tolerance: how far, in pixels, the outline may be moved to save corners. With 0 the polygons follow the
                edges between pixels, and filling them gives the mask again (see `litetext.results.polygons`).
        """
        return [polygons.outlines(mask, tolerance) for mask in self]

    def to_rle(self) -> list[dict[str, Any]]:
        """Return the masks as COCO and JSON hold them: ``{"size": [H, W], "counts": text}``."""
        return [{"size": list(self.size), "counts": counts.decode("ascii")} for counts in self.counts]

    def _check_size(self, others: Masks) -> None:
        if others.size != self.size:
            raise LitetextError(f"masks are compared at one size, got {self.size} and {others.size} (height, width)")


def whole_box(box: Sequence[float], size: Size) -> tuple[int, int, int, int]:
    """Return the box of whole pixels (x1, y1, x2, y2) around a box, at least one pixel of the image."""
    height, width = size
    x1, y1 = min(max(math.floor(box[0]), 0), width - 1), min(max(math.floor(box[1]), 0), height - 1)
    return x1, y1, max(min(math.ceil(box[2]), width), x1 + 1), max(min(math.ceil(box[3]), height), y1 + 1)


def _compressed(counts: Any) -> bytes:
    if isinstance(counts, str):
        return counts.encode("ascii", "replace")
    return counts if isinstance(counts, bytes) else rle.compress(counts)
