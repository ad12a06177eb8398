"""The figures of a run as a table: rows in memory and in the checkpoint, written whole, so that none repeats."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..files import write_text


def write_history(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Write the rows of a run's history as CSV, atomically; a column a figure, empty where it was not measured."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.7g}" for name, value in row.items()} for row in history)
    write_text(path, lines.getvalue())
