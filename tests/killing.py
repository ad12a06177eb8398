"""Work killed with SIGKILL at random moments, again and again, until it is done: the end is that of unbroken work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import deserialize

from litetext.cli import main
from litetext.outputs import RECORD

KILLS = 20


def survive_kills(
    run: Callable[[Path], None],
    folder: Path,
    check: Callable[[Path, Path], None],
    *,
    kills: int = KILLS,
    earliest: float = 0.02,
    latest: float = 0.5,
    seed: int = 0,
) -> None:
    """Kill ``run`` until it was killed ``kills`` times; whenever it ends by itself, check its folder and take another.

    Args:
        run: does the work in a folder, and goes on with what it finds there. It runs in forked processes, so that a
            kill does not fall into imports; threads that run before are not there then.
        folder: for one unbroken run (``whole``), which is also done in this process, and the killed ones.
        check: given the folder of killed work and that of the unbroken one.
        kills: how often.
        earliest, latest: when kills come, in units of how long an unbroken run takes.
        seed: of the moments.
    """
    run(folder / "warm")
    begun = time.monotonic()
    run(folder / "whole")
    length = time.monotonic() - begun
    processes, draw = multiprocessing.get_context("fork"), random.Random(seed)
    killed = runs = 0
    while killed < kills:
        place = folder / str(runs)
        child = processes.Process(target=run, args=(place,))
        child.start()
        child.join(draw.uniform(earliest, latest) * length)
        if child.is_alive():
            child.kill()
            killed += 1
        else:
            assert child.exitcode == 0
            check(place, folder / "whole")
            runs += 1
        child.join()
    run(folder / str(runs))
    check(folder / str(runs), folder / "whole")


def run_command(folder: Path, *arguments: object, done: tuple[int, ...] = (0,)) -> None:
    """Run the command line in a folder, which is made, silently; it must end with one of the codes ``done``."""
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):  # noqa: PTH123
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            assert int(end.code or 0) in done, f"{arguments} ended with {end.code}"
        finally:
            os.chdir(before)


def check_same_files(killed: Path, whole: Path, ignored: tuple[str, ...] = ()) -> None:
    """Check that two folders hold the same files of the same contents.

    Records may repeat themselves; safetensors writes the entries of its header in another order every time. Of
    ``ignored`` names only the presence counts.
    """
    found = [
        {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != RECORD
        }
        for folder in (whole, killed)
    ]
    assert sorted(found[0]) == sorted(found[1])
    different = [name for name in found[0] if _content(found[0][name]) != _content(found[1][name])]
    assert set(different) <= set(ignored), different


def _content(path: Path) -> object:
    content = path.read_bytes()
    return sorted(deserialize(content)) if path.suffix == ".safetensors" else content
