"""Videos that browsers play: H.264 in MP4, the index first, with the sound of the video that they are made from."""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..files import StrPath, as_given, atomic_path
from .binding import pyav, reason
from .sound import Sound
from .source import Size

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame as FFmpegFrame

_TICK = Fraction(1, 90_000)  # seconds
_THREADS = 3
_OPTIONS = {
    "preset": "superfast",
    "crf": "23",
    "x264-params": "mbtree=0",  # which looks at memory that was never written: other bytes from run to run
    "colorspace": "bt709",
    "color_primaries": "bt709",
    "color_trc": "bt709",
    "color_range": "tv",
}
_MOST_WAITING = 3  # frames that are made before the first of them is encoded
_KEY_FRAMES = 2.0  # seconds apart: how far players must go back to show any one frame


@contextlib.contextmanager
def write_video(
    destination: StrPath, size: Size, frame_rate: float, *, sound: Sound | None = None
) -> Iterator[VideoWriter]:
    """Yield a `VideoWriter`; the file is there when the block has ended well, and not before.

    H.264 as browsers play it has sides of even length: an odd side is one pixel longer in the file, a copy of the one
    beside it.

    Args:
        destination: the file, ``.mp4``.
        size: height and width of the frames in pixels.
        frame_rate: frames a second, for frames that come without a time.
        sound: of the video whose times the frames carry, see `VideoReader.sound`; it ends with the last frame. Sound
            that MP4 does not take is coded anew as AAC.

    Raises:
        LitetextError: PyAV is missing or has no H.264, no frame was written, or the disk is full.
    """
    pyav()
    with (
        atomic_path(destination) as temporary,
        _failures_named(temporary),
        _opened(temporary) as file,
        contextlib.nullcontext() if sound is None else contextlib.closing(sound),
        ThreadPoolExecutor(1, "encoder") as thread,
    ):
        writer = VideoWriter(file, size, frame_rate, sound, thread)
        yield writer
        writer.finish()


class VideoWriter:
    """A video that is written frame by frame; made by `write_video`.

    A thread encodes what is written while the next frames are made.
    """

    def __init__(
        self, file: OutputContainer, size: Size, frame_rate: float, sound: Sound | None, thread: Executor
    ) -> None:
        self._thread = thread
        self._waiting: deque[Future[None]] = deque()
        self._file = file
        self._size = size
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._stream = _picture_stream(file, size, self._rate)
        self._sound = sound
        self._begin: float | None = None
        self._last = -1  # in ticks

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Add a frame.

        Args:
            image: RGB, uint8 [H, W, 3], which must stay as it is.
            time: seconds at which it is shown, later than the frame before; the video begins with its first frame. By
                default frames follow each other at the frame rate.

        Raises:
            LitetextError: a frame of another size.
        """
        if image.shape != (*self._size, 3):
            raise LitetextError(f"a frame to write is {image.shape}, where {(*self._size, 3)} belongs")
        if self._begin is None:
            self._begin = time or 0.0
            if self._sound is not None:
                self._sound.begin(self._file, self._begin)
        self._last = self._ticks(time)
        self._waiting.append(self._thread.submit(self._encode, image, self._last))
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Write what waits to be encoded, what the encoder still holds, and the sound to the end of the last frame."""
        if self._begin is None:
            raise LitetextError("no frame came to write a video of")
        while self._waiting:
            self._waiting.popleft().result()
        self._file.mux(self._stream.encode())
        self._add_sound(self._last + round(1 / self._rate / _TICK))

    def _encode(self, image: NDArray[np.uint8], ticks: int) -> None:
        """Encode a frame, and bring the sound to where it begins."""
        frame = _frame_of(image)
        frame.time_base = _TICK
        frame.pts = ticks
        self._file.mux(self._stream.encode(frame))
        self._add_sound(ticks)

    def _ticks(self, time: float | None) -> int:
        """When a frame is shown: later than the frame before, whatever rounding does."""
        if time is None:
            return self._last + round(1 / self._rate / _TICK) if self._last >= 0 else 0
        return max(round((time - (self._begin or 0.0)) / _TICK), self._last + 1)

    def _add_sound(self, ticks: int) -> None:
        if self._sound is not None:
            self._sound.copy_until(float(ticks * _TICK))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[OutputContainer]:
    """An MP4 to write; where the block fails, so may its end, which then is not told."""
    av = pyav()
    file = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "faststart"})
    try:
        yield file
    except BaseException:
        with contextlib.suppress(av.FFmpegError, OSError):
            file.close()
        raise
    file.close()


def _picture_stream(file: OutputContainer, size: Size, rate: Fraction) -> Any:
    try:
        stream: Any = file.add_stream("libx264", rate=rate)
    except ValueError:  # av.codec.codec.UnknownCodecError
        raise LitetextError("this FFmpeg writes no H.264 (libx264); install PyAV's own: pip install av") from None
    stream.height, stream.width = (side + side % 2 for side in size)
    stream.pix_fmt = "yuv420p"
    stream.options = _OPTIONS
    stream.codec_context.time_base = _TICK
    stream.codec_context.gop_size = max(1, round(_KEY_FRAMES * rate))
    stream.codec_context.thread_count = _THREADS  # the same bytes on every machine
    return stream


def _frame_of(image: NDArray[np.uint8]) -> FFmpegFrame:
    """A frame as the encoder takes it, its sides even."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame: FFmpegFrame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709")


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """Tell of what FFmpeg cannot write as the file system does: a full disk is told by who made the temporary path."""
    try:
        yield
    except pyav().FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise LitetextError(f"{as_given(path)} cannot be written ({reason(error)})") from None
