"""What every source of frames has in common, whether FFmpeg, a folder or an animated picture is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .sound import Sound

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a video before it is read.

    Attributes:
        name: for messages.
        size: height and width of its frames in pixels, upright.
        frame_rate: frames a second, on average.
        frame_count: how many frames there should be; None where the source does not tell.
        has_audio: whether there is sound beside the picture.
        is_live: whether it can be read only once: a camera, a stream, standard input.
    """

    name: str
    size: Size
    frame_rate: float
    frame_count: int | None = None
    has_audio: bool = False
    is_live: bool = False


class Shot(NamedTuple):
    """A frame that is decoded and not yet an array.

    Attributes:
        time: seconds from the beginning of the video.
        image: gives it as RGB, uint8 [H, W, 3], of the size (height, width) that is asked for.
    """

    time: float
    image: Callable[[Size], NDArray[np.uint8]]


class Damage(NamedTuple):
    """What is wrong with a video, and the seconds from its beginning where that is; reading may go on behind it."""

    what: str
    time: float


class FrameSource(Protocol):
    """Where frames come from.

    Attributes:
        facts: what is known of the video.
        damage: what was found since `shots` was called.
    """

    facts: Facts
    damage: list[Damage]

    def shots(self, start: float) -> Iterator[Shot]:
        """Yield all frames, or those from shortly before ``start`` (in seconds) on."""
        ...

    def sound(self) -> Sound | None:
        """Return the sound; None where there is none, or where the source is live and can be read only once."""
        ...

    def close(self) -> None:
        """Let go of files and devices."""
        ...
