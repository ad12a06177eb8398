"""Two systems on the same videos: is the difference in pHOTA real?

The pairs of one video are not independent, so the bootstrap draws whole videos, the same for both systems.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from .compare import PairedDifference
from .hota import ALPHAS
from .video import VideoMetrics

_COUNTS = ("matches", "missed", "false", "association")


def compare_videos(
    first: VideoMetrics, second: VideoMetrics, *, resamples: int = 1000, seed: int = 0
) -> dict[str, PairedDifference]:
    """Compare two systems' pHOTA, pDetA and pAssA (0 to 100), second minus first.

    Args:
        first: what the other is compared with.
        second: of the same pairs.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        LitetextError: the pairs are not the same.
    """
    videos = _videos(first)
    if {pair.id for pair in first.scores.pairs.pairs} != {pair.id for pair in second.scores.pairs.pairs}:
        raise LitetextError("the systems were scored on different pairs; compare predictions for one ground truth")
    sums = [_sums(metrics, videos) for metrics in (first, second)]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(videos), np.full(len(videos), 1 / max(1, len(videos))), resamples)
    everything = np.ones((1, len(videos)), np.int64)
    whole = [_scores(everything, one) for one in sums]
    drawn = [_scores(draws, one) for one in sums]
    differences = {}
    for name in whole[0]:
        low, high = np.percentile(drawn[1][name] - drawn[0][name], [2.5, 97.5]).tolist()
        ours, theirs = float(whole[0][name][0]), float(whole[1][name][0])
        differences[name] = PairedDifference(ours, theirs, theirs - ours, low, high)
    return differences


def _videos(metrics: VideoMetrics) -> list[int | str]:
    """The videos that pairs are asked of."""
    return sorted({pair.id[0] for pair in metrics.scores.pairs.pairs if isinstance(pair.id, tuple)}, key=str)


def _sums(metrics: VideoMetrics, videos: Sequence[int | str]) -> NDArray[np.float64]:
    """The counts of each video's pairs, added up: [videos, 4, 19]."""
    place = {video: number for number, video in enumerate(videos)}
    sums = np.zeros((len(videos), len(_COUNTS), len(ALPHAS)))
    for (video, _), counts in metrics.scores.hota_by_pair.items():
        sums[place[video]] += np.stack([getattr(counts, name) for name in _COUNTS])
    return sums


def _scores(draws: NDArray[np.int64], sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The scores of each draw of videos [draws, videos]: [draws]."""
    matches, missed, false, association = np.moveaxis(np.tensordot(draws, sums, 1), 1, 0)
    detection = matches / np.maximum(1, matches + missed + false)
    identity = association / np.maximum(1, matches)
    parts = {"pHOTA": np.sqrt(detection * identity), "pDetA": detection, "pAssA": identity}
    return {name: 100 * values.mean(axis=1) for name, values in parts.items()}
