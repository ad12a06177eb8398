"""Predict, then score: run a system over the pairs of a ground truth file, and go on where a killed run stopped.

What a run is, is said by its settings, the pairs it is asked, and the images, of which the contents count: other images
under the same names are another run. See `litetext.journal` for how it goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import LitetextError
from ..journal import write_resumable
from ..progress import Progress, no_progress
from ..results.formats import coco, saco
from ..results.formats.saco import GroundTruth, Pair

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

_SAMPLE = 4096  # bytes at the start, in the middle and at the end of a file

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
    overwrite: bool = False,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> Path:
    """Write a system's predictions for every pair of a ground truth file (COCO results with ``presence``).

    Boxes are divided by the image size for SA-Co files, in pixels for COCO and LVIS.

    Args:
        system: what predicts.
        truth: the pairs.
        images: the folder of the images that ``truth`` names.
        destination: the file to write; where this very run finished it before, it is left as it is.
        settings: what identifies the system: model, text, …, JSON values.
        progress: counts images.
        overwrite: replace the predictions of another run.
        facts: what else to record about the run, asked at its end.

    Raises:
        LitetextError: an image is missing or of another size, or ``destination`` is of another run, or not ours.
    """
    by_image = pairs_by_image(truth, images)

    def results(name: str) -> Iterator[dict[str, Any]]:
        pairs = by_image[name]
        found = system.segment(images / name, [pair.prompt for pair in pairs], threshold=LOWEST_SCORE)
        _check_image(images / name, found.size, pairs)
        return _results(found, pairs, min(truth.categories))

    run = {
        "settings": {**settings, "threshold": LOWEST_SCORE},
        "pairs": fingerprint(truth),
        "images": files_fingerprint(images, by_image),
    }
    return write_resumable(destination, run, list(by_image), results, progress, overwrite=overwrite, facts=facts)


def files_fingerprint(folder: Path, names: Iterable[str]) -> str:
    """Return a hash of a folder's path and of files in it: names, sizes, times of change, and samples of contents."""
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for name in names:
        with (folder / name).open("rb") as file:
            status = os.fstat(file.fileno())
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns} ".encode(errors="surrogatepass"))
            for start in (0, status.st_size // 2, max(0, status.st_size - _SAMPLE)):
                file.seek(start)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def pairs_by_image(truth: GroundTruth, images: Path) -> dict[str, list[Pair]]:
    """Return the pairs of each image file, in file order.

    Args:
        truth: the pairs.
        images: the folder of the images that ``truth`` names.

    Raises:
        LitetextError: a pair that names no image, or images that are missing.
    """
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


def images_fingerprint(truth: GroundTruth, images: Path) -> str:
    """Return a hash of the pairs and images that a run is about."""
    return fingerprint(truth) + files_fingerprint(images, pairs_by_image(truth, images))


def fingerprint(truth: GroundTruth) -> str:
    """Return a hash of the pairs, images and prompts that a run is about."""
    text = "\n".join(f"{pair.id} {pair.file_name} {pair.prompt}" for pair in truth.pairs.values())
    return hashlib.sha256(text.encode()).hexdigest()


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
