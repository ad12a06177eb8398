"""Frames from whatever FFmpeg reads: files, links, cameras, standard input; upright, without transparency."""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..images import read_image
from .binding import pyav, reason
from .sound import Sound
from .source import Damage, Facts, Shot, Size

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame as FFmpegFrame
    from av.video.stream import VideoStream

_CUT = "is cut short or damaged"
_NO_VIDEOS = ("tty",)  # FFmpeg would show the letters of a text
_WITH_INDEX = ("mov", "matroska")  # containers in which going to a time does not miss the key frame before it
_MOST_PIXELS = 1 << 27  # of a frame: four times 8K
_USUAL_RATE = 25.0  # frames a second where nothing is told
_SHORT_FRAMES, _SHORT_SHARE = 0.75, 0.1  # what a file may lack of the length it tells, before it is called cut short

Turn: TypeAlias = tuple[int, int, int, int]
"""Of a stored pixel (x, y) upright x is a·x + c·y and upright y is b·x + d·y; each of a, b, c, d is -1, 0 or 1."""

_UPRIGHT: Turn = (1, 0, 0, 1)


class FFmpegVideo:
    """A video that FFmpeg reads.

    Args:
        given: returns what ``av.open`` takes: a name, or a file object to read from.
        name: for messages.
        path: of the file, where it is one.
        remedy: what to look at where it cannot be opened.
        options: more arguments of ``av.open``.

    Raises:
        LitetextError: it cannot be opened, or holds no frame that can be decoded.
    """

    def __init__(
        self,
        given: Callable[[], Any],
        name: str,
        path: Path | None = None,
        remedy: str = "is it one, and whole?",
        **options: Any,
    ) -> None:
        self._name = name
        self._path = path
        self._open = partial(_opened, given, name, remedy, options)
        self.damage: list[Damage] = []
        self._origin = 0.0
        container = self._container = self._open("NONE" if path else "AUTO")
        try:
            frames = self._decoded(container)
            first = next(frames)
            self._turn = _turn_of(first)
            self._stored_size = (first.height, first.width)
            self._origin = first.time or 0.0
            self.facts = self._facts(container)
        except BaseException:
            container.close()
            raise
        self._unread: Iterator[FFmpegFrame] | None = itertools.chain([first], frames)
        if not self.facts.is_live:
            self.close()

    def shots(self, start: float) -> Iterator[Shot]:
        """Yield the frames from a key frame before ``start`` on.

        Raises:
            LitetextError: a frame has another size than the first, or the connection broke.
        """
        for number, frame in enumerate(self._live_frames() if self.facts.is_live else self._frames(start)):
            time = number / self.facts.frame_rate if frame.time is None else frame.time - self._origin
            yield Shot(time, partial(self._image, frame))

    def sound(self) -> Sound | None:
        """Return the sound, read from the file beside the picture."""
        return Sound(self._open("AUTO"), self._origin) if self.facts.has_audio and not self.facts.is_live else None

    def close(self) -> None:
        """Close the file, link or device."""
        self._unread = None
        self._container.close()

    def _facts(self, container: InputContainer) -> Facts:
        stream = _picture(container)
        rate = float(stream.average_rate or stream.guessed_rate or 0) or _USUAL_RATE
        seconds = _promised_seconds(container)
        count = stream.frames or (None if seconds is None else max(1, round(seconds * rate)))
        is_live = self._path is None
        size = self._stored_size if self._turn[0] else self._stored_size[::-1]
        return Facts(self._name, size, rate, None if is_live else count, bool(container.streams.audio), is_live)

    def _live_frames(self) -> Iterator[FFmpegFrame]:
        """All frames, once."""
        frames, self._unread = self._unread, None
        if frames is None:
            raise LitetextError(f"{self._name} can be read once only; open it again")
        with contextlib.closing(self._container):
            yield from frames

    def _frames(self, start: float) -> Iterator[FFmpegFrame]:
        """The frames from about ``start`` on.

        Threads that decode several frames at a time lose some around one that is damaged, and tell of it late. So where
        there is one, a single thread decodes the file anew.
        """
        count = 0
        for threads in ("AUTO", "NONE"):
            self.damage = []
            with contextlib.closing(self._open(threads)) as container, contextlib.suppress(_UndecodableError):
                if start > 0 and any(kind in container.format.name for kind in _WITH_INDEX):
                    _seek(container, start + self._origin)
                for frame in itertools.islice(self._decoded(container, threads == "AUTO"), count, None):
                    count += 1
                    yield frame
                return

    def _decoded(self, container: InputContainer, strict: bool = False) -> Iterator[FFmpegFrame]:
        """The frames that can be decoded; what cannot is noted as damage, or ends a decoding that is ``strict``."""
        av = pyav()
        decode = _decoder(_picture(container))
        frames, packets, reached = 0, 0, 0.0
        try:
            for packet in container.demux(video=0):
                begins, ends = self._times(packet)
                packets += packet.size > 0
                if packet.is_corrupt:
                    self.damage.append(Damage(_CUT, begins))
                try:
                    for frame in decode(packet):
                        yield frame
                        frames += 1
                except av.InvalidDataError:
                    if strict:
                        raise _UndecodableError from None
                    self.damage.append(Damage("has packets that cannot be decoded", begins))
                reached = max(reached, ends)
        except av.InvalidDataError:
            self.damage.append(Damage(_CUT, reached))
        except (av.FFmpegError, OSError) as error:
            raise LitetextError(f"{self._name} breaks off after {frames} frames ({reason(error)})") from None
        if not frames:
            raise LitetextError(f"{self._name} holds no frame that can be decoded; is it cut short?")
        if self._path is not None and not self.damage and _is_cut_short(container, self._path, packets, reached):
            self.damage.append(Damage(_CUT, reached))

    def _times(self, packet: Packet[VideoStream]) -> tuple[float, float]:
        """When what a packet shows begins and ends, in seconds from the beginning of the video; 0 if not known."""
        if packet.pts is None or packet.time_base is None:
            return 0.0, 0.0
        begins, ends = (float(ticks * packet.time_base) for ticks in (packet.pts, packet.pts + (packet.duration or 0)))
        return begins - self._origin, ends - self._origin

    def _image(self, frame: FFmpegFrame, size: Size) -> NDArray[np.uint8]:
        """A frame as RGB, uint8 [H, W, 3], of that upright size."""
        if (frame.height, frame.width) != self._stored_size:
            height, width = self._stored_size
            when = "" if frame.time is None else f" at {frame.time - self._origin:.2f} s"
            raise LitetextError(
                f"{self._name} has a frame of {frame.width}x{frame.height} pixels{when}, "
                f"those before it have {width}x{height}; the frames of a video have one size"
            )
        height, width = size if self._turn[0] else size[::-1]
        clear = any(component.is_alpha for component in frame.format.components)
        image: Any = frame.reformat(
            width,
            height,
            "rgba" if clear else "rgb24",
            dst_colorspace="ITU601",  # without it, PyAV before 17 takes every frame for BT.601
            interpolation="AREA" if (height, width) != self._stored_size else None,
        ).to_ndarray()
        return _upright(read_image(image) if clear else image, self._turn)


