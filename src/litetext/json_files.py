"""JSON from anywhere, read within bounds: whole documents, and documents of any size entry by entry.

What a malformed or hostile file can hold is bounded here, for every reader: lists and objects nested deeper than
`MAX_DEPTH`, integers beyond 64 bits, halves of surrogate pairs (which no file can be written with) and bytes that are
not UTF-8 are errors that name the file. Within these bounds a value can be shown, copied, compared and written again.

Annotation files are one object of a few long lists (COCO, SA-Co) or one long list (predictions). `stream_json`
reads them in chunks with the standard library's decoder; what is not a list arrives as one value.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from .errors import LitetextError, short
from .files import open_file, read_text

MAX_DEPTH = 64
"""Lists and objects within one another; annotation files and configs have six or seven."""

MAX_DOCUMENT = 1 << 26
"""Characters of a document that is read whole, and of one entry of a document that is streamed."""

_CHUNK = 1 << 20
_SPACE = " \t\r\n"
_SPACES = re.compile(f"[{_SPACE}]*")
_AFTER_A_VALUE = frozenset(",]}:" + _SPACE)
_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One value of a JSON file: ``key`` of the top-level object ("" for a top-level list), ``index`` in its list."""

    key: str
    index: int | None
    value: Any

    @property
    def place(self) -> str:
        """How messages call the entry: ``annotations[3]``, ``entry 3`` in a bare list, or the key."""
        if self.index is None:
            return self.key
        return f"{self.key}[{self.index}]" if self.key else f"entry {self.index}"


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the value of a JSON file.

    Raises:
        LitetextError: the file is missing, no regular file, larger than `MAX_DOCUMENT`, malformed or out of bounds.
    """
    return parse_json(read_text(path, "a JSON file", MAX_DOCUMENT), str(path))


def parse_json(text: str, source: str, *, names: bool = False) -> Any:
    """Return the value of a JSON document.

    Args:
        text: the document.
        source: what messages call it, such as the path of its file.
        names: it holds names of files, which need not be UTF-8: halves of surrogate pairs stand for other bytes.

    Raises:
        LitetextError: the document is malformed or out of bounds.
    """
    start = _SPACES.match(text).end()  # type: ignore[union-attr]
    try:
        value, end = _decoded(text, start, names)
        if text[end:].strip(_SPACE):
            raise json.JSONDecodeError("text follows the end of the document", text, end)
    except json.JSONDecodeError as error:
        raise LitetextError(f"{source} is not valid JSON ({error}); is it cut short?") from None
    except _OutOfBoundsError as error:
        raise LitetextError(f"{source} {error}; write it again") from None
    return value


def stream_json(path: str | os.PathLike[str]) -> Iterator[Entry]:
    """Yield every element of every top-level list of a JSON file, in file order, and every other top-level value.

    An empty list yields nothing, an empty object itself. The file may be compressed by gzip.

    Raises:
        LitetextError: the file is missing, no regular file, malformed, out of bounds or cut short; the message names
            the entry where it stops.
    """
    path = Path(path)
    try:
        with open_file(path, "a JSON file") as file, _unpacked(file) as plain:
            yield from _Cursor(path, io.TextIOWrapper(plain, encoding="utf-8-sig")).entries()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LitetextError(f"{path} is not a whole gzip file ({error}); write it again") from None
    except UnicodeDecodeError as error:
        raise LitetextError(f"{path} is not UTF-8 text ({error.reason}); give a JSON file") from None


def _unpacked(file: BinaryIO) -> BinaryIO:
    """The file itself, or what is in it where its first two bytes are those of gzip."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[return-value]


class _OutOfBoundsError(ValueError):
    """A value that JSON allows and no reader here takes; the message goes on from the name of its place."""


def _decoded(text: str, start: int, names: bool = False) -> tuple[Any, int]:
    """Return the value that begins at ``start``, and where it ends; `json.JSONDecodeError` where there is none."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise _OutOfBoundsError(f"nests lists and objects more than {MAX_DEPTH} deep") from None
    # Counting brackets is nearly free, and tells that all but a few values cannot be too deep.
    if text.count("[", start, end) + text.count("{", start, end) > MAX_DEPTH and _is_too_deep(value):
        raise _OutOfBoundsError(f"nests lists and objects more than {MAX_DEPTH} deep")
    if (
        not names
        and text.find("\\u", start, end) >= 0
        and _HALF_OF_A_PAIR.search(text, start, end)
        and not _is_text(value)
    ):
        raise _OutOfBoundsError("holds half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    return value, end


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        raise _OutOfBoundsError(
            f"holds the integer {digits[:20]}{'…' * (len(digits) > 20)}, which has more than 64 bits"
        )
    return value


_DECODER = json.JSONDecoder(parse_int=_integer)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [one for values in inner for one in values if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class _Cursor:
    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self.file = file
        self.text = ""
        self.at = 0
        self.ended = False

    def entries(self) -> Iterator[Entry]:
        opening = self.take("[{", "the start of the file")
        if opening == "[":
            yield from self.elements("")
        elif self.peek() == "}":
            self.at += 1
            yield Entry("", None, {})
        else:
            yield from self.members()
        if self.peek():
            raise LitetextError(f"{self.path}: text follows the end of the JSON document; remove it")

    def members(self) -> Iterator[Entry]:
        seen: set[str] = set()
        while True:
            key = self.value("a key of the top-level object")
            if not isinstance(key, str):
                raise LitetextError(f"{self.path}: {short(key)} stands where a key of the top-level object should")
            if key in seen:
                raise LitetextError(f"{self.path}: key {short(key)} occurs twice in the top-level object; keep one")
            seen.add(key)
            self.take(":", key)
            if self.peek() == "[":
                self.at += 1
                yield from self.elements(key)
            else:
                yield Entry(key, None, self.value(key))
            if self.take(",}", f"the end of {key}") == "}":
                return

    def elements(self, key: str) -> Iterator[Entry]:
        if self.peek() == "]":
            self.at += 1
            return
        index = 0
        while True:
            entry = Entry(key, index, None)
            yield Entry(key, index, self.value(entry.place))
            if self.take(",]", f"the end of {entry.place}") == "]":
                return
            index += 1

    def peek(self) -> str:
        """The next character that is not white space, or "" at the end of the file."""
        while True:
            self.at = _SPACES.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, wanted: str, place: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            raise self.broken(place, f"{found!r} stands where one of {wanted!r} should" if found else "")
        self.at += 1
        return found

    def value(self, place: str) -> Any:
        self.peek()
        while True:
            try:
                value, end = _decoded(self.text, self.at)
            except _OutOfBoundsError as error:
                raise LitetextError(f"{self.path}: {place} {error}; write the file again") from None
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > MAX_DOCUMENT or not self.more():
                    raise self.broken(place, "" if self.ended else error.msg) from None
                continue
            if self.text[end : end + 1] in _AFTER_A_VALUE or not self.more():  # a number may go on in the next chunk
                self.at = end
                return value

    def more(self) -> bool:
        """Append text from the file; double what is held, so that a long entry is decoded few times."""
        if self.ended:
            return False
        held = self.text[self.at :]
        chunk = self.file.read(max(_CHUNK, len(held)))
        self.ended = not chunk
        self.text, self.at = held + chunk, 0
        return not self.ended

    def broken(self, place: str, what: str) -> LitetextError:
        reason = what or "the file is cut short or malformed there"
        return LitetextError(f"{self.path} is not valid JSON at {place}: {reason}; write the file again")
