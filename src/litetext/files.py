"""Files: what litetext writes is there whole or not at all, and what it reads is a regular file.

Everything that litetext writes goes through this module, and so does every file that a user names, before it is opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import LitetextError, short


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


def checked_file(path: str | os.PathLike[str], wanted: str = "a file") -> Path:
    """Return ``path`` if it is a regular file: a pipe or a device, which may never end, is refused unopened.

    Args:
        path: what is about to be opened, here or by a library that is given the name.
        wanted: what the message asks for instead of something that is no file, such as ``"a JSON file"``.

    Raises:
        LitetextError: there is nothing of that name, or something else than a regular file.
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise LitetextError(f"{path}: no such file; give {wanted}") from None
    except (OSError, ValueError) as error:  # a name too long, links in a circle; a zero byte in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise LitetextError(f"{short(os.fspath(path))} cannot be opened ({reason}); give {wanted}") from None
    if stat.S_ISDIR(mode):
        raise LitetextError(f"{path} is a folder; give {wanted}")
    if not stat.S_ISREG(mode):
        raise LitetextError(f"{path} is a pipe or a device, which may never end; give {wanted}")
    return Path(path)


def open_file(path: str | os.PathLike[str], wanted: str = "a file") -> BinaryIO:
    """Open a regular file to read bytes; see `checked_file` for what is refused, and for ``wanted``."""
    try:
        return checked_file(path, wanted).open("rb")
    except PermissionError:
        raise LitetextError(f"{path}: permission denied; check the file's mode") from None
    except OSError as error:
        raise LitetextError(f"{path} cannot be opened ({error.strerror or error}); give {wanted}") from None


def read_text(path: str | os.PathLike[str], wanted: str = "a text file", limit: int = 1 << 26) -> str:
    """Return the UTF-8 text of a regular file of at most ``limit`` bytes, without the mark that may begin it.

    Raises:
        LitetextError: see `checked_file`; or the file is larger, or not UTF-8.
    """
    with open_file(path, wanted) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise LitetextError(f"{path} is larger than {limit / 1e6:,.0f} MB, too large for {wanted}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LitetextError(f"{path} is not UTF-8 text (byte {error.start}); give {wanted}") from None


def stamp(path: Path) -> list[tuple[str, int, int]]:
    """Return name, bytes and time of change (ns) of a file or of all files in a folder: what changes when they do."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.relative_to(path), file.stat()) for file in found if file.is_file()]
    return [(name.as_posix(), entry.st_size, entry.st_mtime_ns) for name, entry in stats]


def write_json(destination: str | os.PathLike[str], value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON (UTF-8, atomically); NaN is refused, since JSON has no word for it."""
    write_text(destination, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
