"""What commands print: one JSON document on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()
"""Standard output, for tables that are the command's answer (never used together with ``--json``)."""

notes = Console(stderr=True)
"""Standard error, for notes, warnings and progress."""


def print_json(value: Any) -> None:
    """Print ``value`` as the command's one JSON document; NaN is refused (use null)."""
    json.dump(value, sys.stdout, ensure_ascii=False, allow_nan=False, indent=1)
    print()


def warn(message: str) -> None:
    """Print a warning on standard error."""
    notes.print(f"[yellow]warning:[/] {message}", soft_wrap=True, highlight=False)


def progress_bar() -> Progress:
    """A progress bar on standard error that vanishes when done, with count and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notes,
        transient=True,
        disable=not notes.is_terminal,  # where nobody watches, it would leave empty lines
    )
