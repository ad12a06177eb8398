"""Pictures of any kind into plain RGB: upright, three channels, 8 bits.

Every image format has its own way to be surprising; all of them are met here and nowhere else, so that what
the detector sees and what the masks are drawn on is the same array.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .errors import LitetextError, require
from .files import StrPath, open_file
from .hub import hub_file, is_hub_file, offline

if TYPE_CHECKING:
    import torch
    from PIL import Image

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[Any] | torch.Tensor"
"""An image in any form; see `read_image`."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What files of images are called."""

LARGEST = 1 << 28
"""Bytes of an image that comes through a link or a pipe, at most."""

_TIMEOUT = 30  # seconds without an answer
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on the image lies on its side
_STRIP = 1 << 20  # pixels converted at once


def is_one_image(images: Any) -> bool:
    """Whether ``images`` is one image rather than several of them; a batch [B, ...] is several."""
    if isinstance(images, str | bytes | bytearray | os.PathLike):
        return True
    return getattr(images, "ndim", 3) < 4 if hasattr(images, "shape") else not isinstance(images, Iterable)


def read_image(image: ImageLike) -> NDArray[np.uint8]:
    """Return ``image`` as RGB, uint8 [H, W, 3], turned upright by its EXIF orientation.

    Transparent pixels are laid on white. Sixteen bits are scaled to eight (65535 becomes 255). Of an animation the
    first frame is taken.

    Args:
        image: a path, an http(s) link, the bytes of an image file, a PIL image, an array [H, W], [H, W, 1], [H, W, 3]
            or [H, W, 4], or a torch tensor of such a shape or with its channels first. Numbers are 0..255 (uint8),
            0..65535 (uint16), 0..1 (floats) or truth values.

    Raises:
        LitetextError: a missing, unreadable or truncated file, a link that cannot be fetched, or numbers that are no
            picture.
    """
    if is_link(image):
        with _opened(io.BytesIO(fetch(image)), image) as opened:
            return _rgb_of_pil(opened, image)
    if isinstance(image, str | os.PathLike):
        with _opened_file(Path(image)) as opened:
            return _rgb_of_pil(opened, os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        with _opened(io.BytesIO(image), "the image") as opened:
            return _rgb_of_pil(opened, "the image")
    if isinstance(image, np.ndarray):
        return _rgb_of_array(image)
    # only where torch or Pillow were imported can there be something of theirs
    if "torch" in sys.modules and isinstance(image, sys.modules["torch"].Tensor):
        return _rgb_of_array(_array_of_tensor(image))
    if "PIL.Image" not in sys.modules or not isinstance(image, sys.modules["PIL.Image"].Image):
        raise LitetextError(
            f"an image must be a path, a link, bytes, a PIL image, an array or a tensor; got {type(image).__name__}"
        )
    return _rgb_of_pil(image, "the image")


def is_link(image: object) -> TypeGuard[str]:
    """Whether ``image`` is an http(s) link, or one into a repository on the Hugging Face hub (``hf://``)."""
    return isinstance(image, str) and image.startswith(("http://", "https://", "hf://"))


def check_image(image: StrPath | bytes, name: str) -> None:
    """Read the header of an image file, or of the bytes of one; ``name`` is what messages call it.

    Raises:
        LitetextError: a missing file, or one that is no image.
    """
    if not isinstance(image, bytes):
        with _opened_file(Path(image)):
            return
    with _opened(io.BytesIO(image), name):
        return


def image_files(folder: StrPath) -> list[Path]:
    """Return the files of a folder, and of the folders in it, that are images by their suffix, in order of their names.

    Raises:
        LitetextError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LitetextError(f"{folder} is no folder; give a folder of images")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise LitetextError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
    return found


def image_size(path: StrPath) -> tuple[int, int]:
    """Return height and width of an image file, upright, without decoding it.

    Raises:
        LitetextError: a missing file, or one that is no image.
    """
    with _opened_file(Path(path)) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def read_animation(path: StrPath) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield the frames of an animated picture as `read_image` gives them, each with the seconds that it is shown.

    Raises:
        LitetextError: see `read_image`; after the frames that could be read.
    """
    with _opened_file(Path(path)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frame = _rgb_of_pil(image, os.fspath(path))
            yield _seconds_shown(image), frame


def read_numbers(path: StrPath) -> NDArray[np.uint16]:
    """Return the pixels of an image file as the numbers that they are [H, W]: of gray, or of places in a palette.

    Raises:
        LitetextError: see `read_image`; or an image in color.
    """
    with _opened_file(Path(path)) as image:
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            raise LitetextError(f"{path} is in color ({image.mode}), where a picture of numbers should stand")
        values = np.asarray(image)
        return _integers_16(values, str(path)) if image.mode == "I" else values.astype(np.uint16)


def animation_length(path: StrPath) -> tuple[int, float]:
    """Return how many frames an image file has, and how many a second, by the time that the first is shown."""
    with _opened_file(Path(path)) as image:
        frames = getattr(image, "n_frames", 1)
        image.load()
        return frames, 1 / _seconds_shown(image)


def _seconds_shown(image: Image.Image) -> float:
    """How long a frame is shown; where that is next to nothing, browsers take a tenth of a second."""
    milliseconds = float(image.info.get("duration", 0))
    return milliseconds / 1000 if milliseconds > 10 else 0.1


@contextlib.contextmanager
def _opened_file(path: Path) -> Iterator[Image.Image]:
    require("PIL")
    with open_file(path, "an image") as file, _opened(file, str(path)) as image:
        yield image


@contextlib.contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """An image file, opened but not decoded; what goes wrong before it is closed is said with its name."""
    require("PIL")
    from PIL import Image, UnidentifiedImageError

    try:
        # Pillow warns of oddities it copes with, and of more than 89 megapixels; twice that it refuses.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as opened:
                yield opened
    except UnidentifiedImageError:
        raise LitetextError(f"{name} is not an image that Pillow can read; convert it to PNG or JPEG") from None
    except Image.DecompressionBombError as error:
        raise LitetextError(f"{name}: {error}; scale the image down first") from None
    except LitetextError:
        raise
    except Exception as error:  # Pillow's readers of some forty formats let damaged files fail in any way at all
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LitetextError(f"{name} cannot be decoded ({reason}); is the file cut short?") from None


def fetch(link: str) -> bytes:
    """Return the bytes behind a link (see `is_link`).

    Raises:
        LitetextError: it cannot be fetched, or holds more than `LARGEST` bytes.
    """
    if is_hub_file(link):
        return _checked_size(hub_file(link).read_bytes(), link)
    if offline():
        raise LitetextError(f"{link} cannot be fetched offline; leave out --offline, or give a file")
    from http.client import HTTPException  # here, since these take tens of milliseconds to import
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(link, headers={"User-Agent": "litetext"}), timeout=_TIMEOUT) as answer:
            content: bytes = answer.read(LARGEST + 1)
    except (OSError, ValueError, HTTPException) as error:  # an HTTP or network error, a link that is none
        reason = getattr(error, "code", "") or getattr(error, "reason", error)
        raise LitetextError(f"{link} cannot be fetched ({reason}); check the link") from None
    return _checked_size(content, link)


def _checked_size(content: bytes, link: str) -> bytes:
    if len(content) > LARGEST:
        raise LitetextError(f"{link} is larger than {LARGEST >> 20} MiB; scale the image down first")
    return content


def _array_of_tensor(image: torch.Tensor) -> NDArray[Any]:
    """A tensor as an array with its channels last; where both ends could be channels, they come first, as in torch."""
    tensor = image.detach().cpu()
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 and array.shape[0] in (1, 3, 4) else array


def _rgb_of_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    from PIL import ImageOps

    if image.format == "EPS":
        raise LitetextError(f"{name} is PostScript, a program rather than an image; convert it to PNG or JPEG")
    if image.mode == "F":
        raise LitetextError(f"{name} holds 32-bit floats, whose white is unknown; convert it to 8 or 16 bits")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    width, height = image.size
    if not width * height:
        raise LitetextError(f"{name} is {width} x {height} pixels, which is no image")
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):  # strip by strip, since every conversion is a copy
        strip = image.crop((0, top, width, min(top + rows, height)))
        rgb[top : top + rows] = _rgb_of_strip(strip, name)
    return rgb


