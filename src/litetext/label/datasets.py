"""Datasets out of a job: one folder a format, split into ``train`` and ``val``, with the images where trainers look."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import choice_error
from ..files import write_json
from ..outputs import RECORD, atomic_folder
from ..progress import Progress, no_progress
from ..results import ImageAnnotations
from ..results.formats import coco, label_studio, labelme, pascal_voc, saco, table, yolo
from .job import ImageEntry, Job
from .store import Store

FORMATS = ("coco", "csv", "label-studio", "labelme", "saco", "voc", "yolo")
"""What a job can write."""

IMAGES = ("link", "copy", "none")
"""What becomes of the images in formats that want them beside the labels: links to them, copies, or nothing."""

SPLITS = ("train", "val")

_WITH_IMAGES = {"yolo": "images", "labelme": ".", "voc": "JPEGImages"}
"""Where a format has its images."""

Labels = Callable[[str | None], Iterator[tuple[ImageEntry, ImageAnnotations]]]
"""The labelled images of a split, or of all."""


def write_datasets(
    job: Job,
    formats: Sequence[str],
    *,
    images: str = "link",
    url_prefix: str = "",
    progress: Progress = no_progress,
) -> list[Path]:
    """Write a labelled job as datasets, each folder as a whole.

    Args:
        job: labelled to the end.
        formats: some of `FORMATS`.
        images: one of `IMAGES`; images that are no files of their own are always written out, unless ``"none"``.
        url_prefix: put before names for Label Studio, see `litetext.results.formats.label_studio`.
        progress: counts images, all formats together.

    Returns:
        The folders.

    Raises:
        LitetextError: an unknown format, or a folder whose files were changed since they were written.
    """
    check_formats(formats, images)
    store, entries = job.store(), sum(entry.is_labeled for entry in job.entries())
    folders: list[Path] = []
    for name in dict.fromkeys(formats):
        done = _Done(progress, len(folders) * entries, len(set(formats)) * entries)
        with atomic_folder(job.folder / name, "labelled dataset", overwrite=True) as folder:
            _write(name, folder, lambda split, done=done: done.over(_labels(job, store, split)), job, url_prefix)  # type: ignore[misc]
            if images != "none" and name in _WITH_IMAGES:
                _place_images(job, folder, name, images)
        folders.append(job.folder / name)
    return folders


def formats_in(folder: Path) -> list[str]:
    """Return the formats that a job's folder holds already, so that none of them is left behind by new thresholds."""
    return [name for name in FORMATS if (folder / name / RECORD).is_file()]


def check_formats(formats: Sequence[str], images: str = "link") -> None:
    """Raise a `LitetextError` for a format, or a way with images, that there is not."""
    for name in formats:
        if name not in FORMATS:
            raise choice_error("format", name, FORMATS)
    if images not in IMAGES:
        raise choice_error("way with images", images, IMAGES)


def _labels(job: Job, store: Store, split: str | None) -> Iterator[tuple[ImageEntry, ImageAnnotations]]:
    for entry in job.entries():
        if entry.is_labeled and split in (None, entry.split(job.settings.val)):
            yield entry, job.settled(store.instances(entry.sha256)).annotations(entry.name)


def _write(name: str, folder: Path, labels: Labels, job: Job, url_prefix: str) -> None:
    if name == "label-studio":
        label_studio.write((image for _, image in labels(None)), folder / "tasks.json", url_prefix=url_prefix)
        return
    if name == "yolo":
        yolo.write(_under_split(labels, job), folder, train="images/train", val="images/val")
        return
    for split in SPLITS:
        images = (image for _, image in labels(split))
        if name == "labelme":
            labelme.write(images, folder / split)
        elif name == "voc":
            pascal_voc.write(images, folder / "Annotations" / split)
        elif name == "coco":
            coco.write(images, folder / f"{split}.json")
        elif name == "csv":
            table.write(images, folder / f"{split}.csv")
        else:
            source = f"litetext label with {job.settings.model.name}"
            write_json(folder / f"{split}.json", saco.document(_pairs(images), "labels", source), indent=None)


def _under_split(labels: Labels, job: Job) -> Iterator[ImageAnnotations]:
    for entry, image in labels(None):
        yield replace(image, file_name=f"{entry.split(job.settings.val)}/{image.file_name}")


def _pairs(images: Iterator[ImageAnnotations]) -> Iterator[saco.TruthPair]:
    """A pair for every image and concept; those without an object are negatives."""
    number = 0
    for image in images:
        for row, concept in enumerate(image.categories):
            number += 1
            masks = image.masks[image.category_index == row]
            yield saco.TruthPair(number, image.file_name, concept, masks)


def _place_images(job: Job, folder: Path, name: str, way: str) -> None:
    """Put the images where a format looks for them."""
    for entry in job.entries():
        if not entry.is_labeled:
            continue
        split = entry.split(job.settings.val)
        place = folder / _WITH_IMAGES[name] / split / entry.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not entry.ref.is_file:
            place.write_bytes(entry.ref.read())
        elif way == "link":
            place.symlink_to(Path(entry.ref.path).resolve())
        else:
            shutil.copyfile(entry.ref.path, place)


class _Done:
    """Counts the images that one format was written of, and tells the progress of all."""

    def __init__(self, progress: Progress, before: int, total: int) -> None:
        self._progress, self._done, self._total = progress, before, total

    def over(
        self, labels: Iterator[tuple[ImageEntry, ImageAnnotations]]
    ) -> Iterator[tuple[ImageEntry, ImageAnnotations]]:
        """Yield ``labels``, counted."""
        for one in labels:
            yield one
            self._done += 1
            self._progress(self._done, self._total)
