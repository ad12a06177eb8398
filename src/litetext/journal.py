"""Long work whose results become one JSON list, written so that a killed run goes on where it stopped.

The results of every unit (an image, a video) are appended to a `Journal` beside the output, ``NAME.partial``, one JSON
line a unit, as soon as they are there. When all units are done the journal becomes the output, and ``NAME.run.json``
says which run the output is of and its SHA-256, so that the same run is not done again, another run is not mistaken for
it, and nothing that litetext did not write is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .errors import LitetextError, short
from .files import atomic_path, exclusive, full_disk_named, write_json, write_text
from .json_files import MAX_DOCUMENT, parse_json, read_json
from .outputs import check_place, digest_of, mark
from .progress import Progress, no_progress

_ORIGIN = {"origin": mark("predictions")}


def write_resumable(
    destination: Path,
    run: Mapping[str, Any],
    units: Sequence[str],
    results: Callable[[str], Iterable[Mapping[str, Any]]],
    progress: Progress = no_progress,
    *,
    overwrite: bool = False,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> Path:
    """Write the results of all ``units`` as one JSON list, unit by unit through a journal.

    Args:
        destination: the file; where this very run finished it before, it is left as it is.
        run: JSON values that say what the run is: what is computed, with what, on what.
        units: names of the parts of the work.
        results: the results of a unit, JSON objects.
        progress: counts units, those of an earlier run at once.
        overwrite: replace what another run wrote there, finished or not.
        facts: asked at the end for what else is to be recorded, see `recorded_facts`.

    Raises:
        LitetextError: the destination is of another run, or was not written here, or another process is writing it.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; its message says what is saved and how to go on.
    """
    destination = Path(destination)
    check_resumable(destination, run, overwrite=overwrite)
    journal = _journal(destination)
    if destination.exists() and _record(destination).get("run") == run:
        journal.unlink(missing_ok=True)  # a kill may have come just before
        progress(len(units), len(units))
        return destination
    busy = f"{destination} is being written by another process"
    with open_journal(journal, run, busy) as kept:
        done = {unit for unit, _ in kept.entries()}
        progress(kept.count, len(units))
        try:
            for unit in units:
                if unit not in done:
                    kept.append(unit, results(unit))
                    progress(kept.count, len(units))
        except KeyboardInterrupt as stop:
            saved = f"{kept.count:,} of {len(units):,}"
            stop.args = (f"{saved} are saved in {journal}; give the same command again to go on",)
            raise
        every = (result for _, results in kept.entries() for result in results)
        write_recorded(destination, run, every, facts())
        journal.unlink(missing_ok=True)
    return destination


@contextlib.contextmanager
def open_journal(path: Path, run: Mapping[str, Any], busy: str) -> Iterator[Journal]:
    """Yield the journal of a run, as it was left or new; that of another run is begun anew.

    Args:
        path: of the journal.
        run: JSON values that say what the run is.
        busy: what to say where another process has the journal open.

    Raises:
        LitetextError: the file is no journal, or another process writes it, or the disk is full.
    """
    begun = _line({**_ORIGIN, "run": run})
    if not path.exists():
        write_text(path, begun)  # whole from the start, so that it is known to be ours
    elif _run_of_journal(path) != run:
        with path.open("rb") as other, exclusive(other, busy):  # nobody is writing what is replaced
            write_text(path, begun)
    with full_disk_named(path), path.open("a+b") as file, exclusive(file, busy):
        yield Journal(file)


class Journal:
    """The results of the units of a run that are there so far, see `open_journal`.

    Attributes:
        count: of units.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Take a file that is open to be read and appended to; a last line that a kill cut short is removed."""
        self.count = -1  # the first line is no unit
        self._file = file
        self._settled = 0.0
        file.seek(0)
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(whole)
                break
            whole += len(line)
            self.count += 1

    def entries(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield every unit and its results, in the order in which they came."""
        self._file.seek(0)
        next(self._file)
        for line in self._file:
            entry = _parsed(line, self._file)
            yield entry["unit"], entry["results"]

    def append(self, unit: str, results: Iterable[Any]) -> None:
        """Add a unit; a kill leaves it whole, and once a second so does the loss of power."""
        self._file.write(_line({"unit": unit, "results": list(results)}).encode(errors="backslashreplace"))
        self._file.flush()
        self.count += 1
        if time.monotonic() - self._settled > 1:
            os.fsync(self._file.fileno())
            self._settled = time.monotonic()


