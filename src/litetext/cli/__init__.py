"""The ``litetext`` command: one module a command; here they meet, and errors become one line.

Exit codes: 0 done; 1 a defect of litetext (a traceback is shown); 2 bad input (one line on standard error
that names the file, key or value and the remedy); 3 a comparison found a difference; 130 interrupted; 143
terminated.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from .. import __version__
from ..errors import LitetextError, LitetextWarning
from .output import be_quiet
from .process import InterruptedCommandError, InterruptibleGroup, write_anything

# Every module here has `register(app)`, which adds its command (or group of commands).
_COMMANDS = (
    "audit",
    "bank",
    "bench",
    "convert",
    "distill",
    "embed",
    "evaluate",
    "export",
    "info",
    "label",
    "mini",
    "models",
    "parity",
    "photo",
    "review",
    "segment",
    "serve",
    "track",
)

# What typer raises for wrong usage. Older typers take the class from click, newer ones carry their own; either way it
# stands two steps above the one that typer exports: BadParameter, UsageError, ClickException.
_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="litetext",
    cls=InterruptibleGroup,
    help="Text prompting for segmentation models: small, fast and honest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        print(f"litetext {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Fetch nothing; use what is on this machine. Stands before or after the command."
    ),
) -> None:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # which every library that would fetch honors


for _name in _COMMANDS:
    importlib.import_module(f".{_name}", __name__).register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (``sys.argv`` by default) and exit with its code."""
    warnings.showwarning = _show_warning
    write_anything()
    be_quiet(False)
    try:
        given = _general_first(sys.argv[1:] if arguments is None else arguments)
        code = app(args=given, prog_name="litetext", standalone_mode=False)
    except LitetextError as error:
        code = _fail(str(error))
    except _UsageProblem as error:
        code = _usage_code(error)
    except InterruptedCommandError as stop:
        print(f"litetext: interrupted; {stop}", file=sys.stderr)
        code = stop.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: nothing to report
        code = 0
    except OSError as error:
        code = _fail(f"{error.filename or 'file system'}: {error.strerror or error}; check the path and the free space")
    sys.exit(code if isinstance(code, int) else 0)


def _general_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--offline``, which belongs to no single command, before the command."""
    return sorted(arguments, key=lambda argument: argument != "--offline")


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Our own warnings as one line, without the place in the source; others are about code that users did not write."""
    if issubclass(category, LitetextWarning):
        print(f"litetext: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _usage_code(error: Any) -> int:
    """Say what typer refused and whose help tells more; without arguments that help was shown already."""
    message = error.format_message().rstrip(".")
    if not message:
        return 0
    command = error.ctx.command_path if getattr(error, "ctx", None) is not None else "litetext"
    return _fail(f"{message} (see {command} --help)")


def _fail(message: str) -> int:
    print(f"litetext: {' '.join(message.split())}", file=sys.stderr)
    return 2
