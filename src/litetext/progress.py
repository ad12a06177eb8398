"""How long work says how far it is: one callback shape for the whole package."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback that long work calls now and then; a progress bar, a log line, or nothing."""

    def __call__(self, completed: int, total: int | None = None, description: str | None = None) -> None:
        """Take note of the progress.

        Args:
            completed: units done so far, from 0 on.
            total: units in all; None where it is not known.
            description: what is being done, where the work has several parts; None where it has one.
        """
        ...


def no_progress(completed: int, total: int | None = None, description: str | None = None) -> None:
    """Ignore the progress; the default of every function that takes a `Progress`."""
