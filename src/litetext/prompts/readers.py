"""Phrases out of files, one at a time: text, tables, JSON of every shape the field uses, RefCOCO's pickle.

Every reader is a generator over raw phrases in file order; none holds more than one record, save for
RefCOCO's pickles, which can only be read whole. JSON is read entry by entry, so a 1 GB LVIS file costs no more
memory than a small one.
"""

from __future__ import annotations

import csv
import io
import pickle
import pickletools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..errors import LitetextError, extras_named, short
from ..files import checked_file, open_file
from ..json_files import Entry, parse_json, stream_json

MAX_PHRASE_CHARS = 10_000
"""Longer lines or values are not noun phrases but a sign of another kind of file."""

PHRASE_FIELDS = ("phrase", "noun_phrase", "text_input", "prompt", "text", "caption", "sentence", "sent", "name")
"""Fields that hold a phrase in tables and JSON records, the first present one counts."""


def read_phrases(path: Path, column: str | None = None) -> Iterator[str]:
    """Yield the phrases of one file in their order, as they stand.

    The suffix says the format: ``.txt`` or none (one a line), ``.csv``/``.tsv``, ``.jsonl``, ``.json`` (a list; an
    object with a list; COCO and LVIS categories; SA-Co Gold's ``text_input``; SA-Co VEval's ``noun_phrase``),
    ``.parquet``, and ``.p`` (RefCOCO's ``refs(*).p``, read by an unpickler that can build no objects).

    Args:
        path: the file.
        column: the column or field that holds the phrase, if it is none of `PHRASE_FIELDS`.

    Raises:
        LitetextError: for a file that is missing, binary, malformed or holds no phrase field.
    """
    checked_file(path, "a file of phrases, such as a .txt with one a line")
    reader = READERS.get(path.suffix.lower() or ".txt")
    if reader is None:
        raise LitetextError(f"{path}: cannot read phrases from {path.suffix}; give one of {', '.join(READERS)}")
    for phrase in reader(path, column):
        yield _checked_length(phrase, str(path))


def read_prompts(path: Path, column: str | None = None) -> list[str]:
    """Return the phrases of one file as `read_phrases` gives them: repeated and empty ones too, a row each.

    Raises:
        LitetextError: see `read_phrases`; or none of them holds a character.
    """
    prompts = list(read_phrases(path, column))
    if not any(prompt.strip() for prompt in prompts):
        raise LitetextError(f"{path} holds no prompts")
    return prompts


def _checked_length(phrase: str, name: str) -> str:
    if len(phrase) > MAX_PHRASE_CHARS:
        raise LitetextError(
            f"{name} holds a phrase of {len(phrase):,} characters that starts with {phrase[:40]!r}; "
            f"a phrase has at most {MAX_PHRASE_CHARS:,}: is it one phrase a line?"
        )
    return phrase


