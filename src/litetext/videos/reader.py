"""The frames of a video one after the other: all or every N-th, from one time to another, as they are or smaller.

Whatever is wrong in the middle of a video is told after the frames that could be read, so that they can be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from .sound import Sound
from .source import Damage, FrameSource, Shot, Size

_TICK = 0.0005
"""Seconds by which the time of a frame may be off, as containers round it."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One frame of a video.

    Attributes:
        index: from 0, among the frames that are read.
        time: seconds from the beginning of the video.
        image: RGB, uint8 [H, W, 3].
    """

    index: int
    time: float
    image: NDArray[np.uint8]


class VideoReader:
    """The frames of a video; iterating reads them, and iterating again starts anew unless the source is live.

    Made by `litetext.videos.open_video`.

    Attributes:
        name: of the source.
        size: height and width of the frames in pixels, upright and scaled.
        frame_rate: frames a second that are read, on average.
        frame_count: how many frames there should be; None where the source does not tell. Containers may be wrong.
        has_audio: whether there is sound beside the picture.
        is_live: whether it can be read only once: a camera, a stream, standard input.
        start: seconds where reading begins.
        end: seconds where it ends, or None.
    """

    def __init__(
        self, source: FrameSource, start: float | None, end: float | None, every: int, max_side: int | None
    ) -> None:
        facts = source.facts
        self._source = source
        self._every = every
        self.name = facts.name
        self.size = _scaled(facts.size, max_side)
        self.frame_rate = facts.frame_rate / every
        self.start = start or 0.0
        self.end = end
        self.frame_count = self._frames_of(facts.frame_count, facts.frame_rate)
        self.has_audio = facts.has_audio
        self.is_live = facts.is_live
        if self.frame_count == 0:
            self.close()
            raise self._nothing_there()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames.

        Raises:
            LitetextError: after the last frame that could be read: the video is cut short or damaged, its frames
                change their size, or none lies between start and end.
        """
        index = whole = -1
        for number, shot in enumerate(self._shots()):
            if number % self._every == 0:
                index += 1
                if not self._source.damage or shot.time < self._source.damage[0].time - _TICK:
                    whole = index
                yield VideoFrame(index, shot.time, shot.image(self.size))
        if self._source.damage:
            raise self._damaged(self._source.damage[0], whole)
        if index < 0:
            raise self._nothing_there()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sound(self) -> Sound | None:
        """Return the sound for `write_video`; None where there is none, or where the source is live."""
        return self._source.sound()

    def close(self) -> None:
        """Let go of files and devices that are still open."""
        self._source.close()

    def _shots(self) -> Iterator[Shot]:
        """The frames from start to end."""
        for shot in self._source.shots(self.start):
            if self.end is not None and shot.time >= self.end - _TICK:
                return
            if shot.time >= self.start - _TICK:
                yield shot

    def _frames_of(self, total: int | None, rate: float) -> int | None:
        """How many of ``total`` frames are read."""
        if total is None:
            return None
        first = math.ceil((self.start - _TICK) * rate)
        last = total if self.end is None else min(total, math.ceil((self.end - _TICK) * rate))
        return max(0, math.ceil((last - max(first, 0)) / self._every))

    def _damaged(self, damage: Damage, whole: int) -> LitetextError:
        """The error for damage behind the frame ``whole``."""
        where = f"after frame {whole}" if whole >= 0 else "from its first frame on"
        return LitetextError(
            f"{self.name} {damage.what} {where} (at {damage.time:.2f} s); all frames that could be read were kept"
        )

    def _nothing_there(self) -> LitetextError:
        until = "" if self.end is None else f" and before {self.end:g} s"
        return LitetextError(f"{self.name} has no frame from {self.start:g} s on{until}; choose other times")


def _scaled(size: Size, max_side: int | None) -> Size:
    """A size whose longer side is at most ``max_side``, of the same proportions; never larger."""
    if max_side is None or max(size) <= max_side:
        return size
    height, width = (max(1, round(side * max_side / max(size))) for side in size)
    return height, width
