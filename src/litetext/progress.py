"""How long work says how far it is: one callback shape for the whole package."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback that long work calls now and then; a progress bar, a log line, or nothing."""

    def __call__(self, completed: int, total: int | None = None, description: str | None = None, /) -> None:
        """Take note of the progress.

        Args:
            completed: units done so far, from 0 on.
            total: units in all; None where it is not known.
            description: what is being done, where the work has several parts; None where it has one.
        """
        ...


def no_progress(completed: int, total: int | None = None, description: str | None = None) -> None:
    """Ignore the progress; the default of every function that takes a `Progress`."""


def described(progress: Progress, description: str) -> Progress:
    """Return a callback that adds a description to what it is told."""

    def show(completed: int, total: int | None = None, _: str | None = None) -> None:
        progress(completed, total, description)

    return show


def shifted(progress: Progress, before: int, total: int | None) -> Progress:
    """Return a callback for a part of the work: its units count after the ``before`` units of the parts before it.

    Args:
        progress: of the whole work.
        before: units of the whole that were done when the part began.
        total: units of the whole.
    """

    def show(completed: int, part_total: int | None = None, description: str | None = None) -> None:
        progress(before + completed, total, description)

    return show
