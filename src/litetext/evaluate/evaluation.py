"""Image evaluation from files to one typed report: any number of systems against one benchmark."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LitetextError
from ..progress import Progress, described, no_progress
from ..results.formats.saco import IouType, Predictions
from .calibrate import Calibration, calibrate
from .compare import Comparison, compare, group_metrics, groups_of
from .tables import Scoreboard, Subset, read_benchmark, read_system, retention, score_system

Groups = Mapping[str, Mapping[str, Mapping[str, float | None]]]


@dataclass(frozen=True)
class SystemEvaluation:
    """One system's part of an `EvaluationReport`.

    Attributes:
        scoreboard: its metrics on every subset.
        groups: the headline numbers by kind and name of a group of pairs (prompt length, instances, seen words).
        calibration: by subset; None where it was not asked for.
        predictions: what was scored, by subset.
        text_parameters: parameters of its text encoder, where they are known.
    """

    scoreboard: Scoreboard
    groups: Groups
    calibration: Mapping[str, Calibration] | None
    predictions: Mapping[str, Predictions]
    text_parameters: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics, groups and calibration, JSON-ready."""
        document = {**self.scoreboard.to_dict(), "groups": self.groups}
        if self.calibration is not None:
            parts = {name: part.to_dict() for name, part in self.calibration.items()}
            document["calibration"] = parts if len(parts) > 1 else next(iter(parts.values()))
        return document


@dataclass(frozen=True)
class EvaluationReport:
    """The scores of one or several systems on a benchmark.

    Attributes:
        systems: by name, in the order given; the first is the one that the others are compared with.
        comparisons: of every further system with the first, by its name.
        subsets: the ground truth.
    """

    systems: Mapping[str, SystemEvaluation]
    comparisons: Mapping[str, Comparison]
    subsets: Sequence[Subset]

    @property
    def scoreboards(self) -> list[Scoreboard]:
        """The metrics of every system."""
        return [system.scoreboard for system in self.systems.values()]

    @property
    def retention(self) -> list[dict[str, Any]]:
        """How much of the first system's mean cgF1 each system keeps, see `litetext.evaluate.tables.retention`."""
        counts = {name: system.text_parameters for name, system in self.systems.items()}
        return retention(self.scoreboards, {name: count for name, count in counts.items() if count is not None})

    def to_dict(self) -> dict[str, Any]:
        """Return one system's figures, or all systems' with retention and comparisons; JSON-ready."""
        documents = {name: system.to_dict() for name, system in self.systems.items()}
        if len(documents) == 1:
            return next(iter(documents.values()))
        comparisons = {name: comparison.to_dict() for name, comparison in self.comparisons.items()}
        return {
            "systems": documents,
            "retention": self.retention,
            "comparisons": {"first": next(iter(documents)), "with": comparisons},
        }

    def save_html(self, path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> None:
        """Write one self-contained page with the numbers and the worst cases drawn.

        Args:
            path: the file.
            images: the folder of the photos, to draw the cases on; without it they are drawn on gray.
        """
        from .report import write_report

        write_report(
            Path(path),
            self.scoreboards,
            self.subsets,
            {name: system.predictions for name, system in self.systems.items()},
            self.to_dict(),
            images=Path(images) if images is not None else None,
        )


def evaluate(
    ground_truths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    predictions: Mapping[str, str | os.PathLike[str]],
    *,
    iou_type: IouType = "segm",
    seen_words: Collection[str] | None = None,
    calibration: bool = False,
    resamples: int = 1000,
    processes: int = 1,
    text_parameters: Mapping[str, int] | None = None,
    progress: Progress = no_progress,
) -> EvaluationReport:
    """Score systems against ground truth files, and compare all of them with the first.

    Args:
        ground_truths: annotation files, or folders of them; files named as SA-Co Gold's are grouped into subsets.
        predictions: by name of the system a COCO results file, or a folder with one file a subset.
        iou_type: of masks (``segm``) or boxes (``bbox``).
        seen_words: words of a training list; prompts are then also grouped by whether every word was in it.
        calibration: search the best thresholds and measure reliability.
        resamples: draws of the bootstrap behind the comparisons' intervals.
        processes: that large sets are scored in.
        text_parameters: parameters of the text encoder, by name of the system.
        progress: its descriptions say what is being done.

    Raises:
        LitetextError: no predictions, or malformed input; the message names file, entry and key.
    """
    paths = [ground_truths] if isinstance(ground_truths, str | os.PathLike) else list(ground_truths)
    if not predictions:
        raise LitetextError("nothing to score: give the predictions of one system or more")
    subsets = read_benchmark([Path(path) for path in paths], iou_type)
    read: dict[str, Mapping[str, Predictions]] = {}
    for done, (name, path) in enumerate(predictions.items(), start=1):
        read[name] = read_system(Path(path), subsets, iou_type)
        progress(done, len(predictions), "reading predictions")
    return evaluate_systems(
        subsets,
        read,
        seen_words=seen_words,
        calibration=calibration,
        resamples=resamples,
        processes=processes,
        text_parameters=text_parameters,
        progress=progress,
    )


def evaluate_systems(
    subsets: Sequence[Subset],
    predictions: Mapping[str, Mapping[str, Predictions]],
    *,
    seen_words: Collection[str] | None = None,
    calibration: bool = False,
    resamples: int = 1000,
    processes: int = 1,
    text_parameters: Mapping[str, int] | None = None,
    progress: Progress = no_progress,
) -> EvaluationReport:
    """Score systems whose predictions have been read; arguments as `evaluate` takes them.

    Args:
        subsets: the ground truth, see `litetext.evaluate.tables.read_benchmark`.
        predictions: by name of the system and of the subset.
        seen_words: see `evaluate`.
        calibration: see `evaluate`.
        resamples: see `evaluate`.
        processes: see `evaluate`.
        text_parameters: see `evaluate`.
        progress: see `evaluate`.
    """
    systems = {}
    for name, own in predictions.items():
        board = score_system(name, own, subsets, processes=processes, progress=described(progress, f"scoring {name}"))
        found = _calibrations(name, own, subsets, progress) if calibration else None
        systems[name] = SystemEvaluation(
            board, _groups(board, seen_words), found, own, (text_parameters or {}).get(name)
        )
    first, *others = systems
    comparisons = {
        name: compare(
            systems[first].scoreboard.scores,
            systems[name].scoreboard.scores,
            seen_words=seen_words,
            resamples=resamples,
        )
        for name in others
    }
    return EvaluationReport(systems, comparisons, subsets)


def _groups(board: Scoreboard, seen_words: Collection[str] | None) -> Groups:
    scores = board.scores
    return {
        kind: {name: {"pairs": int(rows.sum()), **group_metrics(scores, rows)} for name, rows in parts.items()}
        for kind, parts in groups_of(scores, seen_words).items()
    }


def _calibrations(
    system: str, predictions: Mapping[str, Predictions], subsets: Sequence[Subset], progress: Progress
) -> dict[str, Calibration]:
    return {
        subset.name: calibrate(
            subset.truths,
            predictions[subset.name],
            progress=described(progress, f"calibrating {subset.name or system}"),
        )
        for subset in subsets
    }
