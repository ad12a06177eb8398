"""Tiny videos to read: every frame tells its number by its gray, and which way is up by a red and a blue corner."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SIZE = (48, 64)
FRAMES = 12
RATE = 10
SOUND_RATE = 16_000
STEP = 20  # gray levels between two frames


def picture(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """The frame of that number: a quarter at the top left is red, one at the bottom left is blue, the rest is gray."""
    height, width = size
    image = np.full((height, width, 3), 10 + STEP * number % 240, np.uint8)
    image[: height // 2, : width // 2] = (230, 20, 20)
    image[height // 2 :, : width // 2] = (20, 20, 230)
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number that a frame shows, upright."""
    return round((float(image[:, image.shape[1] * 3 // 4].mean()) - 10) / STEP)


def is_upright(image: NDArray[np.uint8]) -> bool:
    """Whether red stands at the top left and blue at the bottom left."""
    height, width = image.shape[0], image.shape[1]
    red, blue = image[height // 4, width // 4], image[height * 3 // 4, width // 4]
    return bool(red[0] > 180 and red[2] < 80 and blue[2] > 180 and blue[0] < 80)


def write_clip(
    path: Path,
    images: Iterable[NDArray[np.uint8]] | None = None,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    rate: int = RATE,
    audio: str = "",
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write a video, by default of `FRAMES` pictures; RGBA images keep their alpha."""
    frames = [picture(number) for number in range(FRAMES)] if images is None else list(images)
    with av.open(str(path), "w", options=container or {}) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        stream.options = options or ({"crf": "10"} if codec == "libx264" else {})
        tick = Fraction(1, rate if times is None else 1000)
        stream.codec_context.time_base = tick
        sound = _sound_stream(file, audio) if audio else None
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            frame.pts = number if times is None else round(times[number] * 1000)
            frame.time_base = tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if sound is not None:
            _write_tone(file, sound, len(frames) / rate)
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file that holds a tone and no picture."""
    with av.open(str(path), "w") as file:
        _write_tone(file, _sound_stream(file, "aac"), seconds)
    return path


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write the display matrix of an MP4's picture: -1, 0 or 1 each."""
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 40  # version and flags, times, ids, layer, group, volume
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def _sound_stream(file: Any, codec: str) -> Any:
    stream = file.add_stream(codec, rate=SOUND_RATE)
    stream.layout = "mono"
    return stream


def _write_tone(file: Any, stream: Any, seconds: float) -> None:
    """A tone that grows louder every half second, the first of which is silent."""
    resampler = av.AudioResampler(stream.format, "mono", SOUND_RATE)
    for at in range(0, int(SOUND_RATE * seconds), 1024):
        places = np.arange(at, min(at + 1024, int(SOUND_RATE * seconds)))
        samples = np.sin(places / 8) * (places // (SOUND_RATE // 2)) * 0.2
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
        for part in resampler.resample(frame):
            file.mux(stream.encode(part))
    file.mux(stream.encode())


def loudness(path: Path) -> list[float]:
    """The loudness of each tenth of a second of a file's sound, from the beginning of its picture."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
    values = np.zeros(SOUND_RATE * 10)
    for frame in frames:
        samples = frame.to_ndarray().astype(np.float32).reshape(-1)
        samples = samples / 32768 if np.abs(samples).max(initial=0) > 2 else samples
        at = round(frame.time * frame.sample_rate)
        if at + len(samples) <= 0:
            continue  # what codecs put before the beginning
        values[max(at, 0) : at + len(samples)] = samples[max(0, -at) :]
    end = round((frames[-1].time * SOUND_RATE) + frames[-1].samples)
    tenths = [values[at : at + SOUND_RATE // 10] for at in range(0, end, SOUND_RATE // 10)]
    return [float(np.sqrt((tenth**2).mean())) for tenth in tenths]
