"""Decoded images that wait for the model: all together they stay under a number of bytes."""

from __future__ import annotations

import weakref
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray


class WaitingPixels:
    """Counts the bytes of arrays for as long as they are used; threads may share one.

    Args:
        limit: bytes of all arrays together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = RLock()  # an array may be freed, and so `_release` called, wherever memory is asked for
        self.bytes = 0

    def kept(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return an array, which then counts until nobody uses it; None where it would be too much."""
        with self._lock:
            if self.bytes + pixels.nbytes > self._limit:
                return None
            self.bytes += pixels.nbytes
        finalizer: Any = weakref.finalize(pixels, self._release, pixels.nbytes)
        finalizer.atexit = False
        return pixels

    def _release(self, size: int) -> None:
        with self._lock:
            self.bytes -= size
