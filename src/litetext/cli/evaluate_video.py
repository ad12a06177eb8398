"""The half of ``litetext evaluate`` that is about videos: systems on SA-Co VEval's sets, a row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.table import Table

from ..errors import LitetextError
from .output import console, print_json, shown_progress, warn
from .predictor import Predictor, several_beside

if TYPE_CHECKING:
    from ..evaluate.video import VideoMetrics
    from ..results.formats.saco import IouType
    from ..results.formats.veval import VideoTruth

VideoScores: TypeAlias = "dict[str, dict[str, VideoMetrics]]"
"""System -> set -> its metrics."""

_NAMES = ("cgF1", "VL_MCC", "pmF1", "pHOTA", "pDetA", "pAssA", "TETA", "phrase_AP", "video_mAP")


def score_video(
    gt: Sequence[Path], sources: Mapping[str, Path], predictor: Predictor | None, kind: IouType
) -> VideoScores:
    """Score systems on the sets of SA-Co VEval.

    Args:
        gt: a ground truth file a set, or the folder that holds them.
        sources: the predictions of each system: a file, or for several sets a folder of one ``SET.json`` each.
        predictor: a system to run first, or None.
        kind: what overlaps.
    """
    from ..evaluate.tracking import set_name
    from ..evaluate.video import evaluate_videos
    from ..results.formats.veval import read_video_truth

    files = truth_files(gt)
    truths = {set_name(file): read_video_truth(file) for file in files}
    if len(truths) < len(files):
        raise LitetextError("two ground truth files are of one set; give a file a set")
    if not sources and predictor is None:
        raise LitetextError("nothing to score: give --pred FILE, --model NAME or --system NAME")
    scores: VideoScores = {}
    with ExitStack() as predicted:
        found = {name: {part: _file_of(path, part, truths) for part in truths} for name, path in sources.items()}
        if predictor is not None:
            found[predictor.name] = predicted.enter_context(_predicted(predictor, truths))
        for name, paths in found.items():
            for part, path in paths.items():
                with shown_progress(f"scoring {name}") as progress:
                    metrics = evaluate_videos(truths[part], path, iou_type=kind, progress=progress)
                scores.setdefault(name, {})[part] = metrics
                for warning in metrics.warnings:
                    warn(f"{name}, {part}: {warning}")
    return scores


def truth_files(gt: Sequence[Path]) -> list[Path]:
    """Return the files of ground truth among files and folders."""
    files = [file for path in gt for file in (sorted(path.glob("*veval*.json")) if path.is_dir() else [path])]
    if not files:
        raise LitetextError(f"{gt[0]} holds no SA-Co VEval file (*veval*.json); give the files with --gt")
    return files


def show_video(scores: VideoScores, as_json: bool) -> None:
    """Print the metrics: one system's on one set by their names, or a row for each system and set."""
    documents = {name: {part: one.to_dict() for part, one in parts.items()} for name, parts in scores.items()}
    alone = [document for parts in documents.values() for document in parts.values()]
    if as_json:
        print_json(alone[0] if len(alone) == 1 else {"systems": documents})
    elif len(alone) == 1:
        pairs, positive = alone[0]["pairs"], alone[0]["positive_pairs"]
        table = Table(*_NAMES, title=f"{pairs} (video, noun phrase) pairs, {positive} positive")
        table.add_row(*_cells(alone[0], _NAMES))
        console.print(table)
    else:
        names = _NAMES[:7]
        table = Table("system", "set", *names)
        for system, parts in documents.items():
            for place, (part, document) in enumerate(parts.items()):
                last = place == len(parts) - 1
                table.add_row("" if place else system, part, *_cells(document, names), end_section=last)
        console.print(table)


def _cells(document: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_number(document[name], 3 if name == "VL_MCC" else 1) for name in names]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _file_of(path: Path, part: str, truths: Mapping[str, VideoTruth]) -> Path:
    """The predictions of one set."""
    if not path.is_dir():
        if len(truths) > 1:
            raise LitetextError(f"{path} is one file for {len(truths)} sets; give a folder with SET.json for each")
        return path
    file = path / f"{part}.json"
    if not file.is_file():
        raise LitetextError(f"{path} has no {part}.json; name the predictions of each set after it")
    return file


@contextmanager
def _predicted(predictor: Predictor, truths: Mapping[str, VideoTruth]) -> Iterator[dict[str, Path]]:
    """Track every set; yield the file of each."""
    from ..evaluate.tracking import LazyVideoSystem, frames_fingerprint, frames_folder, predict_videos

    folders = {part: frames_folder(predictor.folder(), truth) for part, truth in truths.items()}
    prints = [frames_fingerprint(truth, folders[part]) for part, truth in truths.items()]
    with predictor.target(prints) as target:
        system, found = LazyVideoSystem(predictor.load), {}
        for part, truth in truths.items():
            found[part] = target if len(truths) == 1 else several_beside(target) / f"{part}.json"
            if len(truths) > 1:
                found[part].parent.mkdir(parents=True, exist_ok=True)
            with shown_progress(f"tracking {part} with {predictor.name}", len(truth.videos)) as progress:
                predict_videos(
                    system,
                    truth,
                    folders[part],
                    found[part],
                    settings=predictor.settings,
                    progress=progress,
                    overwrite=predictor.overwrite,
                )
        yield found
