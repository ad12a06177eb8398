"""SA-Co's image metrics: cgF1, IL_MCC and pmF1, equal to the official evaluator's numbers.

Scoring has two steps. `score_pairs` matches predictions with ground truth pair by pair and keeps a few whole numbers a
pair (`PairScores`); everything else (micro and macro F1, the Matthews correlation, subsets, bootstrap) is sums over
those numbers (`summarize`), so shards merge exactly and a bootstrap is a matrix product.

Definitions (SAM 3, arXiv 2511.16719, section "Metrics"; constants as in ``sam3/eval/cgf1_eval.py``): predictions
count from score 0.5; crowd objects are dropped; one Hungarian matching a pair on IoU; a match is true at threshold t
if its IoU >= t, for t in 0.50:0.05:0.95. pmF1 is the micro F1 of pairs that have ground truth, averaged over t; IL_MCC
correlates "something predicted" with "something there" over all pairs; cgF1 = pmF1 x IL_MCC. With several annotators
each pair counts against the one it fits best.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LitetextError
from ..progress import Progress, no_progress
from ..results.formats.saco import (
    GroundTruth,
    IouType,
    Pair,
    PairId,
    Predictions,
    RegionShape,
    check_predictions,
    predictions_from,
    read_ground_truth,
    read_predictions,
)
from ..results.rle import Size, box_ious
from .coco_masks import mask_ious

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
SCORE_THRESHOLD = 0.5

_F1_EPSILON = 1e-4
_PAIR_EPSILON = 1e-6
_CHUNK = 256
_FEW_PAIRS = 25_000


@dataclasses.dataclass(frozen=True)
class PairScores:
    """What matching found, a row a pair: all that any metric needs.

    ``truths``, ``predictions``: int64 [P], objects and kept predictions; ``hits``: int64 [P, 10], matches of the two
    at each IoU threshold; ``annotator``: int64 [P], which ground truth file the row was scored against.
    """

    pairs: tuple[Pair, ...]
    truths: NDArray[np.int64]
    predictions: NDArray[np.int64]
    hits: NDArray[np.int64]
    annotator: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Local F1 of every pair [P, 10]; 1 where both sides are empty (the official evaluator calls that perfect)."""
        scores = local_f1(self.hits, self.truths[:, None], self.predictions[:, None])
        return np.where((self.truths + self.predictions)[:, None] == 0, 1.0, scores)

    def select(self, rows: ArrayLike) -> PairScores:
        """Return some rows (a boolean mask or indices; repeats allowed)."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return PairScores(
            tuple(self.pairs[i] for i in index),
            self.truths[index],
            self.predictions[index],
            self.hits[index],
            self.annotator[index],
        )

    @staticmethod
    def merge(shards: Iterable[PairScores]) -> PairScores:
        """Return shards of a set as one; their metrics equal those of one run."""
        parts = list(shards)
        return PairScores(
            tuple(itertools.chain.from_iterable(part.pairs for part in parts)),
            np.concatenate([part.truths for part in parts] or [_WHOLE]),
            np.concatenate([part.predictions for part in parts] or [_WHOLE]),
            np.concatenate([part.hits for part in parts] or [_WHOLE.reshape(0, len(IOU_THRESHOLDS))]),
            np.concatenate([part.annotator for part in parts] or [_WHOLE]),
        )


_WHOLE = np.zeros(0, dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class ImageMetrics:
    """The metrics of a set of pairs, scaled as in the papers: cgF1 and pmF1 0 to 100, IL_MCC -1 to 1.

    Everything is computed from ``scores``; `to_dict` is what ``litetext evaluate --json`` prints.
    """

    scores: PairScores
    iou_type: IouType = "segm"
    warnings: tuple[str, ...] = ()

    @functools.cached_property
    def summary(self) -> dict[str, NDArray[np.float64]]:
        """The unrounded fractions by official name; [10] for what depends on the IoU threshold, [] otherwise."""
        return summarize(self.scores)

    @property
    def cgF1(self) -> float:  # noqa: N802 - the metric's name
        """Classification-gated F1, 0 to 100."""
        return 100 * official_mean(self.summary["cgF1"])

    @property
    def pmF1(self) -> float:  # noqa: N802
        """Micro F1 over the pairs that have objects, 0 to 100."""
        return 100 * official_mean(self.summary["positive_micro_F1"])

    @property
    def IL_MCC(self) -> float:  # noqa: N802
        """Matthews correlation of "something predicted" and "something there", -1 to 1."""
        return float(self.summary["IL_MCC"])

    @property
    def official(self) -> dict[str, float | None]:
        """The official evaluator's summary: its key names and its values (fractions; None for NaN)."""
        return official_summary(self.summary, f"cgF1_eval_{self.iou_type}_")

    @property
    def counts(self) -> dict[str, Any]:
        """The sums behind the metrics, named as in the official evaluator."""
        return {name: value.astype(int).tolist() for name, value in _sums(self.scores).items() if name in _COUNT_NAMES}

    def subset(self, ids: Iterable[PairId]) -> ImageMetrics:
        """Return the metrics of some of the pairs."""
        wanted = set(ids)
        return ImageMetrics(self.scores.select([pair.id in wanted for pair in self.scores.pairs]), self.iou_type)

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics by name, JSON-ready (NaN as None)."""
        summary = self.summary
        averaged = {name: official_mean(values) for name, values in summary.items() if values.ndim}
        macro = averaged["positive_macro_F1"]
        return {
            "cgF1": self.cgF1,
            "IL_MCC": self.IL_MCC,
            "pmF1": self.pmF1,
            "pMF1": 100 * macro if macro >= 0 else None,
            "precision": 100 * averaged["precision"],
            "recall": 100 * averaged["recall"],
            "F1": 100 * averaged["F1"],
            "IL_precision": float(summary["IL_precision"]),
            "IL_recall": float(summary["IL_recall"]),
            "IL_F1": float(summary["IL_F1"]),
            "IL_FPR": float(summary["IL_FPR"]),
            "iou_type": self.iou_type,
            "pairs": len(self.scores),
            "positive_pairs": int((self.scores.truths > 0).sum()),
            "per_threshold": {
                "iou": [round(float(threshold), 2) for threshold in IOU_THRESHOLDS],
                **{name: finite(100 * values) for name, values in summary.items() if values.ndim},
            },
            "counts": self.counts,
            "official": self.official,
            "warnings": list(self.warnings),
        }


def evaluate_images(
    ground_truths: str | Path | GroundTruth | Sequence[str | Path | GroundTruth],
    predictions: str | Path | Predictions | Sequence[Mapping[str, Any]],
    *,
    iou_type: IouType = "segm",
    score_threshold: float = SCORE_THRESHOLD,
    processes: int = 1,
    progress: Progress = no_progress,
) -> ImageMetrics:
    """Score predictions (a COCO results file or list) against one annotator's ground truth, or the best of several.

    Args:
        ground_truths: an annotation file or several, one an annotator; their order decides ties between annotators, as
            in the official evaluator.
        predictions: a COCO results file, its list, or what was read of it.
        iou_type: of masks (``segm``) or boxes (``bbox``).
        score_threshold: predictions with a lower score do not count.
        processes: above 1, large sets are scored in fresh Python processes (guard a script with
            ``if __name__ == "__main__"``).
        progress: counts pairs.

    Raises:
        LitetextError: malformed input; the message names file, entry and key.
    """
    several = [ground_truths] if isinstance(ground_truths, (str, Path, GroundTruth)) else list(ground_truths)
    truths = [truth if isinstance(truth, GroundTruth) else read_ground_truth(truth, iou_type) for truth in several]
    if isinstance(predictions, (str, Path)):
        predictions = read_predictions(predictions, iou_type)
    elif not isinstance(predictions, Predictions):
        predictions = predictions_from(predictions, iou_type)
    warnings = check_predictions(predictions, truths)
    scores = score_pairs(truths, predictions, score_threshold=score_threshold, processes=processes, progress=progress)
    return ImageMetrics(scores, iou_type, tuple(warnings + warnings_of(truths, scores)))


def score_pairs(
    truths: Sequence[GroundTruth],
    predictions: Predictions,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    processes: int = 1,
    progress: Progress = no_progress,
) -> PairScores:
    """Match predictions with ground truth in every pair that all annotators marked exhaustive, in file order.

    Masks are handed to processes a few hundred pairs at a time; beside the input, memory holds one matching. A set
    that is scored sooner than processes start is scored in this one.

    Args:
        truths: one an annotator.
        predictions: of the same pairs.
        score_threshold: predictions with a lower score do not count.
        processes: that share the work.
        progress: counts pairs.
    """
    pairs = evaluated_pairs(truths)
    tasks = _tasks(pairs, truths, predictions, score_threshold)
    shards: list[PairScores] = []
    done = 0
    for columns in _mapped(_columns, tasks, processes if len(pairs) > _FEW_PAIRS else 1):
        shards.append(PairScores(tuple(pairs[done : done + len(columns[0])]), *columns))
        done += len(columns[0])
        progress(done, len(pairs))
    return PairScores.merge(shards)


def evaluated_pairs(truths: Sequence[GroundTruth]) -> list[Pair]:
    """Return the pairs that every annotator marked exhaustive; a pair that only the first file has is an error."""
    if not truths:
        raise LitetextError("no ground truth is given; name at least one annotation file")
    first, *others = truths
    kept = [pair for pair in first.pairs.values() if pair.exhaustive]
    for other in others:
        for pair in kept:
            if pair.id not in other.pairs:
                raise LitetextError(
                    f"{other.name}: no pair has id {pair.id!r}, which {first.name} has; annotators label the same pairs"
                )
            if other.pairs[pair.id].size != pair.size:
                raise LitetextError(
                    f"{other.name}: pair {pair.id!r} has size {other.pairs[pair.id].size}, "
                    f"but {pair.size} in {first.name}; annotators label the same images"
                )
        kept = [pair for pair in kept if other.pairs[pair.id].exhaustive]
    return kept


def pair_ious(predictions: Sequence[RegionShape], truths: Sequence[RegionShape], size: Size) -> NDArray[np.float64]:
    """Return the IoU of each predicted mask (or box) with each true one [predictions, truths]."""
    if not predictions or not truths:
        return np.zeros((len(predictions), len(truths)))
    ours: Any = predictions
    theirs: Any = truths
    return mask_ious(ours, theirs, size) if isinstance(ours[0], bytes) else box_ious(ours, theirs)


def matched_ious(ious: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoUs of the one-to-one assignment with the largest sum [min(predictions, truths)]."""
    from scipy.optimize import linear_sum_assignment

    return np.asarray(ious[linear_sum_assignment(-ious)])


