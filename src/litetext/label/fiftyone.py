"""A labelled job in FiftyOne: `pip install fiftyone`, then `load_job` and `fiftyone.launch_app(dataset)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import LitetextError
from ..files import atomic_path
from ..results import Instances
from ..results.masks import whole_box
from .job import ImageEntry, Job

FIELD = "litetext"
"""The field of a sample that holds its detections."""


def load_job(
    folder: str | Path, name: str | None = None, *, persistent: bool = False, images: Path | None = None
) -> Any:
    """Return a FiftyOne dataset of a labelled job: boxes, masks and scores, tagged ``train`` and ``val``.

    Args:
        folder: of the job.
        name: of the dataset; None lets FiftyOne choose.
        persistent: whether it outlives the session in FiftyOne's database.
        images: where to write images that are no files of their own (in ``.tar``, ``.parquet``, behind addresses).

    Returns:
        A ``fiftyone.Dataset``; a sample's detections are in its field `FIELD`.

    Raises:
        LitetextError: FiftyOne is not installed, the job was not finished, or an image is no file and ``images`` is
            not given.
    """
    fiftyone = _fiftyone()
    found = list(samples(Job.open(Path(folder)), images))
    dataset = fiftyone.Dataset(name, persistent=persistent)
    dataset.add_samples(found)
    return dataset


def samples(job: Job, images: Path | None = None) -> Iterator[Any]:
    """Yield a ``fiftyone.Sample`` for every labelled image, see `load_job`."""
    fiftyone, store = _fiftyone(), job.store()
    for entry in job.entries():
        if entry.is_labeled:
            sample = fiftyone.Sample(filepath=str(_file(entry, images)), tags=[entry.split(job.settings.val)])
            sample[FIELD] = _detections(fiftyone, job.settled(store.instances(entry.sha256)))
            yield sample


def _fiftyone() -> Any:
    try:
        import fiftyone
    except ImportError:
        raise LitetextError("FiftyOne is not installed; pip install fiftyone") from None
    return fiftyone


def _file(entry: ImageEntry, images: Path | None) -> Path:
    """Where an image is, written out if it is no file of its own."""
    if entry.ref.is_file:
        return Path(entry.ref.path).absolute()
    if images is None:
        raise LitetextError(f"{entry.name} lies in {entry.ref.path}; give images=DIR to write such images to")
    place = images.absolute() / entry.name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(place) as temporary:
            temporary.write_bytes(entry.ref.read())
    return place


def _detections(fiftyone: Any, found: Instances) -> Any:
    names = [found.prompts[row] for row in found.prompt_index.tolist()]
    boxes = [whole_box(box, found.size) for box in found.masks.boxes.tolist()]
    several = zip(names, boxes, found.scores.tolist(), range(len(names)), strict=True)
    return fiftyone.Detections(
        detections=[
            fiftyone.Detection(
                label=name,
                bounding_box=_relative(box, found.size),
                mask=found.masks[row][box[1] : box[3], box[0] : box[2]],
                confidence=score,
            )
            for name, box, score, row in several
        ]
    )


def _relative(box: Sequence[int], size: tuple[int, int]) -> list[float]:
    """A box x1, y1, x2, y2 in pixels as x, y, width, height in parts of the image."""
    (x1, y1, x2, y2), (height, width) = box, size
    return [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
