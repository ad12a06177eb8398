"""Videos read frame by frame from whatever holds them, and written as files that browsers play.

Reading: `open_video`. Writing: `write_video`. Files, streams and cameras go through PyAV, FFmpeg's Python binding,
which the extra ``video`` brings; folders of frames and animated pictures need Pillow alone.
"""

from __future__ import annotations

from .opening import open_video
from .reader import VideoFrame, VideoReader
from .writer import VideoWriter, write_video

__all__ = ["VideoFrame", "VideoReader", "VideoWriter", "open_video", "write_video"]
