"""An installation with few extras, out of one with all: the distributions that they do not bring are hidden.

``python hidden.py FILE litetext ARGUMENTS`` runs a command as if what FILE (JSON, of `Hidden`) lists were not installed.
A hidden module is not found, as one that is not there: `importlib.util.find_spec` gives None, an import raises
ModuleNotFoundError, and `importlib.metadata` knows no such distribution, which is how libraries look for what they can do
without.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


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
    """The name of a distribution as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def hide(modules: Iterable[str], distributions: Iterable[str]) -> None:
    """Hide modules and distributions from this process."""
    hidden = set(modules)
    sys.meta_path[:] = [Hiding(finder, hidden, set(distributions)) for finder in sys.meta_path]
    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        del sys.modules[name]


def main(listed: str, program: str, *arguments: str) -> None:
    """Hide what a file lists, then run ``litetext`` or, for ``-c``, a line of Python."""
    hide(**json.loads(Path(listed).read_text()))
    sys.path.pop(0)  # the folder of this file
    if program == "-c":
        exec(arguments[0], {})
        return
    from litetext.cli import main as command_line

    command_line(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
