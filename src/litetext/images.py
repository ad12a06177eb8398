"""Pictures of any kind into plain RGB: upright, three channels, 8 bits.

Every image format has its own way to be surprising; all of them are met here and nowhere else, so that what
the detector sees and what the masks are drawn on is the same array.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import LitetextError, missing_extra
from .files import StrPath, open_file

if TYPE_CHECKING:
    from PIL import Image

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any]"
"""A path, a PIL image, or an array [H, W], [H, W, 3] or [H, W, 4] of uint8 or uint16."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What files of images are called."""

_ORIENTATION = 0x0112  # EXIF's tag; from 5 on the image lies on its side


def is_one_image(images: Any) -> bool:
    """Whether ``images`` is one image rather than several of them."""
    return isinstance(images, str | os.PathLike | np.ndarray) or not isinstance(images, Iterable)


def read_image(image: ImageLike) -> NDArray[np.uint8]:
    """Return ``image`` as RGB, uint8 [H, W, 3], turned upright by its EXIF orientation.

    Transparent pixels are laid on white. Sixteen bits are scaled to eight (65535 becomes 255). Of an
    animation the first frame is taken.

    Raises:
        LitetextError: a missing, unreadable or truncated file, or an array that is no picture.
    """
    if isinstance(image, str | os.PathLike):
        return _read_file(Path(image))
    if isinstance(image, np.ndarray):
        return _rgb_of_array(image)
    # only where Pillow was imported can there be a picture of its own
    if "PIL.Image" not in sys.modules or not isinstance(image, sys.modules["PIL.Image"].Image):
        raise LitetextError(f"an image must be a path, a PIL image or an array; got {type(image).__name__}")
    return _rgb_of_pil(image, "the image")


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
    with _opened(Path(path)) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) >= 5
    return (width, height) if turned else (height, width)


def _read_file(path: Path) -> NDArray[np.uint8]:
    with _opened(path) as image:
        return _rgb_of_pil(image, str(path))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, opened but not decoded; what goes wrong before it is closed is said with its name."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError:
        raise missing_extra("pillow", "images") from None
    try:
        # Pillow warns of oddities it copes with, and of more than 89 megapixels; twice that it refuses.
        with warnings.catch_warnings(), open_file(path, "an image") as file:
            warnings.simplefilter("ignore")
            with Image.open(file) as opened:
                yield opened
    except UnidentifiedImageError:
        raise LitetextError(f"{path} is not an image that Pillow can read; convert it to PNG or JPEG") from None
    except Image.DecompressionBombError as error:
        raise LitetextError(f"{path}: {error}; scale the image down first") from None
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, LitetextError):
            raise
        raise LitetextError(f"{path} cannot be decoded ({error}); is the file cut short?") from None


def _rgb_of_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return _rgb_of_array(_integers_16(np.asarray(image), name))
    if image.mode == "F":
        raise LitetextError(f"{name} holds 32-bit floats, whose white is unknown; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _integers_16(values: NDArray[Any], name: str) -> NDArray[np.uint16]:
    """Grey values of Pillow's integer modes, which it uses for 16-bit files."""
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise LitetextError(f"{name} has grey values outside 0..65535; convert it to 8 or 16 bits")
    return values.astype(np.uint16)


def _rgb_of_array(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    if values.ndim != 3 or values.shape[2] not in (3, 4) or 0 in values.shape:
        raise LitetextError(f"an image array must be [H, W], [H, W, 3] or [H, W, 4]; got shape {values.shape}")
    if values.dtype == np.uint16:
        values = (values.astype(np.uint32) * 255 + 32767) // 65535
    elif values.dtype != np.uint8:
        raise LitetextError(f"an image array must be uint8 (0..255) or uint16 (0..65535); got {values.dtype}")
    if values.shape[2] == 4:
        alpha = values[:, :, 3:].astype(np.uint32)
        values = (values[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.ascontiguousarray(values, dtype=np.uint8)
