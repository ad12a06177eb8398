"""Pascal VOC boxes: one XML file an image.

Coordinates are those of pixels counted from 1, both ends included, as VOC defines them. Masks are not kept: read back,
an object is its box, filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from ...errors import LitetextError, short
from ...files import StrPath, read_text, write_text
from ..annotations import ImageAnnotations
from ..masks import Masks
from ..polygons import corners_of
from ..rle import Size
from .folders import file_beside

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(images: Iterable[ImageAnnotations], folder: StrPath) -> None:
    """Write an XML file for each of several images into a folder.

    Args:
        images: a generator is read one image at a time.
        folder: made if it is not there.

    Raises:
        LitetextError: two images whose files would have the same name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: set[Path] = set()
    for image in images:
        write_text(file_beside(folder, image.file_name, ".xml", written), document(image))


def document(image: ImageAnnotations) -> str:
    """Return the XML of one image."""
    height, width = image.size
    name = PurePath(image.file_name)
    root = Element("annotation")
    SubElement(root, "folder").text = _written(name.parent.name)
    SubElement(root, "filename").text = _written(name.name)
    _numbers(SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    SubElement(root, "segmented").text = "0"
    whole = image.boxes.astype(np.float64).round().clip(0, [width, height] * 2).astype(np.int64)
    for label, (x1, y1, x2, y2) in zip(image.labels, whole.tolist(), strict=True):
        thing = SubElement(root, "object")
        SubElement(thing, "name").text = _written(label)
        SubElement(thing, "pose").text = "Unspecified"
        _numbers(thing, {"truncated": 0, "difficult": 0})
        x1, y1 = min(x1, width - 1), min(y1, height - 1)
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": max(x2, x1 + 1), "ymax": max(y2, y1 + 1)}
        _numbers(SubElement(thing, "bndbox"), corners)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _written(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold, such as control characters."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def read(folder: StrPath) -> Iterator[ImageAnnotations]:
    """Read the XML files of a folder (or one file), image by image in the order of their names.

    Raises:
        LitetextError: a file that is malformed or holds a document type; the message names it.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*.xml")) if folder.is_dir() else [folder]
    if not files:
        raise LitetextError(f"{folder} holds no .xml files; give a folder of Pascal VOC annotations")
    for path in files:
        relative = path.relative_to(folder).parent if folder.is_dir() else PurePath()
        yield _image(path, relative)


def _image(path: Path, folder: PurePath) -> ImageAnnotations:
    text = read_text(path, "a Pascal VOC annotation")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without end
        raise LitetextError(f"{path} holds a document type, which no annotation needs; remove it")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise LitetextError(f"{path} is not valid XML ({error})") from None
    size = (int(_number(path, root, "size/height")), int(_number(path, root, "size/width")))
    if min(size) < 1:
        raise LitetextError(f"{path}: the size is {size[1]} x {size[0]}, where at least 1 is needed")
    labels, boxes = [], []
    for thing in root.iter("object"):
        labels.append((thing.findtext("name") or "").strip())
        boxes.append(_box(path, thing, size))
    categories = tuple(dict.fromkeys(labels))
    return ImageAnnotations(
        (folder / (root.findtext("filename") or path.with_suffix("").name)).as_posix(),
        size,
        categories,
        np.array([categories.index(label) for label in labels], dtype=np.int64),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        Masks.from_polygons([[corners_of(box)] for box in boxes], size),
    )


def _box(path: Path, thing: Element, size: Size) -> list[float]:
    x1, y1, x2, y2 = (_number(path, thing, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    height, width = size
    if not (-width < x1 <= x2 <= 2 * width and -height < y1 <= y2 <= 2 * height):
        raise LitetextError(f"{path}: {x1:g}, {y1:g}, {x2:g}, {y2:g} is no box in an image of {width}x{height}")
    return [x1 - 1, y1 - 1, x2, y2]


def _number(path: Path, element: Element, name: str) -> float:
    text = element.findtext(name) or ""
    try:
        value = float(text)
        if abs(value) < 2**31:
            return value
    except ValueError:
        pass
    raise LitetextError(f"{path}: {name} is {short(text)}, where a number should stand")


def _numbers(parent: Element, values: dict[str, int]) -> None:
    for name, value in values.items():
        SubElement(parent, name).text = str(value)
