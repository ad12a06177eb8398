"""SA-Co's video metrics on VEval files: cgF1, VL_MCC and pmF1 of masklets, pHOTA and its parts, TETA, and mAP.

Each metric keeps the threshold of its official evaluator: cgF1 and TETA count tracks from score 0.5, HOTA above 0.5,
the average precisions all tracks. Masks and boxes are both scored where the official code does (TETA: masks). cgF1
works as for images with one difference: the IoU of two masklets is the sum of intersections over the sum of unions
over frames.

The evaluated pairs are those in the ground truth, in ``video_np_pairs`` and in the predictions, as in the official
code; a predicted pair that the ground truth does not list is a false positive, and a warning says how many there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, no_progress, shifted
from ..results.formats.saco import IouType, Pair
from ..results.formats.veval import (
    Track,
    VideoPairId,
    VideoPredictions,
    VideoTruth,
    read_video_predictions,
    read_video_truth,
)
from ..results.rle import Size, areas, box_ious, compress
from .average_precision import RankedMatches, average_precision, ranked_matches
from .coco_masks import joined, mask_ious, overlap
from .hota import Frame, HotaCounts, hota_counts
from .image import (
    SCORE_THRESHOLD,
    ImageMetrics,
    PairScores,
    finite,
    hits_at_thresholds,
    official_mean,
    official_summary,
    summarize,
)
from .teta import FIELDS, VideoFrames, teta_scores

_STRIP_PIXELS = 1 << 31  # pycocotools counts pixels in 32 bits

_HOTA_PARTS = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")
_OFFICIAL_TETA = ("teta", "loc_a", "assoc_a", "cls_a", "loc_re", "loc_pr", "assoc_re", "assoc_pr", "cls_re", "cls_pr")


@dataclasses.dataclass(frozen=True)
class TypeScores:
    """The metrics on masks or on boxes, as fractions.

    ``pairs``: a row a (video, phrase) pair, for cgF1; ``hota``: the parts of pHOTA over all pairs; ``hota_by_pair``:
    the counts of each pair with objects or kept tracks that they come from; ``class_ap``, ``phrase_ap``: [10] by IoU
    threshold, None without ground truth.
    """

    pairs: PairScores
    hota: Mapping[str, float]
    hota_by_pair: Mapping[VideoPairId, HotaCounts]
    class_ap: NDArray[np.float64] | None
    phrase_ap: NDArray[np.float64] | None


@dataclasses.dataclass(frozen=True)
class VideoMetrics:
    """Video metrics, 0 to 100 (VL_MCC -1 to 1); None where the ground truth does not say which pairs are negative."""

    types: Mapping[IouType, TypeScores]
    teta: Mapping[str, float]
    iou_type: IouType
    has_negatives: bool
    warnings: tuple[str, ...] = ()

    @property
    def scores(self) -> TypeScores:
        """The scores on the IoU type that the headline numbers use."""
        return self.types[self.iou_type]

    @property
    def cgF1(self) -> float | None:  # noqa: N802 - the metric's name
        """Classification-gated F1, 0 to 100; None without negatives."""
        return 100 * official_mean(self._summary()["cgF1"]) if self.has_negatives else None

    @property
    def pmF1(self) -> float:  # noqa: N802
        """Micro F1 over the pairs that have objects, 0 to 100."""
        return 100 * official_mean(self._summary()["positive_micro_F1"])

    @property
    def VL_MCC(self) -> float | None:  # noqa: N802
        """Matthews correlation of "something predicted" and "something there", -1 to 1; None without negatives."""
        return float(self._summary()["IL_MCC"]) if self.has_negatives else None

    @property
    def official(self) -> dict[str, float | None]:
        """The official evaluators' numbers, names and scales (fractions; TETA in percent of 5 digits); None for NaN."""
        numbers: dict[str, float | None] = {}
        for iou_type, scores in self.types.items():
            numbers.update(_official_numbers(scores, "mask" if iou_type == "segm" else "bbox", self.has_negatives))
        for name, field in zip(_OFFICIAL_TETA, FIELDS, strict=True):
            numbers[f"video_mask_{name}"] = float(f"{100 * self.teta[field]:.5g}")
        return numbers

    def pair_rows(self) -> list[dict[str, Any]]:
        """One dictionary a (video, phrase) pair with the official per-pair numbers of masks and boxes."""
        rows: dict[Any, dict[str, Any]] = {}
        for iou_type, scores in self.types.items():
            prefix = "mask" if iou_type == "segm" else "bbox"
            table = scores.pairs
            for number, pair in enumerate(table.pairs):
                assert isinstance(pair.id, tuple)
                video, category = pair.id
                row = rows.setdefault(pair.id, {"video_id": video, "category_id": category, "noun_phrase": pair.prompt})
                if (counts := scores.hota_by_pair.get((video, category))) is not None:
                    row.update({f"{prefix}_{name}": value for name, value in counts.scores().items()})
                row.update(_pair_counts(prefix, table.hits[number], table.truths[number], table.predictions[number]))
        return list(rows.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics by name, JSON-ready (NaN as None)."""
        metrics = ImageMetrics(self.scores.pairs)
        per_threshold = metrics.to_dict()["per_threshold"]
        if not self.has_negatives:
            per_threshold.pop("cgF1")
        hota = {name: 100 * value for name, value in self.scores.hota.items()}
        return {
            "cgF1": self.cgF1,
            "VL_MCC": self.VL_MCC,
            "pmF1": self.pmF1,
            "pHOTA": hota["HOTA"],
            "pDetA": hota["DetA"],
            "pAssA": hota["AssA"],
            "TETA": 100 * self.teta["TETA"],
            "hota": hota,
            "teta": {name: 100 * value for name, value in self.teta.items()},
            "video_mAP": _percent(self.scores.class_ap),
            "phrase_AP": _percent(self.scores.phrase_ap),
            "phrase_AP_per_threshold": None if self.scores.phrase_ap is None else finite(100 * self.scores.phrase_ap),
            "iou_type": self.iou_type,
            "pairs": len(self.scores.pairs),
            "positive_pairs": int((self.scores.pairs.truths > 0).sum()),
            "per_threshold": per_threshold,
            "counts": metrics.counts,
            "official": self.official,
            "per_pair": self.pair_rows(),
            "warnings": list(self.warnings),
        }

    def _summary(self) -> dict[str, NDArray[np.float64]]:
        return summarize(self.scores.pairs)


def evaluate_videos(
    truth: str | Path | VideoTruth,
    predictions: str | Path | VideoPredictions,
    *,
    iou_type: IouType = "segm",
    progress: Progress = no_progress,
) -> VideoMetrics:
    """Score predicted tracks against a VEval annotation file.

    Where the official code fails (nothing predicted, or nothing above the threshold) the defined values are returned,
    and ``warnings`` say so.

    Args:
        truth: the annotation file, or what was read of it.
        predictions: a list of tracks as a file, or what was read of it.
        iou_type: whether the headline numbers are of masks (``segm``) or boxes (``bbox``).
        progress: counts (video, phrase) pairs, those of masks first, then those of boxes.

    Raises:
        LitetextError: malformed input; the message names file, entry and key.
    """
    truth = truth if isinstance(truth, VideoTruth) else read_video_truth(truth)
    if not isinstance(predictions, VideoPredictions):
        predictions = read_video_predictions(predictions, truth)
    objects, found = _by_pair(truth.tracks), _by_pair(predictions.tracks)
    pairs = list(dict.fromkeys([*sorted({*objects, *found}, key=_official_order), *(truth.listed or ())]))
    types: dict[IouType, TypeScores] = {
        "segm": _type_scores(truth, pairs, objects, found, "segm", shifted(progress, 0, 2 * len(pairs))),
        "bbox": _type_scores(truth, pairs, objects, found, "bbox", shifted(progress, len(pairs), 2 * len(pairs))),
    }
    return VideoMetrics(
        types,
        _teta(truth, predictions),
        iou_type,
        truth.listed is not None,
        tuple(_warnings(truth, predictions, objects, found)),
    )


def masklet_ious(predictions: Sequence[Track], truths: Sequence[Track], size: Size) -> NDArray[np.float64]:
    """Return the IoU of masklets [predictions, truths]: shared pixels of all frames over pixels of either.

    Two masklets without any pixel have IoU 1, as in the official code.
    """
    drawn, real = _Strips(predictions, size), _Strips(truths, size)
    ious = np.ones((len(predictions), len(truths)))
    for p, t in np.ndindex(ious.shape):
        shared = sum(
            overlap(a, b, shape) for a, b, shape in zip(drawn.masks[p], real.masks[t], real.sizes, strict=True)
        )
        either = drawn.areas[p] + real.areas[t] - shared
        if either:
            ious[p, t] = shared / either
    return ious


def tracklet_ious(predictions: Sequence[Track], truths: Sequence[Track]) -> NDArray[np.float64]:
    """Return the IoU of tracks of boxes [predictions, truths], over frames as `masklet_ious`.

    The quotient is rounded to 32 bits, as in the official code: that decides ties with a threshold.
    """
    if not predictions or not truths:
        return np.ones((len(predictions), len(truths)))
    p, t = _boxes(predictions)[:, None], _boxes(truths)[None]
    sides = np.minimum(p[..., :2] + p[..., 2:], t[..., :2] + t[..., 2:]) - np.maximum(p[..., :2], t[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    either = np.prod(p[..., 2:], axis=-1) + np.prod(t[..., 2:], axis=-1) - shared
    shared, either = shared.sum(-1).astype(np.float32), either.sum(-1).astype(np.float32)
    ious = np.divide(shared, either, out=np.ones_like(shared), where=either > 0)
    return ious.astype(np.float64)


class _Strips:
    """Masklets with their frames side by side, cut where an image would have too many pixels."""

    def __init__(self, tracks: Sequence[Track], size: Size) -> None:
        height, width = size
        length = len(tracks[0].masks) if tracks else 0
        step = max(1, _STRIP_PIXELS // (height * width))
        cuts = [slice(start, min(start + step, length)) for start in range(0, length, step)]
        self.sizes = [(height, width * (cut.stop - cut.start)) for cut in cuts]
        self.masks = [[compress(joined(track.masks[cut], height * width)) for cut in cuts] for track in tracks]
        self.areas = [int(areas(strips).sum()) for strips in self.masks]


def _boxes(tracks: Sequence[Track]) -> NDArray[np.float64]:
    """The boxes [tracks, frames, 4] with zeros where a track is not seen."""
    rows = [[box or (0.0, 0.0, 0.0, 0.0) for box in track.boxes] for track in tracks]
    return np.asarray(rows, dtype=np.float64)


def _frames(truths: Sequence[Track], predictions: Sequence[Track], size: Size, iou_type: IouType) -> list[Frame]:
    """The frames of a sequence with the overlaps of the tracks seen in them."""
    length = max((len(track.masks) for track in (*truths, *predictions)), default=0)
    return [_frame(truths, predictions, t, size, iou_type) for t in range(length)]


def _frame(truths: Sequence[Track], predictions: Sequence[Track], t: int, size: Size, iou_type: IouType) -> Frame:
    real = [i for i, track in enumerate(truths) if track.masks[t] is not None]
    drawn = [i for i, track in enumerate(predictions) if track.masks[t] is not None]
    if not real or not drawn:
        ious = np.zeros((len(real), len(drawn)))
    elif iou_type == "segm":
        ours: list[Any] = [truths[i].masks[t] for i in real]
        theirs: list[Any] = [predictions[i].masks[t] for i in drawn]
        ious = mask_ious(ours, theirs, size)
    else:
        ours, theirs = [truths[i].boxes[t] for i in real], [predictions[i].boxes[t] for i in drawn]
        ious = box_ious(ours, theirs).astype(np.float32).astype(np.float64)  # ties fall as in the official code
    return Frame(np.asarray(real, dtype=np.int64), np.asarray(drawn, dtype=np.int64), ious)


_Tracks = Mapping[VideoPairId, Sequence[Track]]


def _type_scores(
    truth: VideoTruth,
    pairs: Sequence[VideoPairId],
    objects: _Tracks,
    found: _Tracks,
    iou_type: IouType,
    progress: Progress,
) -> TypeScores:
    rows: list[tuple[int, int, NDArray[np.int64]]] = []
    counts: dict[VideoPairId, HotaCounts] = {}
    ranked: dict[VideoPairId, RankedMatches] = {}
    for done, pair in enumerate(pairs, start=1):
        real, drawn = objects.get(pair, ()), found.get(pair, ())
        size = truth.videos[pair[0]].size
        ious = masklet_ious(drawn, real, size) if iou_type == "segm" else tracklet_ious(drawn, real)
        counted = [not track.crowd for track in real]
        kept = [track.score >= SCORE_THRESHOLD for track in drawn]
        rows.append((sum(counted), sum(kept), hits_at_thresholds(ious[kept][:, counted])))
        if real or drawn:
            ranked[pair] = ranked_matches([track.score for track in drawn], ious, [track.crowd for track in real])
        above = [track for track in drawn if track.score > SCORE_THRESHOLD]
        if real or above:
            counts[pair] = hota_counts(_frames(real, above, size, iou_type), len(real), len(above))
        progress(done, len(pairs))
    return TypeScores(
        _pair_scores(truth, pairs, rows),
        HotaCounts.total(list(counts.values())).scores(),
        counts,
        _class_ap(ranked),
        average_precision(list(ranked.values())),
    )


def _pair_scores(
    truth: VideoTruth, pairs: Sequence[VideoPairId], rows: Sequence[tuple[int, int, NDArray[np.int64]]]
) -> PairScores:
    named = tuple(
        Pair(pair, truth.categories[pair[1]], truth.videos[pair[0]].name, truth.videos[pair[0]].size) for pair in pairs
    )
    return PairScores(
        named,
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.int64).reshape(len(rows), -1),
        np.zeros(len(rows), dtype=np.int64),
    )


def _class_ap(ranked: Mapping[VideoPairId, RankedMatches]) -> NDArray[np.float64] | None:
    """Average precision of each class over the videos, averaged over the classes that have ground truth [10]."""
    by_class: dict[int, list[RankedMatches]] = {}
    for (_, category), matches in ranked.items():
        by_class.setdefault(category, []).append(matches)
    scores = [score for score in map(average_precision, by_class.values()) if score is not None]
    return np.mean(scores, axis=0) if scores else None


def _teta(truth: VideoTruth, predictions: VideoPredictions) -> dict[str, float]:
    real: dict[Any, list[Track]] = {}
    drawn: dict[Any, list[Track]] = {}
    for track in truth.tracks:
        real.setdefault(track.video, []).append(track)
    for track in predictions.tracks:
        if track.score >= SCORE_THRESHOLD:
            drawn.setdefault(track.video, []).append(track)
    scenes = [
        VideoFrames(
            _frames(real.get(video.id, []), drawn.get(video.id, []), video.size, "segm"),
            np.array([track.category for track in real.get(video.id, [])], dtype=np.int64),
            np.array([track.category for track in drawn.get(video.id, [])], dtype=np.int64),
        )
        for video in truth.videos.values()
    ]
    with_objects = {track.category for track in truth.tracks}
    return teta_scores(scenes, [category for category in truth.categories if category in with_objects])


def _by_pair(tracks: Iterable[Track]) -> dict[VideoPairId, list[Track]]:
    grouped: dict[VideoPairId, list[Track]] = {}
    for track in tracks:
        grouped.setdefault(track.pair, []).append(track)
    return grouped


def _official_order(pair: VideoPairId) -> tuple[bool, int | str, int]:
    return (isinstance(pair[0], str), *pair)


def _percent(values: NDArray[np.float64] | None) -> float | None:
    return None if values is None else float(100 * values.mean())


def _pair_counts(prefix: str, hits: NDArray[np.int64], truths: int, predictions: int) -> dict[str, float]:
    """The official per-pair counts and F1 (plain, 1 where both sides are empty), averaged and at IoU 0.5 and 0.75."""
    false, missed = predictions - hits, truths - hits
    total = 2 * hits + false + missed
    f1 = np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)
    numbers = {}
    for suffix, part in (("50_95", slice(None)), ("50", slice(0, 1)), ("75", slice(5, 6))):
        for name, values in (("TP", hits), ("FP", false), ("FN", missed), ("F1", f1)):
            numbers[f"{prefix}_{name}_{suffix}"] = float(values[part].mean())
    return numbers


def _official_numbers(scores: TypeScores, kind: str, has_negatives: bool) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    if scores.class_ap is not None and scores.phrase_ap is not None:
        numbers[f"video_{kind}_mAP_50_95"] = float(scores.class_ap.mean())
        numbers[f"video_{kind}_phrase_ap_50_95"] = float(scores.phrase_ap.mean())
        numbers[f"video_{kind}_phrase_ap_50"] = float(scores.phrase_ap[0])
        numbers[f"video_{kind}_phrase_ap_75"] = float(scores.phrase_ap[5])
    numbers.update({f"video_{kind}_all_phrase_{name}": scores.hota[name] for name in _HOTA_PARTS})
    if not has_negatives:
        return numbers
    summary = official_summary(summarize(scores.pairs), "")
    prefix = f"video_{kind}_demo_"
    for suffix, at in (("50_95", ""), ("50", "@0.5"), ("75", "@0.75")):
        cgf1, f1 = summary[f"cgF1{at}"], summary[f"positive_micro_F1{at}"]
        numbers[f"{prefix}cgf1_micro_{suffix}"] = cgf1
        numbers[f"{prefix}ilmcc_{suffix}"] = (
            (cgf1 / f1 if cgf1 is not None and f1 else None) if at else summary["IL_MCC"]
        )
        numbers[f"{prefix}positive_micro_f1_{suffix}"] = f1
    return numbers


def _warnings(truth: VideoTruth, predictions: VideoPredictions, objects: _Tracks, found: _Tracks) -> list[str]:
    """What a reader of the numbers should know, where the official code is silent or fails."""
    warnings = []
    if truth.listed is None:
        warnings.append(f"{truth.name} has no 'video_np_pairs': without negatives, VL_MCC and cgF1 are not defined")
    else:
        unlisted = {*found} - {*objects} - {*truth.listed}
        if unlisted:
            warnings.append(
                f"{predictions.name}: {len(unlisted):,} (video, phrase) pairs are predicted but not in "
                "'video_np_pairs'; they count as false positives, as in the official evaluator"
            )
    if not predictions.tracks:
        warnings.append(
            f"{predictions.name} is empty: the official code stops here; these are the values by definition"
        )
    elif not any(track.score >= SCORE_THRESHOLD for track in predictions.tracks):
        warnings.append(
            f"{predictions.name}: no score reaches {SCORE_THRESHOLD}: TETA is 0 by definition (the official code stops)"
        )
    crowds = sum(track.crowd for track in truth.tracks)
    if crowds:
        warnings.append(f"{crowds:,} crowd tracks are dropped for cgF1 (HOTA and TETA keep them, as the official code)")
    return warnings
