"""Which thresholds suit a model, and whether its scores mean what they say.

SAM3's score is a product: its belief that the phrase is in the image at all (presence) times the query's own score.
Where predictions carry the presence (key ``presence``) the two are told apart; otherwise the best score of a pair
stands for its presence and the score for the query's. A threshold for each decides: nothing is kept in a pair whose
presence is below the first, no query below the second.

The best pair of thresholds is found on a grid; since it is found on the pairs it is scored on, `Calibration.held_out`
says what thresholds chosen on half of the images give on the other half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, no_progress
from ..results.formats.saco import GroundTruth, Predictions, Region
from .compare import headline, image_numbers
from .image import PairScores, evaluated_pairs, matched_rows, pair_ious, score_pairs

GRID = np.round(np.arange(0.05, 0.96, 0.05), 2)
_BINS = 10


@dataclasses.dataclass(frozen=True)
class Bin:
    """Of ``count`` answers with scores from ``low`` on (``mean`` on average), the share that was right."""

    low: float
    count: int
    mean: float
    right: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What `calibrate` found; cgF1 in percent.

    ``surface`` [19, 19]: cgF1 by presence threshold (rows) and query threshold (columns) of `GRID`. ``official``:
    cgF1 as the official evaluator counts (score >= 0.5). ``presence_curve``: of pairs, the share that has the phrase;
    ``query_curve``: of predictions, the share that matches an object at IoU 0.5.
    """

    best_presence: float
    best_query: float
    best: float
    official: float
    held_out: float
    surface: NDArray[np.float64]
    presence_curve: tuple[Bin, ...]
    query_curve: tuple[Bin, ...]
    separate_presence: bool

    def to_dict(self) -> dict[str, Any]:
        """Return everything JSON-ready, with the grid and the expected calibration errors."""
        return {
            **dataclasses.asdict(self),
            "surface": self.surface.tolist(),
            "grid": GRID.tolist(),
            "presence_calibration_error": calibration_error(self.presence_curve),
            "query_calibration_error": calibration_error(self.query_curve),
        }


def calibrate(
    truths: Sequence[GroundTruth], predictions: Predictions, *, progress: Progress = no_progress
) -> Calibration:
    """Search both thresholds on a grid and measure reliability.

    Args:
        truths: one an annotator.
        predictions: they should reach far below 0.5 (``litetext evaluate --model`` keeps them from 0.1 on): what a
            file does not hold cannot be kept by a lower threshold.
        progress: counts the 19 query thresholds.
    """
    pairs = evaluated_pairs(truths)
    found = [predictions.of_pair(pair.id, truths[0]) for pair in pairs]
    presence = np.array([_presence(regions) for regions in found])
    by_query = _with_query_scores(predictions)
    at_query = []
    for done, threshold in enumerate(GRID.tolist(), start=1):
        at_query.append(score_pairs(truths, by_query, score_threshold=threshold))
        progress(done, len(GRID))
    surface = _surface(at_query, presence, np.ones(len(pairs), dtype=bool))
    row, column = _argmax(surface)
    return Calibration(
        float(GRID[row]),
        float(GRID[column]),
        float(surface[row, column]),
        headline(score_pairs(truths, predictions))["cgF1"],
        _held_out(at_query, presence),
        surface,
        _curve(presence, at_query[0].truths > 0),
        _curve(*_query_answers(truths[0], by_query, [pair.id for pair in pairs])),
        any(region.presence is not None for regions in predictions.regions.values() for region in regions),
    )


def calibration_error(curve: Sequence[Bin]) -> float:
    """Return the expected calibration error of a curve: the mean gap between score and share right, by count."""
    total = sum(bin.count for bin in curve)
    return sum(bin.count * abs(bin.mean - bin.right) for bin in curve) / total if total else 0.0


def _presence(regions: Sequence[Region]) -> float:
    return max((region.score if region.presence is None else region.presence for region in regions), default=0.0)


def _with_query_scores(predictions: Predictions) -> Predictions:
    """The same predictions with the query's own score, which the product hides."""
    regions = {
        image: [
            dataclasses.replace(region, score=min(region.score / region.presence, 1.0)) if region.presence else region
            for region in several
        ]
        for image, several in predictions.regions.items()
    }
    return dataclasses.replace(predictions, regions=regions)


def _surface(
    at_query: Sequence[PairScores], presence: NDArray[np.float64], rows: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """cgF1 of some pairs for every presence threshold (rows) and query threshold (columns)."""
    surface = np.zeros((len(GRID), len(GRID)))
    for column, scores in enumerate(at_query):
        for row, threshold in enumerate(GRID):
            surface[row, column] = headline(_gated(scores, presence >= threshold).select(rows))["cgF1"]
    return surface


def _gated(scores: PairScores, kept: NDArray[np.bool_]) -> PairScores:
    """The scores with nothing predicted in the pairs that are not kept."""
    return dataclasses.replace(scores, predictions=scores.predictions * kept, hits=scores.hits * kept[:, None])


def _argmax(surface: NDArray[np.float64]) -> tuple[int, int]:
    """The best cell; of equals, the one nearest to 0.5 in both."""
    rows, columns = np.nonzero(surface >= surface.max() - 1e-9)
    nearest = np.argmin(np.abs(GRID[rows] - 0.5) + np.abs(GRID[columns] - 0.5))
    return int(rows[nearest]), int(columns[nearest])


def _held_out(at_query: Sequence[PairScores], presence: NDArray[np.float64]) -> float:
    """cgF1 of all pairs when each half of the images uses the thresholds that were best on the other half."""
    half = image_numbers(at_query[0]) % 2 == 0
    parts = []
    for rows in (half, ~half):
        row, column = _argmax(_surface(at_query, presence, ~rows))
        parts.append(_gated(at_query[column], presence >= GRID[row]).select(rows))
    return headline(PairScores.merge(parts))["cgF1"]


def _query_answers(
    truth: GroundTruth, predictions: Predictions, ids: Sequence[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The score of every prediction and whether it matches an object of the first annotator at IoU 0.5."""
    scores: list[float] = []
    right: list[bool] = []
    for id in ids:
        regions = predictions.of_pair(id, truth)
        objects = [region.shape for region in truth.regions.get(id, ()) if not region.crowd]
        ious = pair_ious([region.shape for region in regions], objects, truth.pairs[id].size)
        matched = matched_rows(ious, 0.5)
        scores.extend(region.score for region in regions)
        right.extend(row in matched for row in range(len(regions)))
    return np.array(scores, dtype=np.float64), np.array(right, dtype=bool)


def _curve(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Ten bins of equal width; empty ones are left out."""
    number = np.clip((scores * _BINS).astype(np.int64), 0, _BINS - 1)
    return tuple(
        Bin(low / _BINS, int(rows.sum()), float(scores[rows].mean()), float(right[rows].mean()))
        for low in range(_BINS)
        if (rows := number == low).any()
    )
