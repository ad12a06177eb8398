"""The command line as a whole: what every command has in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from litetext import __version__
from litetext.cli import app, output

from .conftest import Result

PROJECT = Path(__file__).parents[2]


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from _commands(child, (*path, name))


COMMANDS = sorted(_commands(typer.main.get_command(app)))


def _run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "litetext", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(PROJECT / "src")} | variables,
    )


def test_python_runs_the_package() -> None:
    done = _run("-V")
    assert (done.returncode, done.stdout) == (0, f"litetext {__version__}\n"), done.stderr


def test_shells_complete_commands() -> None:
    done = _run(_LITETEXT_COMPLETE="complete_bash", COMP_WORDS="litetext ev", COMP_CWORD="1")
    assert done.stdout.split() == ["evaluate"], done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples_and_no_paths_of_this_machine(
    litetext: Callable[..., Result], command: tuple[str, ...]
) -> None:
    shown = litetext(*command, "--help").out
    words = " ".join(shown.replace("│", " ").split())
    assert f"Examples: litetext {' '.join(command)}" in words
    assert "--quiet" in words
    assert str(Path(output.__file__).parents[1]) not in "".join(shown.split()).replace("│", "")
    assert "src/litetext" not in words and "phrases.txt]" not in words


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        (["segmen"], "(see litetext --help)"),
        (["segment", "--promt", "dog"], "(see litetext segment --help)"),
        (["bank", "build"], "(see litetext bank build --help)"),
        (["mini", "evaluate", "--pairs", "x"], "(see litetext mini evaluate --help)"),
    ],
)
def test_usage_errors_point_to_the_help_of_their_command(
    refused: Callable[..., str], arguments: list[str], pointer: str
) -> None:
    assert refused(*arguments).endswith(pointer)


def test_piped_tables_keep_every_cell(tmp_path: Path) -> None:
    phrases = tmp_path / "p.txt"
    phrases.write_text("a red dog\nthe red dog\nstop sign\n")
    done = _run("audit", phrases, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert any(len(line.rstrip()) > 100 for line in done.stdout.splitlines())
    assert "…" not in done.stdout
    assert not any(len(line) > 1000 for line in done.stdout.splitlines())


def test_quiet_leaves_the_answer(tmp_path: Path) -> None:
    loud, quiet = (_run("mini", "world", "--pairs", 8, "--out", tmp_path / name, *more) for name, more in
                   (("a", ()), ("b", ("--quiet",))))  # fmt: skip
    assert "written" in loud.stdout and "written" not in quiet.stdout
    assert "8 pairs" in quiet.stdout and quiet.stderr == ""


def test_an_audit_prints_a_screen_and_says_what_it_skipped(litetext: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red dog\nthe red dog\nstop sign\n")
    shown = litetext("audit", tmp_path / "p.txt", "--out", tmp_path / "out").out
    assert len(shown.splitlines()) <= 24
    assert "skipped" in shown and "3 to 8" in shown and "--encoder" in shown
    assert "context length" in shown
