"""The bootstrap over videos: the whole is what evaluation says, a system against itself differs by nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from litetext.errors import LitetextError
from litetext.evaluate.compare_video import compare_videos
from litetext.evaluate.video import VideoMetrics, evaluate_videos

GOLDEN = Path(__file__).parent / "golden" / "video"
PREDICTIONS = ("pred.json", "pred_empty.json", "pred_below_threshold.json", "pred_perfect.json")


@pytest.fixture(scope="module")
def metrics() -> list[VideoMetrics]:
    return [evaluate_videos(GOLDEN / "gt.json", GOLDEN / name) for name in PREDICTIONS]


def test_the_scores_are_those_of_the_evaluation(metrics: list[VideoMetrics]) -> None:
    for found in metrics:
        document = found.to_dict()
        for name, difference in compare_videos(metrics[0], found, resamples=20).items():
            assert difference.second == pytest.approx(document[name], abs=1e-6)


def test_a_system_does_not_differ_from_itself(metrics: list[VideoMetrics]) -> None:
    for difference in compare_videos(metrics[0], metrics[0], resamples=50).values():
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)
        assert not difference.clear


def test_intervals_hold_the_difference_and_follow_the_seed(metrics: list[VideoMetrics]) -> None:
    one, again, other = (compare_videos(metrics[0], metrics[-1], resamples=300, seed=seed) for seed in (0, 0, 1))
    assert one == again
    for difference in one.values():
        assert difference.low <= difference.difference <= difference.high
    assert one != other


def test_other_pairs_are_refused(metrics: list[VideoMetrics]) -> None:
    with pytest.raises(LitetextError, match="different pairs"):
        compare_videos(metrics[0], evaluate_videos(GOLDEN / "gt.json", GOLDEN / "pred_unlisted_pair.json"))
