"""Image features that are kept: the least recently used go first, and all together stay under a number of bytes."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from ..segment.backend import ImageFeatures


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The features of an image, which may have been reduced.

    Attributes:
        features: of it.
        size: height and width in pixels of the image itself, upright.
    """

    features: ImageFeatures
    size: tuple[int, int]


class FeatureCache:
    """Features by the content of their image; threads may share one.

    Args:
        megabytes: kept at most; features that are larger alone are not kept.
    """

    def __init__(self, megabytes: int) -> None:
        self._limit = megabytes << 20
        self._kept: OrderedDict[str, tuple[Kept, int]] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Kept | None:
        """Return the features under ``key``, which then are the most recently used; None where there are none."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: str, kept: Kept) -> None:
        """Keep features, and drop those that were not used for longest where they no longer fit."""
        size = size_of(kept.features.state)
        with self._lock:
            self.bytes -= self._forgotten(key)
            if size > self._limit:
                return
            self._kept[key] = kept, size
            self.bytes += size
            while self.bytes > self._limit:
                self.bytes -= self._kept.popitem(last=False)[1][1]

    def _forgotten(self, key: str) -> int:
        """The bytes of what was kept under ``key`` until now."""
        return self._kept.pop(key)[1] if key in self._kept else 0


def size_of(state: Any) -> int:
    """Return the bytes of the arrays and tensors in a backend's state, however they are nested."""
    if hasattr(state, "nbytes"):
        return int(state.nbytes)
    if isinstance(state, Mapping):
        return sum(map(size_of, state.values()))
    if isinstance(state, Sequence) and not isinstance(state, str | bytes):
        return sum(map(size_of, state))
    if dataclasses.is_dataclass(state):
        return sum(size_of(getattr(state, field.name)) for field in dataclasses.fields(state))
    return 0
