"""From what a user names to a reader of its frames."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from ..errors import LitetextError, choice_error
from ..files import StrPath, checked_file
from ..hub import offline
from ..images import SUFFIXES
from .pictures import AnimatedPicture, PictureFiles, frame_files, matching_files
from .reader import VideoReader
from .source import FrameSource
from .stream import FFmpegVideo

_SCHEMES = ("http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "tcp", "udp")
_ANIMATED = (*SUFFIXES, ".apng")
_TIMEOUT = 30.0  # seconds without an answer


def open_video(
    source: StrPath,
    *,
    start: float | None = None,
    end: float | None = None,
    every: int = 1,
    max_side: int | None = None,
) -> VideoReader:
    """Open a video to read its frames, in order, as RGB.

    Frames are turned upright by the file's rotation, and what is transparent lies on white. Times are those of the
    file, whatever its frame rate does.

    Args:
        source: a file that FFmpeg reads (MP4, MOV, WebM, MKV, …), an animated picture (GIF, WebP, APNG), a folder of
            pictures or a pattern of their names with ``*``, ``?`` or ``[…]`` (24 frames a second, in the order of their
            names, numbers by value), ``0`` for the first camera, ``-`` for standard input, or an http(s), rtsp, rtmp,
            srt, tcp or udp link.
        start: seconds from the beginning at which to begin.
        end: seconds from the beginning at which to end; the frame there is not read.
        every: read every N-th frame.
        max_side: pixels to which the longer side is reduced, in proportion; smaller frames stay as they are.

    Raises:
        LitetextError: nothing of that name, or no video in it; the message names what was given and the remedy.
    """
    for name, value in {"every": every, "max_side": max_side}.items():
        if value is not None and value < 1:
            raise LitetextError(f"{name} is {value}, where a whole number from 1 on should stand")
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise LitetextError(f"start {start} and end {end} are no times, in seconds, of which the second is later")
    return VideoReader(_source_of(os.fspath(source)), start, end, every, max_side)


def files_of(source: StrPath) -> list[Path]:
    """Return the file, the folder, or the files of a pattern that `open_video` reads; none for what is no file."""
    name = os.fspath(source)
    if name == "-" or "://" in name:
        return []
    if _is_pattern(name):
        return matching_files(name)
    return [Path(name)] if os.path.lexists(name) else []


def _is_pattern(name: str) -> bool:
    return re.search(r"[*?[]", name) is not None and not os.path.lexists(name)


def _source_of(name: str) -> FrameSource:
    if name == "-":
        return FFmpegVideo(_standard_input, "standard input")
    if "://" in name:
        return _link(name)
    path = Path(name)
    if name.isdecimal() and not path.exists():
        return _camera(int(name))
    if path.is_dir():
        return PictureFiles(name, frame_files(path))
    if _is_pattern(name):
        return PictureFiles(name, matching_files(name))
    if path.suffix.lower() in _ANIMATED:
        return AnimatedPicture(path)
    return _file(checked_file(path, "a video, a folder of frames, a link, 0 for a camera, or - for standard input"))


def _file(path: Path) -> FFmpegVideo:
    try:
        # with "file:", FFmpeg takes no name for one of its protocols, and lets no playlist lead to the network
        name = f"file:{path}".encode().decode()
    except UnicodeEncodeError:
        return FFmpegVideo(lambda: path.open("rb"), str(path), path)
    return FFmpegVideo(lambda: name, str(path), path)


def _link(name: str) -> FFmpegVideo:
    scheme = name.split("://")[0].lower()
    if scheme not in _SCHEMES:
        raise choice_error("kind of link", f"{scheme}://", [f"{scheme}://" for scheme in _SCHEMES])
    if offline():
        raise LitetextError(f"{name} cannot be fetched offline; leave out --offline, or give a file")
    return FFmpegVideo(lambda: name, name, remedy="does a player open the link?", timeout=_TIMEOUT)


def _camera(number: int) -> FFmpegVideo:
    remedy = "is it connected, and free?"
    if sys.platform == "darwin":
        return FFmpegVideo(
            lambda: str(number), f"camera {number}", None, remedy, format="avfoundation", options={"framerate": "30"}
        )
    if not sys.platform.startswith("linux"):
        raise LitetextError(f"camera {number}: cameras are read on Linux and macOS; record a file, or give a link")
    device = f"/dev/video{number}"
    return FFmpegVideo(lambda: device, f"camera {number} ({device})", None, remedy, format="v4l2")


def _standard_input() -> _ReadOnly:
    if sys.stdin.isatty():
        raise LitetextError("standard input is a terminal; pipe a video into it, or give a file")
    return _ReadOnly(sys.stdin.buffer)


class _ReadOnly:
    """A file object of which FFmpeg sees that it cannot be sought in."""

    def __init__(self, file: Any) -> None:
        self.read = file.read
