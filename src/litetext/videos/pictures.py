"""Frames from pictures, for which Pillow is enough: files of a folder or of a pattern, and animated pictures as GIF."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..images import SUFFIXES, animation_length, image_size, read_animation, read_image
from .source import Damage, Facts, Shot, Size

FRAME_RATE = 24.0
"""Frames a second of pictures that have no times of their own."""


class PictureFiles:
    """One file a frame, `FRAME_RATE` frames a second."""

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        self._files = files
        self.facts = Facts(name, image_size(files[0]), FRAME_RATE, len(files))
        self.damage: list[Damage] = []

    def shots(self, start: float) -> Iterator[Shot]:
        """Yield all frames; a file that cannot be read, or is of another size, is a `LitetextError` when looked at."""
        for number, file in enumerate(self._files):
            yield Shot(number / FRAME_RATE, partial(self._read, file))

    def sound(self) -> None:
        """Pictures have none."""

    def close(self) -> None:
        """Nothing is open."""

    def _read(self, file: Path, size: Size) -> NDArray[np.uint8]:
        image = read_image(file)
        height, width = self.facts.size
        if image.shape[:2] != (height, width):
            raise LitetextError(
                f"{file} is {image.shape[1]}x{image.shape[0]} pixels, the frames before it {width}x{height}; "
                "the frames of a video have one size"
            )
        return _resized(image, size)


class AnimatedPicture:
    """A GIF, WebP or APNG; a picture that does not move is one frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        frames, rate = animation_length(path)
        self.facts = Facts(str(path), image_size(path), rate, frames)
        self.damage: list[Damage] = []

    def shots(self, start: float) -> Iterator[Shot]:
        """Yield all frames, each of which is drawn over those before it."""
        self.damage = []
        time = 0.0
        try:
            for seconds, image in read_animation(self._path):
                yield Shot(time, partial(_resized, image))
                time += seconds
            is_whole = self._path.suffix.lower() != ".gif" or _ends_as_gif(self._path)
        except LitetextError:
            is_whole = False
        if not is_whole:
            self.damage.append(Damage("is cut short or damaged", time))

    def sound(self) -> None:
        """Pictures have none."""

    def close(self) -> None:
        """Nothing is open."""


def frame_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names, numbers by their value.

    Raises:
        LitetextError: there is none.
    """
    return _in_order(folder.iterdir(), f"{folder} holds no frame")


def matching_files(pattern: str) -> list[Path]:
    """Return the pictures whose names match a pattern with ``*``, ``?`` or ``[…]``, in the order of `frame_files`.

    Raises:
        LitetextError: there is none.
    """
    from glob import glob

    found = glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return _in_order(map(Path, found), f"{pattern} matches no picture")


def _in_order(paths: Iterable[Path], otherwise: str) -> list[Path]:
    found = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise LitetextError(f"{otherwise} ({', '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: (str(path.parent), _natural(path.name), path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``frame2`` before ``frame10``."""
    return [(int(part), "") if part.isdecimal() else (0, part.casefold()) for part in re.split(r"(\d+)", name)]


def _resized(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    if image.shape[:2] == size:
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX))


def _ends_as_gif(path: Path) -> bool:
    """Whether a GIF ends with its trailer; some programs leave zeros or line ends behind it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip(b"\0\r\n").endswith(b";")
