"""What a command may write: nothing of the user's is replaced or removed.

A folder that litetext wrote into holds a record, `RECORD`: a JSON line for every file, with the kind of output and the
file's SHA-256. A file is ours if it is recorded and unchanged, and only such files are replaced or removed. A file that
stands alone is ours if it carries a seal of its kind (`sealed_file`) that its bytes agree with.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from .errors import LitetextError
from .files import StrPath, atomic_path, new_mode, settle, sweep, temporary_in

RECORD = ".litetext.jsonl"
"""The name of the record in a folder that litetext wrote into."""

Kind = Literal[
    "encoder",
    "authors' encoder",
    "transformers model",
    "whole model",
    "exported encoder",
    "exported model",
    "mini model",
    "photo model",
    "drawn world",
    "feature file",
    "concept bank",
    "evaluation report",
    "predictions",
    "segmentation",
    "tracks",
    "recording",
    "training run",
    "scenes to train on",
    "audit",
    "labelling job",
    "labelled dataset",
    "review page",
]
"""What a command writes: an earlier output is replaced only by one of the same kind."""

_SEALED = 4096  # bytes at the start and at the end of a file among which its seal is looked for
_BLANK = "0" * 64
_CHUNK = 1 << 20  # bytes read at a time


def mark(kind: Kind) -> str:
    """Return the words by which a file that stands alone says that litetext wrote it, and what it is."""
    return f"made-with:litetext/{kind.replace(' ', '-')}"


def blank_seal(kind: Kind) -> str:
    """Return what the writer of a `sealed_file` puts into its first or last bytes: the mark, and room for a SHA-256."""
    return f"{mark(kind)};sha256={_BLANK}"


@contextlib.contextmanager
def sealed_file(destination: StrPath, kind: Kind) -> Iterator[Path]:
    """Yield a path to write a file to that holds `blank_seal`; put its SHA-256 into the seal, and it in place.

    So the file says of itself that litetext wrote it and that nobody has changed it since.
    """
    with atomic_path(destination) as temporary:
        yield temporary
        at, digest = _seal(temporary, kind)
        with temporary.open("r+b") as file:
            file.seek(at)
            file.write(digest.encode())


def check_file(destination: StrPath, kind: Kind, *, overwrite: bool = False, inputs: Iterable[StrPath] = ()) -> None:
    """Refuse a file to write that exists, unless it carries a seal of ``kind`` and is to be overwritten.

    Args:
        destination: the file.
        kind: of output, see `sealed_file`.
        overwrite: replace an earlier output of this kind.
        inputs: what is read; none of it may be the destination.

    Raises:
        LitetextError: naming the destination and the remedy.
    """
    path = Path(destination)
    check_place(path, inputs)
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise LitetextError(f"{path} is a folder; give the name of a file to write")
    if path.is_symlink() or not path.is_file() or not _is_sealed(path, kind):
        raise LitetextError(f"{path} exists and is no {kind} that litetext wrote; choose another name, or move it away")
    if not overwrite:
        raise LitetextError(
            f"{path} is the {kind} of an earlier run; replace it with --overwrite, or choose another name"
        )


def check_folder(destination: StrPath, kind: Kind, *, overwrite: bool = False, inputs: Iterable[StrPath] = ()) -> None:
    """Refuse a folder to write that is neither new, nor empty, nor an earlier output that is to be overwritten.

    An earlier output holds nothing but files that `atomic_folder` wrote as this ``kind`` and that are unchanged since.

    Args:
        destination: the folder.
        kind: of output.
        overwrite: replace an earlier output of this kind.
        inputs: what is read; none of it may be the destination or lie in it.

    Raises:
        LitetextError: naming the destination and the remedy.
    """
    path = Path(destination)
    check_place(path, inputs)
    if path.parent.exists():
        sweep(path.parent.resolve())
    if path.is_symlink():
        raise LitetextError(f"{path} is a link; give the folder itself, or a new name")
    if not path.exists():
        return
    if not path.is_dir():
        raise LitetextError(f"{path} is a file; give the path of a folder to write")
    if Path.cwd().is_relative_to(path.resolve()):
        raise LitetextError(f"{path} is or holds the current folder, which stays; name a folder to make in it")
    if not any(path.iterdir()):
        return
    recorded = _recorded(path, kind)
    if not recorded:
        raise LitetextError(
            f"{path} exists and holds no {kind} that litetext wrote; choose another folder, or move it away"
        )
    if not overwrite:
        raise LitetextError(
            f"{path} holds the {kind} of an earlier run; replace it with --overwrite, or choose another folder"
        )
    foreign = next((name for name in _names(path) if not _is_ours(path, name, recorded)), None)
    if foreign is not None:
        raise LitetextError(
            f"{path / foreign} is not as litetext wrote it, so {path} is not replaced; move it away, or choose "
            "another folder"
        )


@contextlib.contextmanager
def atomic_folder(destination: StrPath, kind: Kind, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``destination``; put it in ``destination``'s place if the block ends well.

    What may stand there before is said at `check_folder`, which is asked at the start and at the end. An earlier
    output is replaced as a whole, so no file of it stays behind.

    Raises:
        LitetextError: the destination is refused or cannot be written.
    """
    destination = Path(destination)
    check_folder(destination, kind, overwrite=overwrite)
    with temporary_in(destination.parent, destination) as container:
        temporary = container / destination.name
        temporary.mkdir()
        yield temporary
        digests = {name: _digest(temporary / name) for name in _names(temporary)}
        for name in digests:
            if not (temporary / name).is_symlink():  # what a link leads to is not ours to change
                (temporary / name).chmod(new_mode())  # some writers keep what they write to the user alone
        temporary.chmod(new_mode(folder=True))
        _record(temporary, kind, digests)
        check_folder(destination, kind, overwrite=overwrite)
        if destination.exists() and any(destination.iterdir()):
            _swap(temporary, destination, kind)
        else:
            temporary.replace(destination)


