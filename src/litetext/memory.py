"""Memory that was freed goes back to the system, not into an allocator's drawer."""

from __future__ import annotations

import ctypes
import os


def return_freed_memory() -> None:
    """Give back what the C allocator holds but nobody uses (glibc's, or tcmalloc where it is preloaded)."""
    if os.name != "posix":
        return
    loaded = ctypes.CDLL(None)
    for name, arguments in (("MallocExtension_ReleaseFreeMemory", ()), ("malloc_trim", (0,))):
        release = getattr(loaded, name, None)
        if release is not None:
            release(*arguments)
