"""One typed report for Python users and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litetext.errors import LitetextError
from litetext.evaluate import compare, evaluate, evaluate_images

from .world import ground_truth, shaken


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A ground truth and two systems' predictions."""
    truth = ground_truth(0)
    documents = {"gt": truth, "a": shaken(truth, 1), "b": shaken(truth, 2)}
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    return {name: tmp_path / f"{name}.json" for name in documents}


def test_one_system_has_the_metrics_of_evaluate_images(files: dict[str, Path]) -> None:
    report = evaluate(files["gt"], {"a": files["a"]})
    document = report.to_dict()
    assert document["cgF1"] == evaluate_images(files["gt"], files["a"]).cgF1
    assert document["groups"]["prompt_length"] and not report.comparisons and "calibration" not in document
    json.dumps(document, allow_nan=False)


def test_further_systems_are_compared_with_the_first(files: dict[str, Path], tmp_path: Path) -> None:
    told: list[str | None] = []
    report = evaluate(
        [files["gt"]], {"a": files["a"], "b": files["b"]}, text_parameters={"a": 100, "b": 25}, resamples=20,
        calibration=True, progress=lambda done, total=None, what=None: told.append(what),
    )  # fmt: skip
    first, second = (report.systems[name].scoreboard.scores for name in ("a", "b"))
    assert report.comparisons["b"].differences == compare(first, second, resamples=20).differences
    document = report.to_dict()
    assert document["comparisons"]["first"] == "a" and document["retention"][1]["compression"] == 4
    assert 0 <= document["systems"]["b"]["calibration"]["best_presence"] <= 1
    assert {"reading predictions", "scoring a", "scoring b", "calibrating a"} <= set(told)
    report.save_html(tmp_path / "report.html")
    assert "a and b" in (tmp_path / "report.html").read_text()


def test_nothing_to_score_is_an_error(files: dict[str, Path]) -> None:
    with pytest.raises(LitetextError, match="nothing to score"):
        evaluate(files["gt"], {})