def written_names(folder: StrPath, kind: Kind) -> set[str]:
    """Return the names, relative to a folder, of the files that its record says were written into it as this kind."""
    return set(_recorded(Path(folder), kind))


class OutputFolder:
    """A folder that a command adds files to, and that may hold files of the user's too.

    There a command replaces only files that litetext wrote as the same ``kind`` and that are unchanged since.

    Args:
        folder: made when first written to.
        kind: of output.
    """

    def __init__(self, folder: StrPath, kind: Kind) -> None:
        self.path = Path(folder)
        self._kind = kind
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise LitetextError(f"{self.path} is a file; give the path of a folder to write into")
        check_place(self.path / RECORD)
        if self.path.exists():
            sweep(self.path.resolve())
        self._recorded = _recorded(self.path, kind)

    def check(self, names: Iterable[str]) -> None:
        """Refuse names of files (relative to the folder) that are taken by anything but our own earlier output."""
        for name in names:
            if os.path.lexists(self.path / name) and not _is_ours(self.path, name, self._recorded):
                raise LitetextError(
                    f"{self.path / name} exists and is not as litetext wrote it; move it away, or choose another folder"
                )

    def is_unrecorded(self) -> bool:
        """Whether nothing is recorded as this kind of output."""
        return not self._recorded

    def adopt(self, names: Iterable[str]) -> None:
        """Record files as our own, as they are now: for those that prove it by what is in them."""
        self._note({name: digest_of(self.path / name) for name in names if (self.path / name).is_file()})

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield a temporary folder; if the block ends well, its files go to the same names in this folder.

        Raises:
            LitetextError: a name is taken, see `check`; then nothing is written.
        """
        with temporary_in(self.path, self.path) as temporary:
            yield temporary
            digests = {name: digest_of(temporary / name) for name in _names(temporary)}
            self.check(digests)
            # Recorded first: a kill in between leaves a record of a file that is not there, and never the reverse.
            self._note(digests)
            for name in digests:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                settle(temporary / name)
                (temporary / name).replace(self.path / name)

    def _note(self, digests: dict[str, str]) -> None:
        _record(self.path, self._kind, digests)
        for name, digest in digests.items():
            self._recorded.setdefault(name, set()).add(digest)


def claim_folder(folder: StrPath, kind: Kind) -> None:
    """Make a folder that is a command's own, to write in without a record of every file.

    Raises:
        LitetextError: there is one that holds anything and was not claimed for this ``kind`` before.
    """
    path = Path(folder)
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        raise LitetextError(f"{path} is a file or a link; move it away, or choose another folder")
    check_place(path / RECORD)
    if path.exists() and any(path.iterdir()) and "." not in _recorded(path, kind):
        raise LitetextError(f"{path} exists and holds no {kind} that litetext wrote; move it away, or choose another")
    path.mkdir(parents=True, exist_ok=True)
    _record(path, kind, {".": ""})


def check_place(destination: Path, inputs: Iterable[StrPath] = ()) -> None:
    """Refuse a destination that is an input or holds one, or whose parent cannot be made or written."""
    for given in map(Path, inputs):
        if destination.exists() and given.exists():
            holders = (given, *given.resolve().parents) if destination.is_dir() else (given,)
            if any(destination.samefile(holder) for holder in holders):
                verb = "is" if destination.samefile(given) else "holds"
                raise LitetextError(f"{destination} {verb} the input {given}; choose another destination")
    parent = next(one for one in destination.absolute().parents if os.path.lexists(one))
    if not parent.is_dir():
        raise LitetextError(f"{parent} is not a folder, so {destination} cannot be written; choose another path")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise LitetextError(f"{destination} cannot be written: no permission to write in {parent}; choose another path")


def _is_sealed(path: Path, kind: Kind) -> bool:
    """Whether a file carries a seal of this kind, and is as it was when it was sealed."""
    try:
        at, digest = _seal(path, kind)
    except ValueError:
        return False
    with path.open("rb") as file:
        file.seek(at)
        return file.read(len(digest)) == digest.encode()


def _seal(path: Path, kind: Kind) -> tuple[int, str]:
    """Return where the SHA-256 in a file's seal begins, and what it should be: of the file with room in its place."""
    import hashlib

    start = mark(kind).encode() + b";sha256="
    size = path.stat().st_size
    with path.open("rb") as file:
        for place in (0, max(0, size - _SEALED)):
            file.seek(place)
            found = file.read(_SEALED).find(start)
            if found >= 0:
                break
        else:
            raise ValueError(f"{path} has no seal")
        at, digest = place + found + len(start), hashlib.sha256()
        file.seek(0)
        for left in range(at, 0, -_CHUNK):
            digest.update(file.read(min(left, _CHUNK)))
        digest.update(_BLANK.encode())
        file.seek(at + len(_BLANK))
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return at, digest.hexdigest()


