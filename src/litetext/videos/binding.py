"""PyAV, FFmpeg's Python binding: imported when a video is first opened, since few commands need it."""

from __future__ import annotations

from types import ModuleType

from ..errors import extras_named


def pyav() -> ModuleType:
    """Return the module ``av``.

    Raises:
        LitetextError: it is not installed.
    """
    with extras_named():
        import av
    return av


def reason(error: Exception) -> str:
    """Return what FFmpeg says went wrong, in few words."""
    return str(getattr(error, "strerror", None) or error).split(":")[0].lower()
