"""Files: what litetext writes is there whole or not at all, and what it reads is a regular file.

Everything that litetext writes goes through this module, and so does every file that a user names, before it is opened.
A file or folder is made in a temporary folder beside its destination and moved. Such a folder that a killed process
left is removed by the next process that writes there; a lock tells the dead from the living. What may be
replaced at all is the subject of `outputs`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from .errors import LitetextError, short

_TEMPORARY = re.compile(r"\.litetext-(?P<old>old-)?[a-z0-9_]{8}")
_FULL = (errno.ENOSPC, errno.EDQUOT)

StrPath = str | os.PathLike[str]


@contextlib.contextmanager
def atomic_path(destination: StrPath) -> Iterator[Path]:
    """Yield a temporary file path beside ``destination``; rename it there if the block ends well.

    The parent folder is made. On any exception the temporary file is removed and ``destination`` stays as
    it was. The temporary file has the destination's own name, which some writers write into it.
    """
    destination = Path(destination)
    with temporary_in(destination.parent, destination) as folder:
        temporary = folder / destination.name
        yield temporary
        settle(temporary)
        temporary.replace(destination)


def settle(temporary: Path) -> None:
    """Bring a temporary file to the disk, with the permissions of a new file, which some writers deny others."""
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.chmod(new_mode())


def new_mode(*, folder: bool = False) -> int:
    """Return the permissions that a new file or folder has."""
    umask = os.umask(0)
    os.umask(umask)
    return (0o777 if folder else 0o666) & ~umask


def write_text(destination: StrPath, text: str) -> None:
    r"""Write ``text`` as UTF-8, atomically; what is no character (bytes in file names) becomes JSON's ``\udcff``."""
    with atomic_path(destination) as path:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(destination: StrPath, value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON (UTF-8, atomically); NaN is refused, since JSON has no word for it."""
    write_text(destination, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def checked_file(path: StrPath, wanted: str = "a file") -> Path:
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


def open_file(path: StrPath, wanted: str = "a file") -> BinaryIO:
    """Open a regular file to read bytes; see `checked_file` for what is refused, and for ``wanted``."""
    try:
        return checked_file(path, wanted).open("rb")
    except PermissionError:
        raise LitetextError(f"{path}: permission denied; check the file's mode") from None
    except OSError as error:
        raise LitetextError(f"{path} cannot be opened ({error.strerror or error}); give {wanted}") from None


def read_text(path: StrPath, wanted: str = "a text file", limit: int = 1 << 26) -> str:
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


@contextlib.contextmanager
def temporary_in(parent: Path, destination: Path, *, old: bool = False) -> Iterator[Path]:
    """Yield a new folder in ``parent`` (made if absent) that is locked while it is in use, and removed in the end.

    Whatever a library leaves beside a file that it was killed at writing lies in it as well.

    Args:
        parent: on the file system of the destination.
        destination: what is to be written, for messages.
        old: the folder is for what ``destination`` is until then; where a kill leaves it, `sweep` puts that back.

    Raises:
        LitetextError: it cannot be made or written; the message names ``destination``.
    """
    import tempfile

    try:
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent.resolve())
        temporary = Path(tempfile.mkdtemp(prefix=".litetext-old-" if old else ".litetext-", dir=parent))
    except OSError as error:
        raise _unwritten(destination, error) from None
    try:
        with held(temporary), full_disk_named(destination):
            yield temporary
    except OSError as error:
        if str(error.filename or "").startswith(str(temporary)):
            raise _unwritten(destination, error) from None
        raise
    except Exception as error:
        if "No space left on device" not in str(error):  # as safetensors says it, in an error of its own
            raise
        raise _unwritten(destination, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from None
    finally:
        if not old or os.path.lexists(destination):
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def full_disk_named(destination: Path) -> Iterator[None]:
    """Say of a disk that is full what it is that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _unwritten(destination, error) from None
        raise


def _unwritten(destination: Path, error: OSError) -> LitetextError:
    remedy = "free some space and start again" if error.errno in _FULL else "choose another path"
    reason = (error.strerror or str(error)).lower()
    return LitetextError(f"{as_given(destination)} cannot be written: {reason}; {remedy}")


def as_given(path: Path) -> Path:
    """Return the path without temporary folders on the way: the place where it will be in the end."""
    return Path(*(part for part in path.parts if not _TEMPORARY.fullmatch(part)))


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock that says that a temporary file or folder is in use; where there are no locks, do nothing."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive(file: BinaryIO, message: str) -> Iterator[None]:
    """Keep other processes out of an open file for as long as the block runs; where there are no locks, do nothing.

    Raises:
        LitetextError: with ``message``, another process has the file.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LitetextError(f"{message}; wait for it, or write elsewhere") from None
    except OSError:
        pass  # a file system without locks
    yield


@lru_cache(maxsize=256)
def sweep(parent: Path) -> None:
    """Remove what killed processes left in a folder, and put back an output that one had moved away."""
    for left in list(parent.iterdir()):
        found = _TEMPORARY.fullmatch(left.name)
        if found and _is_abandoned(left):
            for moved in left.iterdir() if found["old"] else ():
                if not os.path.lexists(parent / moved.name):
                    moved.replace(parent / moved.name)
            shutil.rmtree(left, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    """Whether no process holds the lock of a temporary file or folder."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)
