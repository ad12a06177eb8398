"""JSON files of any size, entry by entry: one entry of a list is in memory at a time, and errors name the entry.

Annotation files are one object of a few long lists (COCO, SA-Co) or one long list (predictions). `stream_json`
reads them in chunks with the standard library's decoder; what is not a list arrives as one value.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import LitetextError

_CHUNK = 1 << 20
_LARGEST_ENTRY = 1 << 26
_SPACE = " \t\r\n"
_AFTER_A_VALUE = frozenset(",]}:" + _SPACE)


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


def stream_json(path: str | Path) -> Iterator[Entry]:
    """Yield every element of every top-level list of a JSON file, in file order, and every other top-level value.

    An empty list yields nothing, an empty object itself.

    Raises `LitetextError` for a file that is missing, malformed or cut short, naming the entry where it stops.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            yield from _Cursor(path, file).entries()
    except FileNotFoundError:
        raise LitetextError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise LitetextError(f"{path} is a folder; give a JSON file") from None
    except UnicodeDecodeError as error:
        raise LitetextError(f"{path} is not UTF-8 text ({error.reason}); give a JSON file") from None


class _Cursor:
    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self.file = file
        self.decoder = json.JSONDecoder()
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
                raise LitetextError(f"{self.path}: {key!r} stands where a key of the top-level object should")
            if key in seen:
                raise LitetextError(f"{self.path}: key {key!r} occurs twice in the top-level object; keep one")
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
            while self.at < len(self.text):
                if self.text[self.at] not in _SPACE:
                    return self.text[self.at]
                self.at += 1
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
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > _LARGEST_ENTRY or not self.more():
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