def _names(folder: Path) -> Iterator[str]:
    """What a folder holds but for its record: files, links, empty folders; sorted, relative."""
    for path in sorted(folder.rglob("*")):
        if path != folder / RECORD and (path.is_symlink() or not path.is_dir() or not any(path.iterdir())):
            yield path.relative_to(folder).as_posix()


def _recorded(folder: Path, kind: Kind | None = None) -> dict[str, set[str]]:
    """What a folder's record says litetext wrote as this kind (None: any): the SHA-256 that each file may have."""
    recorded: dict[str, set[str]] = {}
    with contextlib.suppress(FileNotFoundError), (folder / RECORD).open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a kill may cut a line short
                entry = json.loads(line)
                if kind in (None, entry["kind"]):
                    recorded.setdefault(entry["file"], set()).add(entry["sha256"])
    return recorded


def _record(folder: Path, kind: Kind, digests: dict[str, str]) -> None:
    """Add files to the record of a folder."""
    lines = [json.dumps({"kind": kind, "file": name, "sha256": digest}) for name, digest in digests.items()]
    with (folder / RECORD).open("ab") as file:
        # an empty line where the one before was cut short: readers pass over both
        file.write(("\n" * bool(file.tell()) + "\n".join(lines) + "\n").encode(errors="backslashreplace"))


def _is_ours(folder: Path, name: str, recorded: dict[str, set[str]]) -> bool:
    path = folder / name
    return name in recorded and (path.is_symlink() or path.is_file()) and _digest(path) in recorded[name]


def _digest(path: Path) -> str:
    """What is recorded of a file: its SHA-256; of a link, where it leads, which is all that is ours of it."""
    return f"link to {path.readlink()}" if path.is_symlink() else digest_of(path)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    import hashlib  # here, since who only reads should not pay for it: megabytes on a small device

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _swap(temporary: Path, destination: Path, kind: Kind) -> None:
    """Put a folder in the place of an earlier output that was just checked, of which nothing stays."""
    with temporary_in(destination.parent, destination, old=True) as old:
        moved = old / destination.name
        destination.replace(moved)
        try:
            if not set(_names(moved)) <= _recorded(moved, kind).keys():
                raise LitetextError(f"{destination} was written to meanwhile; it is left as it is")
            temporary.replace(destination)
        except BaseException:
            moved.replace(destination)
            raise