def _rgb_of_strip(image: Image.Image, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode.startswith("I"):
        return _rgb_of_array(_integers_16(np.asarray(image), name))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image.convert("RGB"))


def _integers_16(values: NDArray[Any], name: str) -> NDArray[np.uint16]:
    """Gray values of Pillow's integer modes, which it uses for 16-bit files."""
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise LitetextError(f"{name} has gray values outside 0..65535; convert it to 8 or 16 bits")
    return values.astype(np.uint16)


def _rgb_of_array(values: NDArray[Any]) -> NDArray[np.uint8]:
    channels = {2: 1, 3: values.shape[-1]}.get(values.ndim) if 0 not in values.shape else None
    if channels not in (1, 3, 4):
        raise LitetextError(
            f"an image array must be [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; got shape {values.shape}"
        )
    values = _in_eight_bits(values.reshape(*values.shape[:2], channels))
    if channels == 1:
        values = np.repeat(values, 3, axis=2)
    if channels == 4:
        alpha = values[:, :, 3:].astype(np.uint32)
        values = (values[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.ascontiguousarray(values, dtype=np.uint8)


def _in_eight_bits(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) * 255 + 32767) // 65535
    if values.dtype == bool:
        return values * np.uint8(255)
    if not np.issubdtype(values.dtype, np.floating):
        raise LitetextError(
            f"an image array must be uint8 (0..255), uint16 (0..65535), floating (0..1) or bool; got {values.dtype}"
        )
    if not (values.min() >= 0 and values.max() <= 1):  # which NaN fails too
        raise LitetextError(
            f"an image of floats must lie in 0..1, but this one goes from {values.min():g} to {values.max():g}; "
            "divide it by its white, or give uint8"
        )
    return (values * 255 + 0.5).astype(np.uint8)
