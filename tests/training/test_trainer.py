"""The trainer core on a task of one number: what it reports, writes, refuses and resumes."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from litetext.errors import LitetextError, Terminated
from litetext.outputs import RECORD
from litetext.training.checkpoint import CHECKPOINT, read_checkpoint_state
from litetext.training.processes import Processes
from litetext.training.trainer import HISTORY, Trainer, TrainReport


class Counting:
    """A task whose weight goes up by the step's number; its loss is the weight."""

    samples_per_step = 2.0

    def __init__(self, steps: int = 6, name: str = "one", loss: Callable[[int], float] = float) -> None:
        self.steps, self.name, self.loss, self.weight = steps, name, loss, torch.zeros(1)

    def learning_rate_at(self, step: int) -> float:
        return 1.0 / (step + 1)

    def train_step(self, step: int) -> dict[str, Tensor]:
        self.weight += step
        return {"plain": torch.tensor(self.loss(step)), "total": torch.tensor(2 * self.loss(step))}

    def evaluate(self) -> dict[str, float]:
        return {"weight": float(self.weight)}

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "steps": self.steps}

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


def _trainer(task: Counting, folder: Path | None, **settings: Any) -> Trainer:
    given = {"report_every": 2, "evaluate_every": 3, "checkpoint_every": 2, **settings}
    return Trainer(task, Processes(torch.device("cpu")), folder, **given)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / HISTORY).open() as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


def test_reports_are_means_and_evaluations_stand_where_they_were_made(tmp_path: Path) -> None:
    reports: list[TrainReport] = []
    seen: list[tuple[int, int | None]] = []
    _trainer(Counting(), tmp_path).fit(reports.append, lambda done, total=None, _=None: seen.append((done, total)))
    assert [(report.step, report.losses) for report in reports] == [
        (2, {"plain": 0.5, "total": 1.0}), (4, {"plain": 2.5, "total": 5.0}), (6, {"plain": 4.5, "total": 9.0})
    ]  # fmt: skip
    assert [report.metrics for report in reports] == [None, {"weight": 3.0}, {"weight": 15.0}]
    assert [row["held_out_weight"] for row in _rows(tmp_path)] == ["", "3", "15"]
    assert seen == [(step, 6) for step in range(1, 7)]
    assert reports[-1].seconds_left == 0 < reports[0].seconds_left


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_an_interrupted_run_says_how_to_go_on_and_writes_the_same_rows(
    tmp_path: Path, stop_at: int, number: int, kind: type[BaseException]
) -> None:
    def interrupt(completed: int, total: int | None = None, description: str | None = None) -> None:
        if completed == stop_at:
            os.kill(os.getpid(), number)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    _trainer(Counting(), whole).fit()
    with pytest.raises(kind, match=rf"step {stop_at + 1} of 6 is saved in .*; give the same command again") as stop:
        _trainer(Counting(), stopped).fit(progress=interrupt)
    assert stop.type is kind
    task = Counting()
    again = _trainer(task, stopped)
    assert again.resumed and again.step == stop_at + 1
    again.fit()
    assert float(task.weight) == 15 and _rows(stopped) == _rows(whole)
    assert not [path for path in stopped.iterdir() if path.name.startswith(".") and path.name != RECORD]


@pytest.mark.parametrize("missed", [CHECKPOINT, HISTORY])
def test_a_run_that_was_killed_in_its_last_save_ends_as_a_whole_one(
    tmp_path: Path, missed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _trainer(Counting(), whole).fit()
    replace, moves = Path.replace, []

    def dies_at_the_last(self: Path, target: Path) -> Path:
        moves.append(Path(target))
        if moves[-1] == killed / missed and moves.count(moves[-1]) == 3:  # of the saves at steps 2, 4, 6
            raise SystemExit
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies_at_the_last)
        with pytest.raises(SystemExit):
            _trainer(Counting(), killed).fit()
    _trainer(Counting(), killed).fit()
    assert _rows(killed) == _rows(whole) and read_checkpoint_state(killed / CHECKPOINT)["step"] == 6


def test_the_first_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    task = Counting(loss=lambda step: float("nan") if step == 4 else 1.0)
    with pytest.raises(LitetextError, match=r"the plain loss is not finite at step 5 of 6 \(learning rate 0.2\).*kept"):
        _trainer(task, tmp_path).fit()
    assert read_checkpoint_state(tmp_path / CHECKPOINT)["step"] == 4


def test_a_checkpoint_of_another_run_or_version_is_refused(tmp_path: Path) -> None:
    _trainer(Counting(), tmp_path).fit()
    with pytest.raises(LitetextError, match=r"belongs to another run \(its name differ\)"):
        _trainer(Counting(name="two"), tmp_path)
    assert not _trainer(Counting(name="two"), tmp_path, resume=False).resumed
    torch.save({"step": 4}, tmp_path / CHECKPOINT)
    with pytest.raises(LitetextError, match="is not a checkpoint of this version"):
        _trainer(Counting(), tmp_path)


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _trainer(Counting(), None).fit()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [CHECKPOINT, HISTORY])
@pytest.mark.parametrize("resume", [True, False])
def test_files_of_the_users_are_refused_before_the_first_step(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LitetextError, match=name):
        _trainer(Counting(), tmp_path, resume=resume)
    assert {path.name for path in tmp_path.iterdir()} == {name, "notes.txt"} and (tmp_path / name).read_text() == "mine"


def test_curves_that_were_edited_are_refused_and_a_run_without_a_record_goes_on(tmp_path: Path) -> None:
    _trainer(Counting(), tmp_path).fit()
    _trainer(Counting(), tmp_path, resume=False).fit()  # our own files may be replaced
    (tmp_path / RECORD).unlink()
    _trainer(Counting(), tmp_path).fit()
    with (tmp_path / HISTORY).open("a") as file:
        file.write("a remark\n")
    for resume in (True, False):
        with pytest.raises(LitetextError, match=f"{HISTORY} exists and is not as litetext wrote it"):
            _trainer(Counting(), tmp_path, resume=resume)
