"""File formats of annotations and predictions, one module each; all read and write `ImageAnnotations`.

`write` and `read` go by a format's name; what a format alone has (the outlines' tolerance, where Label Studio finds the
images) is a parameter of its module.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from ...errors import choice_error
from ...files import StrPath
from ..annotations import ImageAnnotations

FORMATS = {
    "coco": "coco",
    "yolo": "yolo",
    "labelme": "labelme",
    "voc": "pascal_voc",
    "label-studio": "label_studio",
    "csv": "table",
}
"""The formats by name, with their modules."""

FOLDERS = ("yolo", "labelme", "voc")
"""The formats that are a folder of files; the others are one file."""


def write(images: Iterable[ImageAnnotations], path: StrPath, format: str) -> None:
    """Write images as one of `FORMATS`, into a folder or a file (see `FOLDERS`); a generator is read image by image."""
    _module(format).write(images, path)


def read(path: StrPath, format: str) -> Iterator[ImageAnnotations]:
    """Read images from a folder or a file in one of `FORMATS`.

    Raises:
        LitetextError: an unknown format, or a file that is malformed.
    """
    found: Iterator[ImageAnnotations] = _module(format).read(path)
    return found


def _module(name: str) -> Any:
    if name not in FORMATS:
        raise choice_error("format", name, list(FORMATS))
    return importlib.import_module(f".{FORMATS[name]}", __name__)