def matched_rows(ious: NDArray[np.float64], threshold: float) -> set[int]:
    """Return the predictions (rows) whose match in the same assignment has an IoU of at least ``threshold``."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-ious)
    return {int(row) for row in rows[ious[rows, columns] >= threshold]}


def hits_at_thresholds(ious: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many matches of an IoU matrix hold at each threshold [10]."""
    if not ious.size:
        return np.zeros(len(IOU_THRESHOLDS), dtype=np.int64)
    return np.asarray((matched_ious(ious)[:, None] >= IOU_THRESHOLDS).sum(axis=0), dtype=np.int64)


def local_f1(hits: ArrayLike, truths: ArrayLike, predictions: ArrayLike) -> NDArray[np.float64]:
    """Return F1 with the official constants from hits, objects and predictions (broadcast; 0 where there is no hit)."""
    hits, truths, predictions = np.asarray(hits), np.asarray(truths), np.asarray(predictions)
    return _f1(hits / (predictions + _F1_EPSILON), hits / (truths + _F1_EPSILON))


def summarize(scores: PairScores, weights: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.float64]]:
    """Return the official evaluator's metrics as fractions, from sums over pairs.

    Args:
        scores: of P pairs.
        weights: int [..., P], how often each pair occurs (a bootstrap draws rows of them); its leading dimensions come
            first in every result, the threshold dimension [10] last where a metric has one.
    """
    sums = _sums(scores, weights)
    tp, fp, fn = sums["TPs"], sums["FPs"], sums["FNs"]
    precision, recall = tp / (tp + fp + _F1_EPSILON), tp / (tp + fn + _F1_EPSILON)
    positive_precision = tp / (tp + sums["positive_micro_FPs"] + _F1_EPSILON)
    positive_micro_f1 = _f1(positive_precision, recall)
    il_tp, il_fp, il_tn, il_fn = (sums[name].astype(np.float64) for name in ("IL_TP", "IL_FP", "IL_TN", "IL_FN"))
    il_recall, il_precision = il_tp / (il_tp + il_fn + _PAIR_EPSILON), il_tp / (il_tp + il_fp + _PAIR_EPSILON)
    spread = np.sqrt((il_tp + il_fp) * (il_tp + il_fn) * (il_tn + il_fp) * (il_tn + il_fn))
    mcc = (il_tp * il_tn - il_fp * il_fn) / (spread + _PAIR_EPSILON)
    with np.errstate(invalid="ignore"):
        macro = sums["macro_F1_sum"] / il_tp[..., None]  # NaN without any pair that has both sides
    return {
        "cgF1": positive_micro_f1 * mcc[..., None],
        "precision": precision,
        "recall": recall,
        "F1": _f1(precision, recall),
        "positive_macro_F1": macro,
        "positive_micro_F1": positive_micro_f1,
        "positive_micro_precision": positive_precision,
        "IL_precision": il_precision,
        "IL_recall": il_recall,
        "IL_F1": 2 * il_precision * il_recall / (il_precision + il_recall + _PAIR_EPSILON),
        "IL_FPR": il_fp / (il_fp + il_tn + _PAIR_EPSILON),
        "IL_MCC": mcc,
    }


