"""Many files, one table: the subsets of SA-Co Gold and Silver with their plain mean, and several systems side by side.

SA-Co names its files ``gold_{subset}_merged_{annotator}_release_test.json``. Files of that pattern are grouped by
subset, each scored against all its annotators; any other files are annotators of one set.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LitetextError
from ..progress import Progress, no_progress, shifted
from ..results.formats.saco import (
    GroundTruth,
    IouType,
    Predictions,
    annotation_files,
    check_predictions,
    read_ground_truth,
    read_predictions,
)
from .image import ImageMetrics, PairScores, score_pairs, warnings_of

_SACO_FILE = re.compile(
    r"(?:gold|silver)_(?P<subset>.+?)(?:_merged)?_(?P<annotator>[a-z])_release_test\.json(?:\.gz)?$"
)

# As table 3 of the paper heads its columns, in its order.
COLUMN_NAMES = {
    "metaclip_nps": "MetaCLIP",
    "sa1b_nps": "SA-1B",
    "crowded": "Crowded",
    "fg_food": "Food & Drink",
    "fg_sports_equipment": "Sports Equip.",
    "attributes": "Attributes",
    "wiki_common": "Wiki-Common",
}


@dataclasses.dataclass(frozen=True)
class Subset:
    """A named part of a benchmark: the ground truth of each annotator."""

    name: str
    truths: tuple[GroundTruth, ...]


@dataclasses.dataclass(frozen=True)
class Scoreboard:
    """One system's metrics on every subset of a benchmark (a single set is a benchmark of one)."""

    system: str
    subsets: Mapping[str, ImageMetrics]

    @property
    def mean(self) -> dict[str, float]:
        """The plain mean of the subsets' headline numbers, as in table 3 of the paper."""
        metrics = list(self.subsets.values())
        return {
            name: sum(float(getattr(one, name)) for one in metrics) / len(metrics)
            for name in ("cgF1", "IL_MCC", "pmF1")
        }

    @property
    def scores(self) -> PairScores:
        """The pairs of all subsets, one after the other."""
        return PairScores.merge(one.scores for one in self.subsets.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics of a single set, or ``subsets`` with their plain mean on top; JSON-ready."""
        if len(self.subsets) == 1:
            return next(iter(self.subsets.values())).to_dict()
        return {**self.mean, "subsets": {name: one.to_dict() for name, one in self.subsets.items()}}


def read_benchmark(paths: Sequence[Path], iou_type: IouType = "segm") -> list[Subset]:
    """Read annotation files, or all of a folder, grouped into subsets in the order of the paper's table.

    A folder's annotations are its files ``*.json`` and ``*.json.gz``, or where it has none those in its
    ``annotations/``. What litetext itself writes beside annotations and predictions does not count.
    """
    files = annotation_files(paths)
    if not files:
        raise LitetextError("give --gt FILE")
    matches = [_SACO_FILE.search(file.name) for file in files]
    grouped: dict[str, list[Path]] = {}
    for file, match in zip(files, matches, strict=True):
        grouped.setdefault(match["subset"] if match and all(matches) else "", []).append(file)
    known = {name: number for number, name in enumerate(COLUMN_NAMES)}
    names = sorted(grouped, key=lambda name: (known.get(name, len(known)), name))
    return [Subset(name, tuple(read_ground_truth(file, iou_type) for file in grouped[name])) for name in names]


def read_system(path: Path, subsets: Sequence[Subset], iou_type: IouType = "segm") -> dict[str, Predictions]:
    """Read a system's predictions for every subset: one file for all, or a folder with one file a subset.

    In a folder, the file of a subset is ``SUBSET.json``, or else the one whose path below the folder contains the
    subset's name. One file for all needs pair ids that no two subsets share.
    """
    if path.is_dir():
        return {subset.name: read_predictions(file_of(path, subset.name), iou_type) for subset in subsets}
    predictions = read_predictions(path, iou_type)
    if len(subsets) > 1:
        _check_ids_differ(path, subsets)
    check_predictions(predictions, [truth for subset in subsets for truth in subset.truths])
    return {subset.name: _part(predictions, subset) for subset in subsets}


def score_system(
    system: str,
    predictions: Mapping[str, Predictions],
    subsets: Sequence[Subset],
    *,
    processes: int = 1,
    progress: Progress = no_progress,
) -> Scoreboard:
    """Score a system on every subset."""
    metrics = {}
    done, total = 0, sum(len(subset.truths[0].pairs) for subset in subsets)
    for subset in subsets:
        own = predictions[subset.name]
        warnings = check_predictions(own, subset.truths)
        scores = score_pairs(subset.truths, own, processes=processes, progress=shifted(progress, done, total))
        done += len(subset.truths[0].pairs)
        metrics[subset.name] = ImageMetrics(scores, own.iou_type, (*warnings, *warnings_of(subset.truths, scores)))
    return Scoreboard(system, metrics)


def retention(boards: Sequence[Scoreboard], parameters: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return how much of the first system's mean cgF1 each system keeps (percent), with its text parameters if known.

    ``parameters``: of the text encoder, by system name; compression is the first system's over the system's own.
    """
    teacher = boards[0]
    rows = []
    for board in boards:
        own, first = parameters.get(board.system), parameters.get(teacher.system)
        kept = 100 * board.mean["cgF1"] / teacher.mean["cgF1"] if teacher.mean["cgF1"] else None
        rows.append(
            {
                "system": board.system,
                **board.mean,
                "retained": kept,
                "parameters": own,
                "compression": first / own if own and first else None,
            }
        )
    return rows


def file_of(folder: Path, subset: str) -> Path:
    """Return the predictions of a subset in a folder of one file a subset."""
    # Beside each file of predictions that we wrote lies one that says which run it was.
    files = [file for file in sorted(folder.rglob("*.json")) if not file.name.endswith(".run.json")]
    # One subset's name may be a part of another's, so a file that is named just so goes first.
    exact = [file for file in files if file.stem == subset]
    files = exact or [file for file in files if subset in str(file.relative_to(folder))]
    if len(files) != 1:
        found = ", ".join(str(file) for file in files) or "none"
        wanted = f"the name {subset!r} in its path" if subset else "that name"
        raise LitetextError(f"{folder}: one .json file must have {wanted}; found: {found}")
    return files[0]


def _check_ids_differ(path: Path, subsets: Sequence[Subset]) -> None:
    owner: dict[Any, str] = {}
    for subset in subsets:
        for id in subset.truths[0].pairs:
            if owner.setdefault(id, subset.name) != subset.name:
                raise LitetextError(
                    f"{path}: pair {id!r} is in the subsets {owner[id]} and {subset.name}; give a folder with one "
                    "predictions file a subset"
                )


def _part(predictions: Predictions, subset: Subset) -> Predictions:
    images = {id[0] if isinstance(id, tuple) else id for truth in subset.truths for id in truth.pairs}
    kept = {image: regions for image, regions in predictions.regions.items() if image in images}
    return dataclasses.replace(predictions, regions=kept)
