"""What every command has: ``--quiet``, and examples under its help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer

from .output import be_quiet

_QUIET = typer.Option(False, "--quiet", "-q", help="Print the answer, warnings and errors only.")


def add(app: typer.Typer, function: Callable[..., None], name: str, *examples: str) -> None:
    """Add ``function`` to ``app`` as the command ``name``, with ``examples`` (command lines) under its help."""
    epilog = "\n\n".join(["Examples:", *examples]) if examples else None
    app.command(name, epilog=epilog)(_with_quiet(function))


def _with_quiet(function: Callable[..., None]) -> Callable[..., None]:
    """The same command with one option more; typer reads options from a function's signature."""

    @functools.wraps(function)
    def command(*, quiet: bool, **options: Any) -> None:
        be_quiet(quiet)
        function(**options)

    own = inspect.signature(function, eval_str=True)
    quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=_QUIET, annotation=bool)
    parameters = [*own.parameters.values(), quiet]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