def official_summary(summary: Mapping[str, NDArray[np.float64]], prefix: str) -> dict[str, float | None]:
    """Return the 26 numbers of the official summary: the mean over thresholds, then the values at IoU 0.5 and 0.75."""
    numbers = {
        prefix + name: official_mean(values) if values.ndim else float(values) for name, values in summary.items()
    }
    for suffix, at in (("@0.5", 0), ("@0.75", 5)):
        for name, values in summary.items():
            if values.ndim:
                numbers[prefix + name + suffix] = official_mean(values[at : at + 1])
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


def official_mean(values: NDArray[np.float64]) -> float:
    """Return the mean over thresholds as the official evaluator takes it: NaN left out, -1 if nothing is left."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0


def finite(values: NDArray[np.float64]) -> list[float | None]:
    """Return a list of floats with None for NaN, as JSON needs."""
    return [float(value) if np.isfinite(value) else None for value in values]


_COUNT_NAMES = ("TPs", "FPs", "positive_micro_FPs", "FNs", "IL_TP", "IL_FP", "IL_TN", "IL_FN")


def _sums(scores: PairScores, weights: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.float64]]:
    """The weighted sums over pairs that metrics are made of: [..., 10] per threshold, [...] for pair-level counts.

    Whole numbers far below 2^53, so floating point adds them exactly, in any order.
    """
    there, predicted = scores.truths > 0, scores.predictions > 0
    false_positives = scores.predictions[:, None] - scores.hits
    columns = {
        "TPs": scores.hits,
        "FPs": false_positives,
        "positive_micro_FPs": false_positives * there[:, None],
        "FNs": scores.truths[:, None] - scores.hits,
        "macro_F1_sum": scores.f1 * there[:, None],
        "IL_TP": there & predicted,
        "IL_FP": ~there & predicted,
        "IL_TN": ~there & ~predicted,
        "IL_FN": there & ~predicted,
    }
    if weights is None:
        return {name: values.sum(axis=0).astype(np.float64) for name, values in columns.items()}
    drawn = weights.astype(np.float64)
    return {name: np.asarray(drawn @ values.astype(np.float64)) for name, values in columns.items()}


def _f1(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2 * precision * recall / (precision + recall + _F1_EPSILON))


_Task = list[tuple[Size, list[list[RegionShape]], list[list[RegionShape]]]]
"""For each of some pairs: its size and, for each annotator, the objects and the predictions that count."""


def _tasks(
    pairs: Sequence[Pair], truths: Sequence[GroundTruth], predictions: Predictions, score_threshold: float
) -> Iterator[_Task]:
    same_categories = all(truth.categories == truths[0].categories for truth in truths)
    for start in range(0, len(pairs), _CHUNK):
        task = []
        for pair in pairs[start : start + _CHUNK]:
            objects = [[r.shape for r in truth.regions.get(pair.id, ()) if not r.crowd] for truth in truths]
            found = [
                [r.shape for r in predictions.of_pair(pair.id, truth) if r.score >= score_threshold]
                for truth in (truths[:1] if same_categories else truths)
            ]
            task.append((pair.size, objects, found * len(truths) if same_categories else found))
        yield task


def _mapped(function: Callable[[_Task], _Columns], tasks: Iterator[_Task], processes: int) -> Iterator[_Columns]:
    """Results in order; at most a few tasks a process are in flight, so memory stays bounded."""
    if processes <= 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = deque(pool.submit(function, task) for task in itertools.islice(tasks, 4 * processes))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, task) for task in itertools.islice(tasks, 1))


_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
_Row = tuple[int, int, NDArray[np.int64], int]


def _columns(task: _Task) -> _Columns:
    """The rows of some pairs: objects, predictions, hits [n, 10] and the annotator chosen."""
    rows = [_best_row(*pair) for pair in task]
    truths, predictions, hits, annotator = (np.asarray(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return truths, predictions, hits, annotator


def _best_row(size: Size, objects: Sequence[Sequence[RegionShape]], found: Sequence[Sequence[RegionShape]]) -> _Row:
    """The pair scored against each annotator, and the row of the best: the official evaluator's choice and its ties."""
    best = _row(size, objects[0], found[0], 0)
    for number in range(1, len(objects)):
        current = _row(size, objects[number], found[number], number)
        empty = current[0] + current[1] == 0
        if empty or (best[0] + best[1] > 0 and _mean_f1(current) > _mean_f1(best)):
            best = current
    return best


