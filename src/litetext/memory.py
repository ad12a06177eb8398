"""Memory that was freed goes back to the system, not into an allocator's drawer; so does that of mapped files."""

from __future__ import annotations

import ctypes
import mmap
import os

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD in malloc.h


def return_freed_memory() -> None:
    """Give back what the C allocator holds but nobody uses (glibc's, or tcmalloc where it is preloaded)."""
    if os.name != "posix":
        return
    loaded = ctypes.CDLL(None)
    for name, arguments in (("MallocExtension_ReleaseFreeMemory", ()), ("malloc_trim", (0,))):
        release = getattr(loaded, name, None)
        if release is not None:
            release(*arguments)


def return_large_blocks() -> None:
    """Have glibc give back blocks of 1 MB and more whenever they are freed.

    Otherwise it raises that limit to 32 MB where such blocks come and go, and keeps the memory between those in use.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 1 << 20)


def drop_pages(address: int, size: int) -> None:
    """Give back the pages that lie wholly in a stretch of a file mapped into memory; they are read again when needed.

    What was written there is lost. Where the system has no such call, nothing happens.

    Args:
        address: where the stretch begins.
        size: its bytes.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    page = mmap.PAGESIZE
    start, end = -(-address // page) * page, (address + size) // page * page
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
