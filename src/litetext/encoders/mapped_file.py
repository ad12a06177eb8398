"""A file's bytes where they lie: mapped into memory, read from disk when they are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..memory import drop_pages


class MappedFile:
    """A file mapped into memory, open for as long as an array of it is in use.

    Args:
        path: the file, which is not empty.
        writable: whether arrays can be written to; what is written stays in memory and never reaches the file.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self._content: NDArray[np.uint8] = np.memmap(path, np.uint8, "c" if writable else "r").view(np.ndarray)

    def bytes(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return the bytes from ``start`` to before ``end``, a view of the file."""
        return self._content[start:end]

    def release(self) -> None:
        """Give back the memory of what was read, which stays readable; what was written to it is lost."""
        drop_pages(self._content.ctypes.data, self._content.nbytes)
