"""An installation with few extras, out of one with all: the distributions that they do not bring are hidden.

What is hidden is not found, as what is not there: `importlib.util.find_spec` gives None, an import raises
ModuleNotFoundError, and `importlib.metadata` knows no such distribution. So libraries go without it where they can.

``python -m tests.install.hidden FILE`` reads from a file (JSON) what to hide, ``modules`` and ``distributions``, and
``runs``, does each in a process of its own, and prints how each ended. A run is a list of ``litetext``'s arguments, or
``-c`` and a text of Python. A training is ended once its log is there.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TRAINING = "mini", "train"


class Hiding:
    """A finder of modules and distributions that passes over some."""

    def __init__(self, finder: Any, modules: set[str], distributions: set[str]) -> None:
        self._finder, self._modules, self._distributions = finder, modules, distributions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self._modules else self._finder.find_spec(name, path, target)

    def find_distributions(self, *context: Any) -> Iterator[importlib.metadata.Distribution]:
        find = getattr(self._finder, "find_distributions", lambda *_: ())
        return (one for one in find(*context) if canonical(one.metadata["Name"]) not in self._distributions)


def canonical(name: str) -> str:
    """The name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def hide(modules: Iterable[str], distributions: Iterable[str]) -> None:
    """Hide modules and distributions from this process."""
    hidden = set(modules)
    sys.meta_path[:] = [Hiding(finder, hidden, set(distributions)) for finder in sys.meta_path]
    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        del sys.modules[name]


def results(runs: Iterable[list[str]]) -> list[dict[str, Any]]:
    """How each run ended: its exit code, standard output and standard error."""
    with contextlib.suppress(ImportError):  # once, since it takes seconds; a run is a fork
        import torch
        import transformers  # noqa: F401

        torch.set_num_threads(1)  # a forked process has no other threads to wait for
    return [_result(run) for run in runs]


def _result(run: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            _run(run)
        if tuple(run[:2]) == TRAINING:
            _end_training(child, Path(run[-1]))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read(), "err": err.read()}


def _run(run: list[str]) -> None:
    code: Any = 1
    try:
        if run[0] == "-c":
            exec(run[1], {})
            code = 0
        else:
            from litetext.cli import main

            main(run)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_training(child: int, out: Path) -> None:
    while not list(out.rglob("tensorboard/*")):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGTERM)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    hide(given["modules"], given["distributions"])
    print(json.dumps(results(given["runs"])))