def check_resumable(destination: Path, run: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Refuse a destination that another run wrote, or that was not written by `write_resumable` at all.

    Args:
        destination: of `write_resumable`.
        run: the run that is to write it.
        overwrite: accept what another run wrote.

    Raises:
        LitetextError: naming the file, what differs, and the remedy.
    """
    if destination.is_dir():
        raise LitetextError(f"{destination} is a folder; give the name of a file to write")
    check_place(destination)
    journal, record = _journal(destination), _record_path(destination)
    for path in (destination, journal, record):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise LitetextError(f"{path} is not a regular file; choose another name")
    if record.exists() and not _record(destination):
        raise LitetextError(f"{record} exists and was not written by litetext; choose another name, or move it away")
    if destination.exists():
        found = _record(destination)
        if found.get("sha256") != digest_of(destination):
            raise LitetextError(
                f"{destination} exists and is not what litetext wrote there; score it with --pred, choose another "
                "name, or move it away"
            )
        if found.get("run") != run and not overwrite:
            raise _other_run(destination, found.get("run") or {}, run)
    check_journal(journal, run, overwrite=overwrite)


def check_journal(path: Path, run: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Refuse a journal that another run left, see `open_journal`.

    Args:
        path: of the journal; there may be none.
        run: the run that is to go on.
        overwrite: begin another run's journal anew.

    Raises:
        LitetextError: naming the file, what differs, and the remedy.
    """
    if path.exists() and _run_of_journal(path) != run and not overwrite:
        raise _other_run(path, _run_of_journal(path), run)


def write_recorded(
    destination: Path, run: Mapping[str, Any], results: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]
) -> None:
    """Write results as one JSON list with the record of their run, in the place of what `check_resumable` accepted.

    Whatever moment a kill comes, the next run finds the journal or the output right.
    """
    with atomic_path(destination) as temporary:
        with temporary.open("w", encoding="utf-8") as output:
            output.write("[")
            for number, result in enumerate(results):
                output.write((",\n" if number else "\n") + json.dumps(result))
            output.write("\n]\n")
        destination.unlink(missing_ok=True)
        record = {**_ORIGIN, "run": run, "facts": facts, "sha256": digest_of(temporary)}
        write_json(_record_path(destination), record, indent=None)


def recorded_facts(destination: Path) -> dict[str, Any]:
    """Return the facts that the run recorded which wrote a file; none if the file was changed, or not written so."""
    found = _record(destination)
    return dict(found.get("facts") or {}) if found and found.get("sha256") == digest_of(destination) else {}


def _journal(destination: Path) -> Path:
    return destination.with_name(destination.name + ".partial")


def _record_path(destination: Path) -> Path:
    return destination.with_name(destination.name + ".run.json")


def _record(destination: Path) -> dict[str, Any]:
    """What is recorded beside an output; empty where nothing is, or nothing of ours."""
    with contextlib.suppress(LitetextError):
        found = read_json(_record_path(destination))
        if isinstance(found, dict) and found.get("origin") == _ORIGIN["origin"]:
            return found
    return {}


def _other_run(path: Path, found: Mapping[str, Any], run: Mapping[str, Any]) -> LitetextError:
    before, now = _flat(found), _flat(run)
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return LitetextError(
        f"{path} is of another run (its {', '.join(changed)} differ); use what it holds, replace it with --overwrite, "
        "or choose another name"
    )


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run with the values of its mappings beside its own."""
    flat: dict[str, Any] = {}
    for key, value in run.items():
        flat |= value if isinstance(value, Mapping) else {key: value}
    return flat


def _run_of_journal(journal: Path) -> dict[str, Any]:
    """The run that a journal says it is of."""
    with contextlib.suppress(LitetextError, UnicodeDecodeError), journal.open("rb") as file:
        found = parse_json(file.readline(MAX_DOCUMENT).decode(), str(journal))
        if isinstance(found, dict) and found.get("origin") == _ORIGIN["origin"]:
            return dict(found["run"])
    raise LitetextError(f"{journal} exists and was not written by litetext; choose another name, or move it away")


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _parsed(line: bytes, file: BinaryIO) -> dict[str, Any]:
    """A line of a journal: a unit and its results."""
    source = f"{file.name}: a line of this journal"
    value = parse_json(line.decode(errors="replace"), source)
    if not isinstance(value, dict) or not isinstance(value.get("unit"), str) or type(value.get("results")) is not list:
        raise LitetextError(f"{source} is {short(value)}, where a unit and its results should stand; remove the file")
    return value
