"""A training as it goes, on standard error: a live table where someone watches, else a line ten times a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

from .output import duration, notes

if TYPE_CHECKING:
    from ..training.trainer import TrainReport


class TrainingScreen:
    """A context manager; hand its `show` to a training as ``on_report``.

    Args:
        samples: what the training's samples are called, in the plural.
        active: whether this process is the one that shows anything.
    """

    def __init__(self, samples: str, *, active: bool = True) -> None:
        self._samples = samples
        self._live = Live(console=notes, transient=True, auto_refresh=False)
        self._watched = notes.is_terminal and active
        self._last_tenth = -1

    def __enter__(self) -> TrainingScreen:
        if self._watched:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._watched:
            self._live.stop()

    def show(self, report: TrainReport) -> None:
        """Show a report."""
        if self._watched:
            self._live.update(self._table(report), refresh=True)
        elif (tenth := 10 * report.step // report.steps) > self._last_tenth:
            self._last_tenth = tenth
            notes.print(self._line(report), highlight=False, soft_wrap=True)

    def _line(self, report: TrainReport) -> str:
        metrics = "".join(f", held-out {_words(name)} {_figure(value)}" for name, value in _shown(report).items())
        return (
            f"step {report.step:,} of {report.steps:,}: loss {report.losses['total']:.4f}{metrics}, "
            f"{_speed(report)} {self._samples}/s, {duration(report.seconds_left)} left"
        )

    def _table(self, report: TrainReport) -> Table:
        table = Table(title=f"step {report.step:,} of {report.steps:,}", title_justify="left", min_width=44)
        table.add_column("")
        table.add_column("now", justify="right")
        for name, value in sorted(report.losses.items(), key=lambda loss: loss[0] != "total"):
            table.add_row("loss" if name == "total" else f"  {_words(name)}", f"{value:.5f}")
        table.add_section()
        for name, value in _shown(report).items():
            table.add_row(f"held-out {_words(name)}", _figure(value))
        table.add_section()
        table.add_row("learning rate", f"{report.learning_rate:.2e}")
        table.add_row(f"{self._samples}/s", _speed(report))
        table.add_row("time left", duration(report.seconds_left))
        return table


def _shown(report: TrainReport) -> dict[str, float]:
    """The metrics that are figures, not counts."""
    return {name: value for name, value in (report.metrics or {}).items() if isinstance(value, float)}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def _speed(report: TrainReport) -> str:
    return f"{report.samples_per_second:,.{0 if report.samples_per_second >= 100 else 1}f}"
