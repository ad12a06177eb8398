"""The process that a command runs in: what ends it, and what its streams can write."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperGroup

from ..errors import Terminated


class InterruptedCommandError(Exception):
    """Ctrl-C or SIGTERM ended a command; the message says what is saved.

    Attributes:
        code: the exit code, as shells give it: 128 plus the signal's number.
    """

    def __init__(self, cause: KeyboardInterrupt) -> None:
        super().__init__(str(cause) or "files that were finished are kept, and nothing is left half-written")
        self.code = 128 + (signal.SIGTERM if isinstance(cause, Terminated) else signal.SIGINT)


class InterruptibleGroup(TyperGroup):
    """Commands whose interruption reaches the caller as an error; typer alone would end the process."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with _terminable():
                return super().invoke(ctx)
        except KeyboardInterrupt as cause:
            raise InterruptedCommandError(cause) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM raise a KeyboardInterrupt in the block, so that temporary files go and journals are closed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen to signals
        return

    def end(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write_anything() -> None:
    """Let standard output and error escape what their encoding cannot write, such as a file name in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
