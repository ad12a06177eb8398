"""What commands work on, however the command line names it: images, phrases, example boxes."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, require
from ..images import LARGEST, SUFFIXES, check_image, fetch, image_files, is_link
from ..outputs import written_names

STDIN = "-"
"""What stands for standard input on the command line."""

PROMPT_FILE = "Phrases: .txt (one a line), .csv, .json, .jsonl, .parquet; or - for lines of standard input."
"""The help of an argument that `prompt_rows` reads."""

Boxes: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Example boxes [n, 4] (x1, y1, x2, y2 in pixels) and their labels [n]: 1 for examples, 0 for counterexamples."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image to work on.

    Attributes:
        name: what results call it: its path or link as given, or "-".
        image: the file to read, or the bytes of one.
        stem: what the names of files that are made of it begin with.
    """

    name: str
    image: Path | bytes
    stem: str


def image_inputs(given: Iterable[str], fetched: Path, refuse: Callable[[LitetextError], None]) -> list[ImageInput]:
    """Return the images that arguments name, in their order and each once; all of them can be opened.

    Args:
        given: files, folders, patterns such as ``photos/**/*.jpg``, links (http, https, hf), or "-" for standard input.
        fetched: a folder for what links hold.
        refuse: called with the reason for every argument, or file of a folder, that is no image.

    Raises:
        LitetextError: Pillow is not installed.
    """
    require("PIL")
    inputs: dict[str, ImageInput] = {}
    for argument in given:
        with _told(refuse):
            for name in _images_named(argument):
                place = name if name == STDIN or is_link(name) else str(Path(name).absolute())
                if place not in inputs:
                    with _told(refuse):
                        inputs[place] = _opened(name, fetched / str(len(inputs)))
    return list(inputs.values())


@contextmanager
def _told(refuse: Callable[[LitetextError], None]) -> Iterator[None]:
    try:
        yield
    except LitetextError as error:
        refuse(error)


def _images_named(argument: str) -> Iterator[str]:
    """The image that an argument names, or those in the folder or behind the pattern."""
    if argument == STDIN or is_link(argument):
        yield argument
    elif Path(argument).is_dir():
        yield from _photos(image_files(argument), argument)
    elif os.path.lexists(argument) or not glob.has_magic(argument):
        yield argument
    else:
        matches = map(Path, sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207  (pathlib takes no absolute pattern)
        yield from _photos([path for path in matches if path.suffix.lower() in SUFFIXES], argument)


def _photos(files: Sequence[Path], argument: str) -> list[str]:
    """Those of ``files`` that are no overlays of an earlier `litetext segment`."""
    overlays = {folder: written_names(folder, "segmentation") for folder in {path.parent for path in files}}
    photos = [str(path) for path in files if path.name not in overlays[path.parent]]
    if not photos:
        raise LitetextError(f"{argument} names no image ({', '.join(SUFFIXES)}); check the folder or the pattern")
    return photos


def _opened(name: str, place: Path) -> ImageInput:
    """An image that can be opened; what a link holds is written to ``place``."""
    if name == STDIN:
        content = _image_on_stdin()
        check_image(content, "standard input")
        return ImageInput(name, content, "stdin")
    if is_link(name):
        content = fetch(name)
        check_image(content, name)
        place.write_bytes(content)
        return ImageInput(name, place, _stem_of_link(name))
    check_image(name, name)
    return ImageInput(name, Path(name), Path(name).stem)


def _image_on_stdin() -> bytes:
    if sys.stdin.isatty():
        raise LitetextError("standard input is a terminal; pipe an image into the command: … < photo.jpg")
    content = sys.stdin.buffer.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise LitetextError(f"standard input holds more than {LARGEST >> 20} MiB; scale the image down first")
    return content


def _stem_of_link(link: str) -> str:
    from urllib.parse import unquote, urlsplit

    return PurePosixPath(unquote(urlsplit(link).path)).stem.replace("\0", "") or "image"


def prompt_rows(file: Path) -> list[str]:
    """Return the phrases of a file, or of standard input where it is named "-": a row each, as they stand."""
    from ..prompts.readers import read_prompt_lines, read_prompts

    if str(file) != STDIN:
        return read_prompts(file)
    prompts = list(read_prompt_lines(sys.stdin.buffer, "standard input"))
    if not any(prompt.strip() for prompt in prompts):
        raise LitetextError("standard input holds no prompts; pipe phrases into the command, one a line")
    return prompts


def phrase_inputs(prompts: Iterable[str], files: Iterable[Path]) -> list[str]:
    """Return the phrases to find, each once: those given, "-" standing for lines of standard input, then the files'.

    Raises:
        LitetextError: one that is given is empty, a file cannot be read, or a file holds no phrase.
    """
    from ..prompts import normalise

    phrases: list[str] = []
    for prompt in prompts:
        if not prompt.strip():
            raise LitetextError(f"the prompt {prompt!r} is empty; give -p a noun phrase such as 'white dog'")
        phrases += map(normalise, prompt_rows(Path(STDIN))) if prompt == STDIN else [normalise(prompt)]
    for file in files:
        phrases += map(normalise, prompt_rows(file))
    return list(dict.fromkeys(filter(None, phrases)))


def box_inputs(examples: Sequence[str], counterexamples: Sequence[str]) -> Boxes | None:
    """Return example boxes as ``--box`` and ``--not-box`` give them, each X1,Y1,X2,Y2; None where there are none.

    Raises:
        LitetextError: one that is not four numbers, or is no box.
    """
    if not examples and not counterexamples:
        return None
    boxes = [_box("--box", text) for text in examples] + [_box("--not-box", text) for text in counterexamples]
    return np.array(boxes, np.float32), np.repeat([1, 0], [len(examples), len(counterexamples)])


def _box(option: str, text: str) -> list[float]:
    with suppress(ValueError):
        x1, y1, x2, y2 = box = [float(number) for number in text.split(",")]
        if np.isfinite(box).all() and x1 < x2 and y1 < y2:
            return box
    raise LitetextError(
        f"{option} {text!r} must read X1,Y1,X2,Y2 with X1 < X2 and Y1 < Y2, in pixels of the upright image"
    )
