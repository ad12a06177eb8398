"""Images that look the same: frames of one video, scaled and recompressed copies; told by a perceptual hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, extras_named
from ..images import read_image

if TYPE_CHECKING:
    from .sources import ImageRef

BITS = 64
"""Of a hash; the distance of two is the number of bits in which they differ."""


class NearFilter:
    """Lets the first of images that look the same through, and takes note of the others.

    Args:
        refs: the images; they are read here once more than the labelling reads them.
        distance: bits of the hash in which two may differ and still look the same.

    Attributes:
        skipped: (image, name of the earlier image that it looks like).
    """

    def __init__(self, refs: Iterable[ImageRef], distance: int) -> None:
        if not 0 <= distance < BITS:
            raise LitetextError(f"the distance of near duplicates must lie in 0..{BITS - 1}, got {distance}")
        self._refs = refs
        self._distance = distance
        self.skipped: list[tuple[ImageRef, str]] = []

    def __iter__(self) -> Iterator[ImageRef]:
        seen = _Hashes()
        for ref in self._refs:
            try:
                value = perceptual_hash(ref.read())
            except (LitetextError, OSError):
                yield ref  # the labelling says what is wrong with it
                continue
            near = seen.nearest(value, self._distance)
            if near is None:
                seen.add(value, ref.name)
                yield ref
            else:
                self.skipped.append((ref, near))


def perceptual_hash(content: bytes) -> int:
    """Return 64 bits that hardly change when an image is scaled or recompressed (the DCT hash of `imagehash`).

    Raises:
        LitetextError: no image.
    """
    with extras_named("label"):
        from imagehash import phash
    from PIL import Image

    bits = phash(Image.fromarray(read_image(content))).hash.ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


class _Hashes:
    """Hashes and the names that they came with; all are compared at once, a million in some ten milliseconds."""

    def __init__(self) -> None:
        self._values: NDArray[np.uint64] = np.zeros(1024, np.uint64)
        self._names: list[str] = []

    def add(self, value: int, name: str) -> None:
        if len(self._names) == len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._values[len(self._names)] = value
        self._names.append(name)

    def nearest(self, value: int, distance: int) -> str | None:
        """The name of the first of the nearest hashes, if it is near enough."""
        if not self._names:
            return None
        different = self._values[: len(self._names)] ^ np.uint64(value)
        counts = _bit_counts(different)
        place = int(counts.argmin())
        return self._names[place] if counts[place] <= distance else None


def _bit_counts(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.unpackbits(values[:, None].view(np.uint8), axis=1).sum(axis=1)
    return counts
