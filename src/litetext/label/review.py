"""A page to review a job on: a sample of its detections, drawn; accepted and rejected by keys; decisions saved as JSON.

The page holds everything and asks nothing of a network. Decisions are kept by the browser until they are saved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import LitetextError, choice_error, extras_named
from ..images import read_image
from ..outputs import blank_seal, sealed_file
from ..progress import Progress, no_progress
from ..results import ImageAnnotations, Masks
from ..results.drawing import data_uri, overlay
from ..results.masks import whole_box
from ..results.rle import mask_ious
from .calibration import KIND, Decision
from .job import ImageEntry, Job

if TYPE_CHECKING:
    from PIL import Image

SAMPLES = ("random", "margin")
"""How detections are chosen: at random, which alone can prove a precision, or those nearest to the threshold."""

_MARGIN = 0.35  # of the box's sides, shown around it
_SIDE = 224  # pixels of a picture
_SAME = 0.5  # IoU from which on an annotation is the detection


@dataclass(frozen=True, slots=True)
class Detection:
    """A detection to review.

    Attributes:
        entry: its image.
        concept: its row among the job's concepts.
        score: of it.
        masks: its mask, as `Masks` of one.
    """

    entry: ImageEntry
    concept: int
    score: float
    masks: Masks


def sampled(
    job: Job,
    per_concept: int = 100,
    *,
    sample: str = "random",
    lowest: float | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[Detection]:
    """Return detections of each concept, those nearest to its threshold first.

    Args:
        job: labelled to the end.
        per_concept: how many, at most.
        sample: one of `SAMPLES`.
        lowest: score of detections to choose from; by default each concept's threshold: what is in the dataset.
        seed: of the random choice, which is the same for the same images whatever their order.
        progress: counts images.

    Raises:
        LitetextError: an unknown sample, or a lowest score below what was kept.
    """
    if sample not in SAMPLES:
        raise choice_error("sample", sample, SAMPLES)
    if lowest is not None and lowest < job.keep:
        raise LitetextError(f"scores below {job.keep:g} were not kept, so none from {lowest:g} on can be reviewed")
    reviewed = job if lowest is None else job.with_concepts([replace(one, threshold=lowest) for one in job.concepts])
    store = job.store()
    best: list[dict[float, Detection]] = [{} for _ in job.concepts]
    for number, entry in enumerate(job.entries(), start=1):
        if entry.is_labeled and not entry.duplicate_of:
            found = reviewed.settled(store.instances(entry.sha256))
            for row, concept in enumerate(found.prompt_index.tolist()):
                one = Detection(entry, concept, float(found.scores[row]), found.masks[[row]])
                rank = _draw(one, seed) if sample == "random" else _margin(one, job)
                _keep_lowest(best[concept], rank, one, per_concept)
        progress(number, None)
    chosen = [one for several in best for one in several.values()]
    return sorted(chosen, key=lambda one: (_margin(one, job), one.entry.name))


def write_page(
    job: Job, detections: Sequence[Detection], destination: Path, *, sample: str, progress: Progress = no_progress
) -> int:
    """Write the page; return how many detections are on it: those of images that cannot be read any more are not.

    Args:
        job: of the detections.
        detections: from `sampled`.
        destination: the file.
        sample: how they were chosen.
        progress: counts detections.
    """
    with extras_named("label"):
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    items = list(_items(job, detections, progress))
    reports = resources.files(__package__.rpartition(".")[0]) / "reports" / "templates"
    seal = blank_seal("review page")
    key = hashlib.sha256(json.dumps([(item["image"], item["concept"], item["score"]) for item in items]).encode())
    head = decisions_document(job, [], sample)
    with sealed_file(destination, "review page") as temporary:
        page = environment.get_template("review.html").render(
            items=items,
            concepts=[concept.name for concept in job.concepts],
            head=head,
            storage=f"litetext-review-{key.hexdigest()[:16]}",
            style=Markup((reports / "style.css").read_text("utf-8")),
            mark=seal,
            version=__version__,
        )
        temporary.write_text(page, encoding="utf-8")
    return len(items)


def _draw(one: Detection, seed: int) -> float:
    """A number from 0 to 1 that is as good as random, and always the same for a detection."""
    words = f"{seed} {one.entry.sha256} {one.concept} ".encode() + one.masks.counts[0]
    return int.from_bytes(hashlib.sha256(words).digest()[:7], "big") / (1 << 56)


def _margin(one: Detection, job: Job) -> float:
    return abs(one.score - job.concepts[one.concept].threshold)


def _keep_lowest(best: dict[float, Detection], rank: float, one: Detection, count: int) -> None:
    """Add a detection, and let go of the one with the highest rank where there are too many."""
    while rank in best:
        rank = float(np.nextafter(rank, 2))
    if len(best) < count:
        best[rank] = one
    elif best and rank < (worst := max(best)):
        del best[worst]
        best[rank] = one


def _items(job: Job, detections: Sequence[Detection], progress: Progress) -> Iterator[dict[str, object]]:
    by_image: dict[str, list[int]] = {}
    for place, one in enumerate(detections):
        by_image.setdefault(one.entry.name, []).append(place)
    pictures: dict[int, str] = {}
    for places in by_image.values():  # an image is read once for all its detections
        for place, picture in zip(places, _pictures([detections[place] for place in places]), strict=False):
            pictures[place] = picture
        progress(len(pictures), len(detections))
    for place, one in enumerate(detections):
        if place in pictures:
            concept = job.concepts[one.concept]
            yield {
                "image": one.entry.name,
                "concept": concept.name,
                "score": round(one.score, 6),
                "margin": round(one.score - concept.threshold, 3),
                "picture": pictures[place],
            }


def _pictures(several: Sequence[Detection]) -> list[str]:
    """The detections of one image, drawn; none where its file is gone or has changed."""
    try:
        content = several[0].entry.ref.read()
        if hashlib.sha256(content).hexdigest() != several[0].entry.sha256:
            return []
        photo = read_image(content)
    except LitetextError:
        return []
    return [data_uri(_picture(photo, one)) for one in several]


def _picture(photo: NDArray[np.uint8], one: Detection) -> Image.Image:
    x1, y1, x2, y2 = one.masks.boxes[0].tolist()
    around = _MARGIN * max(x2 - x1, y2 - y1, 8)
    x1, y1, x2, y2 = whole_box([x1 - around, y1 - around, x2 + around, y2 + around], one.masks.size)
    masks = one.masks.crop((x1, y1, x2, y2))
    crop = np.ascontiguousarray(photo[y1:y2, x1:x2])
    return overlay(crop, masks, masks.boxes, np.array([one.concept]), None, _SIDE)


def decisions_from_annotations(
    job: Job, detections: Sequence[Detection], annotations: Iterable[ImageAnnotations]
) -> list[Decision]:
    """Return decisions on detections whose images people corrected elsewhere, such as in Label Studio.

    A detection is right where an annotation of its concept overlaps it by an IoU of `_SAME` or more; detections of
    images that are not among the annotations are undecided.

    Args:
        job: of the detections.
        detections: from `sampled`.
        annotations: of the images, by the job's names, whatever stands before them.
    """
    images = {image.file_name: image for image in annotations}
    of_name = {name: _of_name(images, name) for name in {one.entry.name for one in detections}}
    decisions = []
    for one in detections:
        image, concept = of_name[one.entry.name], job.concepts[one.concept].name
        accepted = None if image is None else _is_in(one, concept, image)
        decisions.append(Decision(one.entry.name, concept, one.score, accepted))
    return decisions


def _of_name(images: Mapping[str, ImageAnnotations], name: str) -> ImageAnnotations | None:
    """The image of a name, before which there may be an address; none where several could be meant."""
    if name in images:
        return images[name]
    for before in ("=", "/"):
        found = [image for other, image in images.items() if other.endswith(before + name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _is_in(one: Detection, concept: str, image: ImageAnnotations) -> bool:
    rows = [row for row, label in enumerate(image.labels) if label == concept]
    if not rows or image.size != one.masks.size:
        return False
    return bool(mask_ious(one.masks.counts, image.masks[rows].counts, image.size).max() >= _SAME)


def decisions_document(job: Job, decisions: Sequence[Decision], sample: str) -> dict[str, object]:
    """Return decisions as the page saves them."""
    entries = [
        {"image": one.image, "concept": one.concept, "score": one.score, "accepted": one.accepted} for one in decisions
    ]
    return {"kind": KIND, "version": 1, "job": job.shards.name, "sample": sample, "decisions": entries}
