"""Files that are there whole or not at all: everything litetext writes goes through this module."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import LitetextError


@contextlib.contextmanager
def atomic_path(destination: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file path beside ``destination``; rename it there if the block ends well.

    The parent folder is made. On any exception the temporary file is removed and ``destination`` stays as
    it was. The temporary name keeps the suffix, which some writers choose their format by.
    """
    import tempfile  # here, since who only reads should not pay for it: a megabyte on a small device

    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{destination.stem}-", suffix=destination.suffix, dir=destination.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(destination: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``destination``; put it in ``destination``'s place if the block ends well.

    An existing folder at ``destination`` is replaced as a whole, so no file of an older version stays behind.
    """
    import shutil
    import tempfile

    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.exists() and not destination.is_dir():
        raise LitetextError(f"{destination} is a file; give the path of a folder to write")
    temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if destination.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{destination.name}-old-", dir=destination.parent))
            destination.replace(old / destination.name)
            temporary.replace(destination)
            shutil.rmtree(old)
        else:
            temporary.replace(destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(destination: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(destination) as path:
        path.write_text(text, encoding="utf-8")


def stamp(path: Path) -> list[tuple[str, int, int]]:
    """Return name, bytes and time of change (ns) of a file or of all files in a folder: what changes when they do."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.relative_to(path), file.stat()) for file in found if file.is_file()]
    return [(name.as_posix(), stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def write_json(destination: str | os.PathLike[str], value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON (UTF-8, atomically); NaN is refused, since JSON has no word for it."""
    write_text(destination, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; a missing, unreadable or malformed one is a `LitetextError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LitetextError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise LitetextError(f"{path} is a folder; give a JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LitetextError(f"{path} is not valid JSON ({error}); is it cut short?") from None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
