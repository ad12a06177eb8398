"""The sound of a video, carried over to another one packet by packet as the picture goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .binding import pyav

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

_COPIED = ("aac", "ac3", "alac", "eac3", "flac", "libopus", "mp3", "mp3float", "opus")
"""FFmpeg's decoders of what MP4 takes as it is; the rest becomes AAC."""

_AAC_SAMPLES = 1024  # a packet of AAC


class Sound:
    """The sound of an open video, to be read once.

    Args:
        container: the video, which is closed with this.
        origin: seconds in the container at which the picture begins.
    """

    def __init__(self, container: InputContainer, origin: float) -> None:
        self._container = container
        self._origin = origin

    def begin(self, file: OutputContainer, time: float) -> None:
        """Prepare to copy the sound from ``time`` on, in seconds of this video, to the beginning of a new MP4."""
        self._file = file
        stream = self._container.streams.audio[0]
        copied = stream.codec_context.name in _COPIED
        self._packets = (self._copied if copied else self._coded)(stream, self._origin + time)
        self._waiting = next(self._packets, None)

    def copy_until(self, time: float) -> None:
        """Copy what begins before ``time``, in seconds of the new video."""
        while self._waiting is not None and self._waiting.pts * self._waiting.time_base < time:
            self._file.mux(self._waiting)
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """Close the video that the sound is of."""
        self._container.close()

    def _copied(self, stream: Any, begin: float) -> Iterator[Any]:
        """The packets as they are, with the times of the new video."""
        output = self._file.add_stream_from_template(stream)
        shift = round(begin / stream.time_base)
        for packet in _readable(self._container.demux(stream)):
            if packet.pts is not None and packet.pts >= shift:
                packet.pts -= shift
                packet.dts = packet.pts  # no codec of sound puts its packets in another order
                packet.stream = output
                yield packet

    def _coded(self, stream: Any, begin: float) -> Iterator[Any]:
        """The sound coded anew as AAC."""
        output: Any = self._file.add_stream("aac", rate=min(stream.rate, 48_000))
        output.layout = "mono" if stream.channels == 1 else "stereo"
        resampler = pyav().AudioResampler("fltp", output.layout, output.rate, frame_size=_AAC_SAMPLES)
        shift = round(begin / stream.time_base)
        for frame in _readable(self._container.decode(stream)):
            if frame.pts is not None and frame.pts >= shift:
                frame.pts -= shift
                for part in resampler.resample(frame):
                    yield from output.encode(part)
        for part in resampler.resample(None):
            yield from output.encode(part)
        yield from output.encode()


def _readable(parts: Iterator[Any]) -> Iterator[Any]:
    """Parts of a file up to where it is damaged."""
    with contextlib.suppress(pyav().InvalidDataError):
        yield from parts
