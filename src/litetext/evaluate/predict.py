"""Predict, then score: run a system over the pairs of a ground truth file, and go on where a killed run stopped.

Every image's results are appended to a journal beside the output (one JSON line an image) as soon as they are there.
A second run with the same settings skips the images of the journal; with other settings it refuses. When all images
are done the journal becomes the predictions file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import LitetextError
from ..files import atomic_path, write_json
from ..progress import Progress, no_progress
from ..results.formats import coco, saco
from .formats import GroundTruth, Pair

if TYPE_CHECKING:
    from ..results import Instances

BASELINES = {
    "grounding-dino": "IDEA-Research/grounding-dino-base",
    "llmdet": "iSEE-Laboratory/llmdet_large",
    "mm-grounding-dino": "openmmlab-community/mm_grounding_dino_large_all",
    "owlv2": "google/owlv2-large-patch14-ensemble",
    "owlvit": "google/owlvit-large-patch14",
}
"""The detectors by name, with their usual checkpoint on the hub."""

MASKS = "facebook/sam-vit-huge"
"""The usual checkpoint that turns boxes into masks; any mask generation model of transformers does (SAM, SAM 2, …)."""

LOWEST_SCORE = 0.1
"""Predictions are kept from here on, so that thresholds can be calibrated; scoring counts them from 0.5."""


class System(Protocol):
    """Anything that finds noun phrases in an image; `litetext.segment.Segmenter` is one."""

    def segment(self, images: Path, prompts: Sequence[str], *, threshold: float) -> Instances:
        """Return what is found for each prompt with a score of at least ``threshold``."""
        ...


def predict(
    system: System,
    truth: GroundTruth,
    images: Path,
    destination: Path,
    *,
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
) -> Path:
    """Write a system's predictions for every pair of a ground truth file (COCO results with ``presence``).

    ``settings`` (model, text, …, JSON values) and the pairs identify the run: a journal of another run is refused
    with a `LitetextError`. An output that this very run finished before is left as it is. ``progress`` counts
    images. Boxes are divided by the image size for SA-Co files, in pixels for COCO and LVIS.
    """
    by_image = _pairs_by_image(truth, images)

    def results(name: str) -> Iterator[dict[str, Any]]:
        pairs = by_image[name]
        found = system.segment(images / name, [pair.prompt for pair in pairs], threshold=LOWEST_SCORE)
        _check_image(images / name, found.size, pairs)
        return _results(found, pairs, min(truth.categories))

    header = {"settings": {**settings, "threshold": LOWEST_SCORE}, "pairs": fingerprint(truth)}
    return write_resumable(destination, header, list(by_image), results, progress)


def write_resumable(
    destination: Path,
    header: Mapping[str, Any],
    units: Sequence[str],
    results: Callable[[str], Iterable[Mapping[str, Any]]],
    progress: Progress,
) -> Path:
    """Write the results of all ``units`` (images, videos) as one JSON list, unit by unit through a journal.

    ``header`` says what the run is: a journal or an output of another run is refused. ``progress`` counts units,
    those of an earlier run at once.
    """
    journal = destination.with_name(destination.name + ".partial")
    finished = destination.with_name(destination.name + ".run.json")
    if destination.exists():
        _check_same_run(destination, _read_line(finished), header)
        progress(len(units), len(units))
        return destination
    done = _done_units(journal, header)
    count = len(done)
    progress(count, len(units))
    destination.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file:
        if not journal.stat().st_size:
            _append(file, header)
        for unit in units:
            if unit not in done:
                _append(file, {"unit": unit, "results": list(results(unit))})
                count += 1
                progress(count, len(units))
    with atomic_path(destination) as path, path.open("w", encoding="utf-8") as output:
        _write_results(journal, output)
    write_json(finished, header, indent=None)
    journal.unlink()
    return destination


def _pairs_by_image(truth: GroundTruth, images: Path) -> dict[str, list[Pair]]:
    """The pairs of each image file, in file order. Missing images are reported before any prediction."""
    by_image: dict[str, list[Pair]] = {}
    for pair in truth.pairs.values():
        if not pair.file_name:
            raise LitetextError(f"{truth.name}: pair {pair.id!r} has no 'file_name'; prediction needs the images")
        by_image.setdefault(pair.file_name, []).append(pair)
    missing = [name for name in by_image if not (images / name).is_file()]
    if missing:
        raise LitetextError(
            f"{images / missing[0]}: no such file ({len(missing)} of {len(by_image)} images are missing)"
        )
    return by_image


def fingerprint(truth: GroundTruth) -> str:
    """Return a hash of the pairs, images and prompts that a run is about."""
    text = "\n".join(f"{pair.id} {pair.file_name} {pair.prompt}" for pair in truth.pairs.values())
    return hashlib.sha256(text.encode()).hexdigest()


def _check_same_run(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    if found == wanted:
        return
    settings = found.get("settings") if isinstance(found, dict) else None
    raise LitetextError(
        f"{path} is of another run ({settings or 'unknown settings'}, this one: {wanted['settings']}); score it with "
        "--pred, remove it, or choose another --save-predictions"
    )


def _done_units(journal: Path, header: Mapping[str, Any]) -> set[str]:
    """The units of a journal of this very run; a last line that a kill cut short is removed."""
    if not journal.exists() or not journal.stat().st_size:
        return set()
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)
    lines = _lines(journal)
    first = next(lines, None)
    if first is None:
        return set()
    _check_same_run(journal, first, header)
    return {line["unit"] for line in lines}


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise LitetextError(f"{path}: line {number} is damaged ({error.msg}); remove the file") from None


def _read_line(path: Path) -> Any:
    return next(_lines(path), None) if path.exists() else None


def _append(file: Any, value: Mapping[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    file.flush()
    os.fsync(file.fileno())


def _write_results(journal: Path, output: Any) -> None:
    lines = _lines(journal)
    next(lines)
    output.write("[")
    separator = "\n"
    for line in lines:
        for result in line["results"]:
            output.write(separator + json.dumps(result))
            separator = ",\n"
    output.write("\n]\n")


def _check_image(path: Path, size: tuple[int, int], pairs: Sequence[Pair]) -> None:
    if tuple(size) != pairs[0].size:
        raise LitetextError(
            f"{path} is {size[0]} x {size[1]} (height x width), but the ground truth says "
            f"{pairs[0].size[0]} x {pairs[0].size[1]}; are these the right images?"
        )


def _results(found: Instances, pairs: Sequence[Pair], category: int) -> Iterator[dict[str, Any]]:
    """One entry an instance, with the ids that its ground truth uses."""
    image = found.annotations()
    if all(isinstance(pair.id, tuple) for pair in pairs):
        ids = [pair.id for pair in pairs if isinstance(pair.id, tuple)]
        return coco.results(image, ids, presence=found.presence)
    pair_ids = [pair.id for pair in pairs if not isinstance(pair.id, tuple)]
    return saco.predictions(image, pair_ids, presence=found.presence, category_id=category)


class LazySystem:
    """A system that is loaded when the first image asks for it, so that a finished run costs nothing."""

    def __init__(self, load: Callable[[], System]) -> None:
        self._load = load
        self._system: System | None = None

    def segment(self, images: Path, prompts: Sequence[str], *, threshold: float) -> Instances:
        """As `System.segment`."""
        if self._system is None:
            self._system = self._load()
        return self._system.segment(images, prompts, threshold=threshold)


def default_destination(settings: Mapping[str, Any], fingerprints: Sequence[str]) -> Path:
    """Return where predictions go if nothing is said: the user's cache folder, by a hash of the run."""
    run = json.dumps([dict(settings), list(fingerprints)], sort_keys=True)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "litetext" / "predictions" / f"{hashlib.sha256(run.encode()).hexdigest()[:16]}.json"
