"""Uploaded images, checked by their header before a pixel is decoded."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, extras_named
from ..images import read_image
from .refusals import RefusalError
from .settings import Limits

with extras_named("serve"):
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that are read, by Pillow's names; others, such as PostScript, are refused unopened."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The file of an image that came with a request.

    Attributes:
        content: the bytes of the file.
        name: what results call it.
        sha256: of the content, under which its features are cached.
    """

    content: bytes
    name: str
    sha256: str

    @classmethod
    def of(cls, content: bytes, name: str, limits: Limits) -> Upload:
        """Return an image whose header says that it is one, and not too large.

        Raises:
            RefusalError: 415 for what is no image, 413 for one of too many pixels.
        """
        _check_header(content, limits)
        return cls(content, name, hashlib.sha256(content).hexdigest())

    def pixels(self) -> NDArray[np.uint8]:
        """Return the image as `litetext.images.read_image` gives it, uint8 [H, W, 3].

        Raises:
            RefusalError: 415 where the file is damaged.
        """
        try:
            return read_image(self.content)
        except LitetextError as error:
            raise RefusalError(415, str(error)) from None


def reduced(image: NDArray[np.uint8], longest_side: int | None) -> NDArray[np.uint8]:
    """Return an image [H, W, 3] whose longer side is ``longest_side`` pixels at most."""
    height, width = image.shape[:2]
    if longest_side is None or max(height, width) <= longest_side:
        return image
    scale = longest_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2))


def _check_header(content: bytes, limits: Limits) -> None:
    formats = ", ".join(FORMATS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise _too_many_pixels("far more", limits) from None
    except Exception:  # Pillow's readers let damaged headers fail in any way
        raise RefusalError(415, f"the file is no image that can be read here; send one of {formats}") from None
    if width * height > limits.megapixels * 1_000_000:
        raise _too_many_pixels(f"{width * height / 1e6:,.1f} megapixels", limits)
    if not width * height:
        raise RefusalError(415, f"the image is {width} x {height} pixels, which is no image")


def _too_many_pixels(found: str, limits: Limits) -> RefusalError:
    message = f"the image has {found}, the limit is {limits.megapixels} megapixels; scale it down first"
    return RefusalError(413, message, limit=limits.megapixels)
