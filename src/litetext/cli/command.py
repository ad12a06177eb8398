"""What every command has: ``--quiet``, examples under its help, and the extra that it needs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer

from ..errors import extras_named
from .output import be_quiet

_QUIET = typer.Option(False, "--quiet", "-q", help="Print the answer, warnings and errors only.")


def add(app: typer.Typer, function: Callable[..., None], name: str, *examples: str, extra: str | None = None) -> None:
    """Add ``function`` to ``app`` as the command ``name``.

    Args:
        app: the command line, or a group of commands.
        function: what runs.
        name: of the command.
        examples: command lines to show under its help.
        extra: what to name where a module is missing and this extra brings it; the smallest that does if None.
    """
    epilog = "\n\n".join(["Examples:", *examples]) if examples else None
    app.command(name, epilog=epilog)(_with_quiet(function, extra))


def _with_quiet(function: Callable[..., None], extra: str | None) -> Callable[..., None]:
    """The same command with one option more; typer reads options from a function's signature."""

    @functools.wraps(function)
    def command(*, quiet: bool, **options: Any) -> None:
        be_quiet(quiet)
        with extras_named(extra):
            function(**options)

    own = inspect.signature(function, eval_str=True)
    quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=_QUIET, annotation=bool)
    parameters = [*own.parameters.values(), quiet]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
