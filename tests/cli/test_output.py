"""What commands print, whatever stands in the names that they were given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from litetext.cli.output import console, notes, progress_bar

ODD = "[/b] [red]owl[0] :dog:"


@pytest.mark.parametrize("where", [console, notes])
def test_brackets_and_colons_are_printed_as_they_are(where: Console) -> None:
    table = Table(ODD, title=ODD)
    table.add_row(ODD)
    with where.capture() as printed:
        where.print(ODD)
        where.print(table)
    assert printed.get().count(ODD) == 4


def test_a_progress_bar_shows_them_too() -> None:
    bar = progress_bar()
    bar.add_task(ODD)
    with notes.capture() as printed:
        notes.print(bar.get_renderable())
    assert ODD in printed.get()


def test_a_command_prints_the_name_it_was_given(litetext: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "phrases.txt").write_text("[/x] owl\n")
    out = tmp_path / "f[red].safetensors"
    done = litetext("embed", "mini", tmp_path / "phrases.txt", "--out", out)
    assert done.code == 0 and out.name in done.out + done.err and out.is_file()
