"""A stated precision holds: over simulated reviews, where the truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from litetext.errors import LitetextError
from litetext.label import Concept
from litetext.label.calibration import (
    Decision,
    _binomial_tail,
    _fewest,
    calibrated,
    proven_threshold,
    read_decisions,
)


def _world(
    kind: str, random: np.random.Generator, count: int = 40_000
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of all detections, and which are right."""
    scores = random.uniform(0.3, 1.0, count)
    chance = {
        "calibrated": scores,
        "just below": np.full(count, 0.949),  # no threshold proves 0.95
        "overconfident": 1 - 1.2 * (1 - scores) ** 0.6,
        "good": 1 - 0.06 * (1 - scores),
        "not monotone": np.where((scores > 0.8) & (scores < 0.9), 0.7, 0.99),
    }[kind]
    return scores, random.uniform(size=count) < chance.clip(0, 1)


def _wrong_statements(kind: str, reviewed: int, precision: float, repetitions: int) -> int:
    """How many of many reviews state a precision that does not hold."""
    random = np.random.default_rng(17)
    scores, right = _world(kind, random)
    wrong = 0
    for _ in range(repetitions):
        sample = random.choice(len(scores), reviewed, replace=False)
        bound = proven_threshold(scores[sample], right[sample], precision, 0.95)
        if bound.threshold is not None:
            wrong += int(right[scores >= bound.threshold].mean() < precision)
    return wrong


@pytest.mark.parametrize("kind", ["calibrated", "overconfident", "good", "not monotone"])
@pytest.mark.parametrize(("reviewed", "precision"), [(100, 0.95), (300, 0.95), (200, 0.9)])
def test_the_stated_precision_holds_in_95_of_100_reviews(kind: str, reviewed: int, precision: float) -> None:
    assert _wrong_statements(kind, reviewed, precision, 200) <= 10


def test_the_confidence_is_kept_where_it_is_hardest() -> None:
    wrong = _wrong_statements("just below", 100, 0.95, 3000)  # every statement is wrong, by a thousandth
    assert 0.03 * 3000 < wrong < 0.06 * 3000


def test_a_good_concept_is_proven_in_its_full_range() -> None:
    random = np.random.default_rng(3)
    scores, right = _world("good", random)
    lowest = []
    for _ in range(50):
        sample = random.choice(len(scores), 300, replace=False)
        lowest.append(proven_threshold(scores[sample], right[sample]).threshold or 1.0)
    assert np.median(lowest) < 0.4


def test_a_threshold_is_raised_to_where_it_is_right() -> None:
    scores = np.linspace(0.3, 1.0, 400)
    bound = proven_threshold(scores, scores > 0.6, 0.9, 0.95)
    assert bound.threshold is not None and 0.5 < bound.threshold < 0.6
    assert str(bound) == f"at least 90% with 95% confidence ({bound.right} of {bound.reviewed} reviewed are right)"


@pytest.mark.parametrize("count", [1, 40, 59, 100, 400])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.999])
def test_the_tail_is_the_exact_one(count: int, share: float) -> None:
    for right in {0, 1, count // 2, count - 1, count}:
        assert _binomial_tail(right, count, share) == pytest.approx(binom.sf(right - 1, count, share), abs=1e-12)


def test_few_reviews_prove_nothing_and_say_how_many_would() -> None:
    bound = proven_threshold(np.linspace(0.5, 1, 58), np.ones(58, bool), 0.95, 0.95)
    assert bound.threshold is None and bound.needed == 59 == _fewest(0.95, 0.05, wrong=0)
    assert proven_threshold(np.linspace(0.5, 1, 59), np.ones(59, bool), 0.95, 0.95).threshold == 0.5
    assert proven_threshold([], []).threshold is None


def test_equal_scores_stand_or_fall_together() -> None:
    bound = proven_threshold(np.full(100, 0.8), np.arange(100) < 90, 0.8, 0.95)
    assert (bound.threshold, bound.reviewed, bound.right) == (0.8, 100, 90)


def test_concepts_take_what_is_proven_of_each() -> None:
    concepts = [Concept("a"), Concept("b", calibration="once proven"), Concept("c", calibration="proven elsewhere")]
    decisions = [Decision("x", "a", 0.5 + row / 400, True) for row in range(100)]
    decisions += [Decision("x", "b", 0.9, None) for _ in range(100)]  # nobody decided: they count as wrong
    after, bounds = calibrated(concepts, decisions)
    assert after[0].threshold == 0.5 and "100 of 100 reviewed are right" in str(after[0].calibration)
    assert (after[1].threshold, after[1].calibration) == (0.5, None) and bounds["b"].threshold is None
    assert after[2] == concepts[2] and "c" not in bounds
    with pytest.raises(LitetextError, match="'d', which is no concept"):
        calibrated(concepts, [Decision("x", "d", 0.5, True)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "holds no decisions"),
        ({"decisions": 3}, "holds no decisions"),
        ({"sample": "margin"}, "which prove nothing of the others"),
        ({"job": "k2"}, "is of another model"),
        ({"decisions": [{"image": "x", "concept": "a", "score": 2, "accepted": True}]}, r"decisions\[0\] is"),
        ({"decisions": [{"image": "x", "concept": "a", "score": 0.5, "accepted": 1}]}, r"decisions\[0\] is"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = {"kind": "litetext decisions", "job": "k1", "sample": "random", "decisions": []}
    (tmp_path / "d.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(LitetextError, match=message):
        read_decisions(tmp_path / "d.json", "k1")


@pytest.mark.parametrize(("name", "values"), [("precision", (1.0, 0.9)), ("confidence", (0.9, 0.0))])
def test_shares_are_checked(name: str, values: tuple[float, float]) -> None:
    with pytest.raises(LitetextError, match=f"{name} must lie between 0 and 1"):
        proven_threshold([0.5], [True], *values)
