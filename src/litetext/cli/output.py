"""What commands print: one JSON document on standard output, everything else on standard error."""

from __future__ import annotations

import codecs
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..progress import Progress as ProgressCallback

_UNCUT = 10_000  # columns: a table that goes to a file or a pipe keeps every cell whole


def _console(*, stderr: bool = False) -> Console:
    """A console that prints brackets and colons as they are: names of files and phrases may hold both."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal or "COLUMNS" in os.environ else _UNCUT
    return Console(stderr=stderr, width=width, markup=False, emoji=False)


console = _console()
"""Standard output, for tables that are the command's answer (never used together with ``--json``)."""

notes = _console(stderr=True)
"""Standard error, for notes and progress; silent with ``--quiet``."""


def be_quiet(quiet: bool) -> None:
    """Print the answer, warnings and errors alone from now on, or all there is to say again."""
    notes.quiet = quiet


def tell(message: str) -> None:
    """Say on standard output what was done or may come next, unless ``--quiet``: it is not the answer."""
    if not notes.quiet:
        console.print(message, soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """Print ``value`` as the command's one JSON document; NaN and infinity, which JSON does not know, become null."""
    json.dump(_finite(value), sys.stdout, ensure_ascii=not _writes_utf8(), allow_nan=False, indent=1)
    print()


def _writes_utf8() -> bool:
    encoding = getattr(sys.stdout, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name == "utf-8"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warn(message: str) -> None:
    """Print a warning on standard error."""
    print(f"litetext: warning: {' '.join(message.split())}", file=sys.stderr)


def progress_bar() -> Progress:
    """A progress bar on standard error that vanishes when done, with count and time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notes,
        transient=True,
        disable=not notes.is_terminal or notes.quiet,  # where nobody watches, it would leave empty lines
    )


@contextmanager
def shown_progress(description: str, total: int | None = None) -> Iterator[ProgressCallback]:
    """Yield a callback that keeps a bar on standard error: one for each description that it is told.

    Args:
        description: of what is told without one.
        total: units in all, until the callback is told.
    """
    with progress_bar() as bar:
        tasks = {description: bar.add_task(description, total=total)}

        def show(completed: int, total: int | None = None, part: str | None = None) -> None:
            name = part or description
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=completed, total=total)

        yield show


def duration(seconds: float) -> str:
    """Return a time in words: ``45 s``, ``12 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