class _UndecodableError(Exception):
    """A packet cannot be decoded."""


def _opened(given: Callable[[], Any], name: str, remedy: str, options: dict[str, Any], threads: str) -> InputContainer:
    """The container, checked to hold a picture that can be decoded, by threads of FFmpeg's kind."""
    av = pyav()
    try:
        container = av.open(given(), **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise LitetextError(f"{name} cannot be read as a video ({reason(error)}); {remedy}") from None
    try:
        _check(container, name)
        _picture(container).thread_type = threads
    except LitetextError:
        container.close()
        raise
    return container


def _check(container: InputContainer, name: str) -> None:
    streams = container.streams
    if container.format.name in _NO_VIDEOS:
        raise LitetextError(f"{name} is a text; give a video")
    if not streams.video:
        raise LitetextError(f"{name} holds {'sound, but no picture' if streams.audio else 'no picture'}; give a video")
    if streams.video[0].codec_context is None:
        raise LitetextError(f"{name} is coded in a way that this FFmpeg cannot decode; convert it to H.264 first")
    width, height = streams.video[0].codec_context.width, streams.video[0].codec_context.height
    if width * height > _MOST_PIXELS:
        raise LitetextError(f"{name} has frames of {width}x{height} pixels, too large to decode; scale it down first")


def _picture(container: InputContainer) -> VideoStream:
    return container.streams.video[0]


def _decoder(stream: VideoStream) -> Callable[[Packet[VideoStream]], Iterable[FFmpegFrame]]:
    """What decodes the packets of a stream; FFmpeg's own VP8 and VP9 lose the transparency, libvpx keeps it."""
    av = pyav()
    name = f"lib{stream.codec_context.name.replace('vp', 'vpx-vp')}".replace("-vp8", "")
    if stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return lambda packet: packet.decode()
    context = av.CodecContext.create(name, "r")
    return lambda packet: context.decode(packet if packet.size else None)


def _seek(container: InputContainer, time: float) -> None:
    """Go to a key frame before a time; where that cannot be done, reading begins at the start."""
    stream = _picture(container)
    with contextlib.suppress(pyav().FFmpegError):
        container.seek(math.floor(time / (stream.time_base or 1)), stream=stream)


def _promised_seconds(container: InputContainer) -> float | None:
    """How long the picture is by what the file says of itself; None where it says nothing."""
    stream = _picture(container)
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None if container.duration is None else container.duration / 1_000_000


def _is_cut_short(container: InputContainer, path: Path, packets: int, reached: float) -> bool:
    """Whether a file lacks part of what it says it has, when it gave that many packets, up to that time in seconds."""
    promised = _promised_seconds(container)
    stream = _picture(container)
    if promised is None:
        return False
    missing = promised - reached
    frames = _SHORT_FRAMES / float(stream.average_rate or _USUAL_RATE)
    if "mov" in container.format.name:
        return packets < stream.frames and missing > frames
    if "matroska" in container.format.name:  # which does not tell how long the last frame is shown
        return _has_cut_segment(path) or missing > max(frames, _SHORT_SHARE * promised)
    return False


def _has_cut_segment(path: Path) -> bool:
    """Whether a Matroska file ends before its one segment does."""
    with path.open("rb") as file:
        head = file.read(4096)
    at = head.find(b"\x18\x53\x80\x67") + 4
    if at < 4 or at + 8 > len(head) or not head[at]:
        return False
    length = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    is_known = size != (1 << 7 * length) - 1
    return is_known and path.stat().st_size < at + length + size


def _turn_of(frame: FFmpegFrame) -> Turn:
    """How a frame must be turned and mirrored to be upright, by its display matrix."""
    side: Any  # PyAV's own hints take it for a mapping
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = (round(value / 65536) for value in struct.unpack("<9i", bytes(memoryview(side))[:36]))
            if {abs(a), abs(b)} == {0, 1} and abs(a) == abs(d) and abs(b) == abs(c):
                return (a, b, c, d)
    return _UPRIGHT


def _upright(image: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """A stored image turned and mirrored; see `Turn`."""
    a, b, c, d = turn
    if not a:
        image = image.transpose(1, 0, 2)
    return np.ascontiguousarray(image[:: d or b, :: a or c])
