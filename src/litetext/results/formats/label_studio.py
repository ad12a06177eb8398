"""Label Studio: a list of tasks to import, whose predictions people go on from.

Masks are brush strokes, in Label Studio's own run lengths (thi.ng's ``rle-pack``): bits that say, for the four channels
of a picture row by row, how often a byte is repeated. The project's labeling interface needs a ``<BrushLabels>`` tag of
the name written here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LitetextError
from ...files import StrPath, write_json
from ...json_files import Entry, stream_json
from .. import rle
from ..annotations import ImageAnnotations
from ..masks import Masks
from ..polygons import corners_of, filled
from ..rle import Size
from .checks import fault, require, require_score

_CHANNELS = 4
_RUN_BITS = (3, 4, 8, 16)  # how long a run can be, by the two bits before its length
_LARGEST = 1 << 30  # numbers of a picture, which a few bytes can claim
_KINDS = ("brushlabels", "polygonlabels", "rectanglelabels")
_NAMESPACE = uuid.UUID("6f1b7b53-6b0f-4f0e-9f43-6c0a6b0f6a4b")


def write(
    images: Iterable[ImageAnnotations],
    path: StrPath,
    *,
    url_prefix: str = "",
    from_name: str = "label",
    to_name: str = "image",
) -> None:
    """Write several images as one file of tasks, atomically.

    Args:
        images: a generator is read one image at a time.
        path: the file.
        url_prefix: put before each image's file name, such as ``"/data/local-files/?d="``, so that Label Studio finds
            the image.
        from_name: the name of the tag for labels in the labeling interface.
        to_name: the name of the tag for the image.
    """
    write_json(path, [task(image, url_prefix, from_name, to_name) for image in images], indent=None)


def task(
    image: ImageAnnotations, url_prefix: str = "", from_name: str = "label", to_name: str = "image"
) -> dict[str, Any]:
    """Return the task of one image, see `write`; without scores its objects are annotations instead of predictions."""
    height, width = image.size
    result = []
    for row, (label, mask) in enumerate(zip(image.labels, image.masks, strict=True)):
        entry = {
            "id": uuid.uuid5(_NAMESPACE, f"{image.file_name} {row}").hex[:10],
            "type": "brushlabels",
            "from_name": from_name,
            "to_name": to_name,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": packed(mask), "brushlabels": [label]},
        }
        result.append(entry if image.scores is None else {**entry, "score": float(image.scores[row])})
    data = {to_name: url_prefix + PurePath(image.file_name).as_posix(), "width": width, "height": height}
    if image.scores is None:
        return {"data": data, "annotations": [{"result": result}]}
    mean = float(image.scores.mean()) if len(image) else 0.0
    return {"data": data, "predictions": [{"model_version": "litetext", "score": mean, "result": result}]}


def read(path: StrPath, *, predictions: bool = True) -> Iterator[ImageAnnotations]:
    """Read tasks, of an import or an export, image by image: the last annotation of each, or else its last prediction.

    Brush strokes, polygons and rectangles are read. A task in which nothing was labeled is read if it tells the image's
    size, as `write` does. An annotation that was skipped (``was_cancelled``) is none.

    Args:
        path: a JSON file.
        predictions: False: tasks that nobody annotated are left out.

    Raises:
        LitetextError: what is missing or malformed; the message names file, task and key.
    """
    for entry in stream_json(path):  # type: ignore[arg-type]
        data = require(entry, "data", dict, str(path))
        image = next((value for value in data.values() if isinstance(value, str)), "")
        annotated = [one for one in _dicts(entry, "annotations") if one.get("was_cancelled") is not True]
        if not annotated and not predictions:
            continue
        found = annotated or _dicts(entry, "predictions")
        results = require(Entry(f"{entry.place}: result", None, found[-1]), "result", list, str(path)) if found else []
        places = [Entry(f"{entry.place}: result", number, value) for number, value in enumerate(results)]
        yield _image(str(path), entry, image, [one for one in places if _is_region(one)])


def packed(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask, bool [H, W], in Label Studio's run lengths: bytes as numbers."""
    pixels = np.ascontiguousarray(mask).ravel()
    edges = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, [pixels.size]])
    bits = [f"{_CHANNELS * pixels.size:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    for start, length in zip(edges[:-1].tolist(), (_CHANNELS * np.diff(edges)).tolist(), strict=True):
        value = "11111111" if pixels[start] else "00000000"
        for done in range(0, length, 1 << _RUN_BITS[-1]):
            run = min(length - done, 1 << _RUN_BITS[-1])
            kind = next(number for number, size in enumerate(_RUN_BITS) if run <= 1 << size)
            bits.append(f"1{kind:02b}{run - 1:0{_RUN_BITS[kind]}b}{value}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def unpacked(values: Sequence[int], size: Size) -> NDArray[np.bool_]:
    """Return the mask, bool [H, W], that Label Studio's run lengths hold.

    Raises:
        LitetextError: they are cut short, or of another size.
    """
    height, width = size
    bits = _Bits(bytes(values))
    total, word = bits.read(32), bits.read(5) + 1
    run_bits = [bits.read(4) + 1 for _ in range(4)]
    if total != _CHANNELS * height * width or total > _LARGEST:
        raise LitetextError(f"the run lengths are of {total:,} numbers, {width} x {height} pixels have others")
    lengths, inside = [0], [False]
    done = 0
    while done < total:
        repeated = bits.read(1)
        length = bits.read(run_bits[bits.read(2)]) + 1
        done += length
        for _ in range(1 if repeated else length):
            lengths.append(length if repeated else 1)
            inside.append(bits.read(word) > 0)
    channels = np.repeat(inside, lengths)[:total]
    return channels[_CHANNELS - 1 :: _CHANNELS].reshape(height, width)


class _Bits:
    """Reads numbers of any width from bytes."""

    def __init__(self, content: bytes) -> None:
        self._text = f"{int.from_bytes(content, 'big'):0{8 * len(content)}b}"
        self._at = 0

    def read(self, width: int) -> int:
        self._at += width
        if self._at > len(self._text):
            raise LitetextError("the run lengths are cut short")
        return int(self._text[self._at - width : self._at], 2)


def _dicts(entry: Entry, key: str) -> list[dict[str, Any]]:
    found = entry.value.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _is_region(entry: Entry) -> bool:
    return isinstance(entry.value, dict) and entry.value.get("type") in _KINDS


def _image(name: str, task: Entry, image: str, regions: list[Entry]) -> ImageAnnotations:
    source = regions[0] if regions else Entry(f"{task.place}: data", None, task.value["data"])
    keys = ("original_height", "original_width") if regions else ("height", "width")
    size = (require(source, keys[0], int, name), require(source, keys[1], int, name))
    if min(size) < 1:
        raise fault(name, source, keys[0], f"and {keys[1]!r} are {size[0]} and {size[1]}; both are at least 1")
    labels, counts = [], []
    for region in regions:
        label, mask = _region(name, region, size)
        labels.append(label)
        counts.append(mask)
    masks = Masks(size, tuple(counts))
    categories = tuple(dict.fromkeys(labels))
    scored = bool(regions) and all("score" in region.value for region in regions)
    return ImageAnnotations(
        image,
        size,
        categories,
        np.array([categories.index(label) for label in labels], dtype=np.int64),
        masks.boxes,
        masks,
        np.array([require_score(region, name) for region in regions], np.float32) if scored else None,
    )


def _region(name: str, entry: Entry, size: Size) -> tuple[str, bytes]:
    """A region's label and mask."""
    kind = entry.value["type"]
    value = Entry(f"{entry.place}: value", None, require(entry, "value", dict, name))
    labels = require(value, kind, list, name)
    if not labels or not isinstance(labels[0], str):
        raise fault(name, value, kind, "holds no label")
    if kind == "brushlabels":
        numbers = require(value, "rle", list, name)
        if not all(type(number) is int and 0 <= number < 256 for number in numbers):
            raise fault(name, value, "rle", "is no list of bytes")
        try:
            return labels[0], rle.encode(unpacked(numbers, size))
        except LitetextError as error:
            raise fault(name, value, "rle", f"cannot be read: {error}") from None
    if kind == "polygonlabels":
        points = require(value, "points", list, name)
        numbers = [number for point in points if isinstance(point, list) for number in point]
    else:
        x, y, width, height = (require(value, key, (int, float), name) for key in ("x", "y", "width", "height"))
        numbers = corners_of((x, y, x + width, y + height))
    fits = len(numbers) >= 6 and len(numbers) % 2 == 0
    if not fits or not all(type(number) in (int, float) and abs(number) <= 200 for number in numbers):
        raise fault(name, value, kind, "is no outline in percent of the image")
    corners = np.array(numbers, dtype=np.float64).reshape(-1, 2) * [size[1] / 100, size[0] / 100]
    return labels[0], filled([corners], size)