def _row(size: Size, objects: Sequence[RegionShape], found: Sequence[RegionShape], annotator: int) -> _Row:
    return len(objects), len(found), hits_at_thresholds(pair_ious(found, objects, size)), annotator


def _mean_f1(row: _Row) -> float:
    return float(local_f1(row[2], row[0], row[1]).mean())


def warnings_of(truths: Sequence[GroundTruth], scores: PairScores) -> list[str]:
    """Return warnings about what the official evaluator leaves out silently."""
    warnings = []
    left_out = len(truths[0].pairs) - len(scores)
    if left_out:
        warnings.append(f"{left_out:,} of {len(truths[0].pairs):,} pairs are left out: not annotated exhaustively")
    if not len(scores):
        warnings.append("no pair is left to score; every metric is 0")
    elif not (scores.truths > 0).any():
        warnings.append("no pair has ground truth: pmF1, IL_MCC and cgF1 are 0 by definition")
    elif (scores.truths > 0).all():
        warnings.append("no pair is negative: IL_MCC and so cgF1 are 0 by definition; look at pmF1")
    crowds = sum(region.crowd for truth in truths for regions in truth.regions.values() for region in regions)
    if crowds:
        warnings.append(f"{crowds:,} crowd objects are dropped; predictions on them count as false positives")
    return warnings