def read_prompt_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Yield the phrases of an open text, one a line, as they stand.

    Args:
        file: UTF-8, such as the bytes of standard input; it need not end before the first phrase is yielded.
        name: what messages call it.

    Raises:
        LitetextError: it is binary, not UTF-8, or holds a line that is too long to be a phrase.
    """
    for line in _lines_of(file, name):
        yield _checked_length(line.removesuffix("\n").removesuffix("\r"), name)


def _text(path: Path, column: str | None) -> Iterator[str]:
    with open_file(path) as file:
        yield from read_prompt_lines(file, str(path))


def _lines(path: Path) -> Iterator[str]:
    with open_file(path) as file:
        yield from _lines_of(file, str(path))


def _lines_of(file: BinaryIO, name: str) -> Iterator[str]:
    """Yield the decoded lines of a text; a line is read up to the allowed length only."""
    limit = 4 * MAX_PHRASE_CHARS + 1  # bytes; UTF-8 takes at most four a character
    for number, raw in enumerate(iter(lambda: file.readline(limit), b""), start=1):
        if b"\0" in raw:
            raise LitetextError(f"{name} is binary (a zero byte in line {number}); give text, one phrase a line")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            if len(raw) < limit:
                raise LitetextError(
                    f"{name} is not UTF-8 (line {number}, byte {error.start}); convert it, for example with "
                    f"iconv -f latin1 -t utf-8"
                ) from None
            line = raw.decode("utf-8", "ignore")  # cut inside a character; the length is reported below
        if len(raw) == limit:
            raise LitetextError(
                f"{name}: line {number} is longer than {MAX_PHRASE_CHARS:,} characters and starts with "
                f"{line[:40]!r}; is it one phrase a line?"
            )
        yield line


def _table(path: Path, column: str | None) -> Iterator[str]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.reader(_lines(path), delimiter=separator)
    try:
        header = next(rows, None)
        if header is None:
            return
        index = _column_index(path, [name.strip() for name in header], column)
        if index is None:  # a single column without a header
            index = 0
            yield header[0]
        for row in rows:
            if index < len(row):
                yield row[index]
            elif row:
                raise LitetextError(f"{path}: line {rows.line_num} has {len(row)} of {len(header)} columns")
    except csv.Error as error:
        raise LitetextError(f"{path}: line {rows.line_num} is not valid CSV ({error})") from None


def _column_index(path: Path, header: list[str], column: str | None) -> int | None:
    if column is None and len(header) == 1 and header[0].lower() not in PHRASE_FIELDS:
        return None
    name = _field(path, header, column)
    return header.index(name)


def _field(path: Path, names: list[str], column: str | None) -> str:
    """Return which of ``names`` holds the phrase."""
    if column is not None:
        if column in names:
            return column
        raise LitetextError(f"{path} has no column {column!r}; it has: {', '.join(names)}")
    lowered = {name.lower(): name for name in reversed(names)}
    for candidate in PHRASE_FIELDS:
        if candidate in lowered:
            return lowered[candidate]
    raise LitetextError(
        f"{path}: which column holds the phrase? Name one of: {', '.join(names)} (--column), or where "
        f"a command has no such option, head it {PHRASE_FIELDS[0]}"
    )


def _jsonl(path: Path, column: str | None) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        record = parse_json(line, f"{path}: line {number}")
        yield from _record_phrases(path, record, column)


def _record_phrases(path: Path, record: Any, column: str | None) -> Iterator[str]:
    """Yield the phrase (or list of phrases) of one record: a string, or an object with a phrase field."""
    if isinstance(record, dict):
        record = record[_field(path, [str(name) for name in record], column)]
    values = record if isinstance(record, list) else [record]
    for value in values:
        if not isinstance(value, str):
            raise LitetextError(f"{path}: a phrase should be a string, found {type(value).__name__}: {short(value)}")
        yield value


_PHRASE_LISTS = ("prompts", "phrases", "noun_phrases", "texts")


def _json(path: Path, column: str | None) -> Iterator[str]:
    """Yield the phrases of a JSON document: of its own list, or of the known lists of an object.

    Category names stand in for phrases only where the document has no phrases of its own: SA-Co files carry
    a category table too, which is a by-product.
    """
    found = False
    categories: list[str] = []
    keys: dict[str, None] = {}
    for entry in stream_json(path):
        if entry.key == "" and entry.index is not None:
            yield from _record_phrases(path, entry.value, column)
            found = True
            continue
        keys[entry.key] = None
        for phrase in _known_phrases(path, entry, column):
            yield phrase
            found = True
        if entry.key == "categories" and isinstance(name := _value(entry, "name"), str):
            categories.append(name.replace("_", " "))  # LVIS writes "aerosol_can"
    if not found and not categories and keys:
        raise LitetextError(
            f"{path}: no phrases under its keys {', '.join(keys) or '(none)'}; expected a list under "
            f"{', '.join(_PHRASE_LISTS)}, images[].text_input, video_np_pairs[].noun_phrase or categories[].name"
        )
    if not found:
        yield from categories


def _known_phrases(path: Path, entry: Entry, column: str | None) -> Iterator[str]:
    """Yield what an entry of an annotation document says where phrases are known to stand (see `read_phrases`)."""
    if entry.key in _PHRASE_LISTS and entry.index is not None:
        yield from _record_phrases(path, entry.value, column)
        return
    fields = {"images": column or "text_input", "video_np_pairs": "noun_phrase", "annotations": column}
    phrase = _value(entry, fields.get(entry.key))
    if isinstance(phrase, str):
        yield phrase


def _value(entry: Entry, field: str | None) -> Any:
    return entry.value.get(field) if field is not None and isinstance(entry.value, dict) else None


def _parquet(path: Path, column: str | None) -> Iterator[str]:
    with extras_named():
        import pyarrow
        from pyarrow.parquet import ParquetFile
    try:
        with ParquetFile(path) as table:
            name = _field(path, table.schema_arrow.names, column)
            for batch in table.iter_batches(batch_size=8192, columns=[name]):
                for value in batch.column(0).to_pylist():
                    if value is not None:
                        yield from _record_phrases(path, value, None)
    except (pyarrow.ArrowException, OSError, MemoryError, ValueError) as error:
        if isinstance(error, LitetextError):
            raise
        reason = str(error).partition("\n")[0]
        raise LitetextError(f"{path} is not a readable parquet file ({reason}); is it cut short?") from None


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dictionaries, strings and numbers; refuses to look up any class or function."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise LitetextError(
            f"the pickle asks for {module_name}.{global_name}; only plain lists, dictionaries, strings and numbers are "
            f"read: a genuine refs(*).p holds nothing else"
        )


def _check_memo(content: bytes) -> None:
    """Refuse a pickle that numbers its objects beyond their count, for which `pickle` would set memory aside."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise LitetextError(f"the pickle numbers an object {argument:,}, more than there can be")


def _refcoco(path: Path, column: str | None) -> Iterator[str]:
    with open_file(path) as file:
        content = file.read()
    try:
        _check_memo(content)
        refs = _PlainUnpickler(io.BytesIO(content), encoding="utf-8", errors="replace").load()
        sentences = [sentence[column or "sent"] for ref in refs for sentence in ref["sentences"]]
    except LitetextError as error:
        raise LitetextError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way at all
        raise LitetextError(
            f"{path} is not a RefCOCO refs(*).p file ({type(error).__name__}: {error}); expected a list of "
            f"references with sentences"
        ) from None
    for sentence in sentences:
        yield from _record_phrases(path, sentence, None)


READERS: dict[str, Callable[[Path, str | None], Iterable[str]]] = {
    ".txt": _text,
    ".csv": _table,
    ".tsv": _table,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".p": _refcoco,
}
"""File suffix -> reader."""
