"""SA-Co Gold and what is read like it: ground truth and predictions, checked when read, one small record an object.

The unit of SA-Co is the *pair* of an image and a noun phrase. Three kinds of ground truth become pairs:

- **SA-Co** (Gold, Silver): every entry of ``images`` is a pair already; one without annotations is a negative.
- **COCO**: every image with every category of the file's list; the categories absent from an image are its negatives.
- **LVIS**: an image with the categories annotated in it and with its ``neg_category_ids``; the others are unknown and
  make no pair, and ``not_exhaustive_category_ids`` make pairs that are left out, as SA-Co leaves them out.

Predictions are COCO results: a list of ``{image_id, category_id, score, segmentation (RLE), bbox}``, and optionally
``presence``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import LitetextError, choice_error, short
from ...json_files import Entry, stream_json
from ..annotations import ImageAnnotations
from ..masks import Masks
from ..rle import Size
from . import coco
from .checks import (
    ID,
    MaskCheck,
    fault,
    plain,
    require,
    require_box,
    require_list,
    require_mask,
    require_score,
    require_size,
)

STATISTICS = "stats.json"
"""The name of a file of figures that may lie in a folder of ground truth, as a drawn world has it."""

IouType = Literal["segm", "bbox"]
PairId = int | str | tuple[int | str, int]
"""The ``id`` of a SA-Co pair, or (image id, category id) where pairs were made from a COCO or LVIS file."""

RegionShape = bytes | tuple[float, float, float, float]
"""A mask as compressed RLE, or a box (x, y, width, height)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """An image and a noun phrase: ``size`` is (height, width) in pixels; not ``exhaustive``: left out of scores."""

    id: PairId
    prompt: str
    file_name: str
    size: Size
    exhaustive: bool = True

    @property
    def image(self) -> int | str:
        """What all pairs of an image have in common: its file's name, or its id where the file has no names."""
        return self.file_name or (self.id[0] if isinstance(self.id, tuple) else self.id)


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """One object: its mask (compressed RLE) or its box (x, y, width, height), by the IoU type it was read for.

    ``entry`` is its place in the file's list. ``size`` is the mask's (height, width), None for a box. ``presence`` is a
    prediction's belief that its phrase is in the image at all, where the file tells (0 to 1).
    """

    shape: RegionShape
    size: Size | None
    category: int
    entry: int
    score: float = 1.0
    crowd: bool = False
    presence: float | None = None


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """One annotator's file: pairs in file order, and the objects of those that have any (by category, then file order).

    ``by_category``: pairs were made from categories (COCO, LVIS), so a prediction belongs to (image_id, category_id);
    otherwise ``image_id`` alone names the pair, as in SA-Co.
    """

    name: str
    iou_type: IouType
    pairs: Mapping[PairId, Pair]
    regions: Mapping[PairId, Sequence[Region]]
    categories: frozenset[int]
    by_category: bool = False

    def subset(self, ids: Iterable[PairId]) -> GroundTruth:
        """Return the same annotator's file reduced to some pairs."""
        kept = {id: self.pairs[id] for id in ids}
        return dataclasses.replace(
            self, pairs=kept, regions={id: regions for id, regions in self.regions.items() if id in kept}
        )


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A system's predictions by ``image_id``, in file order (any score; the evaluator applies the threshold)."""

    name: str
    iou_type: IouType
    regions: Mapping[int | str, Sequence[Region]]

    def __len__(self) -> int:
        return sum(len(regions) for regions in self.regions.values())

    def of_pair(self, id: PairId, truth: GroundTruth) -> list[Region]:
        """Return the predictions for one pair whose category ``truth`` knows, by category, then in file order."""
        image, category = id if isinstance(id, tuple) else (id, None)
        found = self.regions.get(image, ())
        if category is not None:
            return [region for region in found if region.category == category]
        kept = [region for region in found if region.category in truth.categories]
        return sorted(kept, key=lambda region: region.category) if len(truth.categories) > 1 else kept


def annotation_files(paths: Iterable[Path]) -> list[Path]:
    """Return the annotation files among files and folders; see `litetext.evaluate.tables.read_benchmark`."""
    return [file for path in paths for file in (_annotations(path) if path.is_dir() else [path])]


def _annotations(folder: Path) -> list[Path]:
    for place in (folder, folder / "annotations"):
        files = sorted(file for kind in ("*.json", "*.json.gz") for file in place.glob(kind))
        files = [file for file in files if file.name != STATISTICS and not file.name.endswith(".run.json")]
        if files:
            return files
    raise LitetextError(f"{folder} holds no .json file of annotations; give files, or the folder that they are in")


def read_ground_truth(path: str | Path, iou_type: IouType = "segm") -> GroundTruth:
    """Read a SA-Co, COCO or LVIS annotation file; which one it is shows in its ``images``.

    Args:
        path: the file.
        iou_type: whether masks (``segm``) or boxes (``bbox``) will be compared.

    Raises:
        LitetextError: missing or mistyped keys, duplicate ids, ids that no image or category has, or masks that do not
            fit their image; the message names file, entry and key.
    """
    return _ground_truth(str(path), stream_json(path), iou_type)


def ground_truth_from(
    document: Mapping[str, Any], iou_type: IouType = "segm", name: str = "ground truth"
) -> GroundTruth:
    """Return the ground truth of an annotation document already in memory, checked as `read_ground_truth` does.

    Numbers and arrays may be numpy's, run lengths bytes, as pycocotools gives them.
    """
    entries = (
        Entry(key, index, plain(value))
        for key, values in document.items()
        for index, value in (enumerate(values) if isinstance(values, list) else [(None, values)])
    )
    return _ground_truth(name, entries, iou_type)


def read_predictions(path: str | Path, iou_type: IouType = "segm") -> Predictions:
    """Read COCO results.

    Args:
        path: the file.
        iou_type: whether masks (``segm``) or boxes (``bbox``) will be compared.

    Raises:
        LitetextError: what is missing, mistyped or not a number; the message names file, entry and key.
    """
    return _predictions(str(path), stream_json(path), iou_type)


def predictions_from(
    results: Sequence[Mapping[str, Any]], iou_type: IouType = "segm", name: str = "predictions"
) -> Predictions:
    """Return predictions already in memory (COCO results), checked as `read_predictions` does.

    Numbers and arrays may be numpy's, run lengths bytes, as pycocotools gives them.
    """
    return _predictions(name, (Entry("", index, plain(result)) for index, result in enumerate(results)), iou_type)


def check_predictions(predictions: Predictions, truths: Sequence[GroundTruth]) -> list[str]:
    """Check predictions against the ground truth they are to be scored on, and return warnings about what is dropped.

    Args:
        predictions: to check.
        truths: one an annotator or a subset.

    Raises:
        LitetextError: an ``image_id`` that no ground truth knows, a mask of another size than its image, or boxes in
            pixels against boxes divided by the image size (or the reverse).
    """
    sizes: dict[Any, Size] = {}
    for truth in truths:
        if truth.iou_type != predictions.iou_type:
            raise LitetextError(
                f"{predictions.name} was read for {predictions.iou_type}, {truth.name} for {truth.iou_type}; "
                "read both alike"
            )
        for id, pair in truth.pairs.items():
            sizes[id[0] if isinstance(id, tuple) else id] = pair.size
    categories = frozenset().union(*(truth.categories for truth in truths))
    other_category = unlisted = 0
    for image, regions in predictions.regions.items():
        if image not in sizes:
            raise LitetextError(
                f"{predictions.name}: entry {regions[0].entry}: key 'image_id': {short(image)} is not in "
                f"{_names(truths)}; predict on the images of that file"
            )
        for region in regions:
            _check_size(predictions.name, f"entry {region.entry}", region, sizes[image])
            if region.category not in categories:
                other_category += 1
            elif truths[0].by_category and (image, region.category) not in truths[0].pairs:
                unlisted += 1
    if predictions.iou_type == "bbox":
        _check_box_units(predictions, truths)
    warnings = []
    if other_category:
        warnings.append(
            f"{predictions.name}: {other_category:,} predictions are ignored, as the official evaluator does: their "
            f"category_id is not among those of {_names(truths)}"
        )
    if unlisted:
        warnings.append(
            f"{predictions.name}: {unlisted:,} predictions are ignored: the ground truth says nothing of their "
            "category in their image (LVIS annotates some categories an image)"
        )
    return warnings


def _ground_truth(name: str, entries: Iterable[Entry], iou_type: IouType) -> GroundTruth:
    if iou_type not in ("segm", "bbox"):
        raise choice_error("IoU type", iou_type, ["segm", "bbox"])
    images: list[Entry] = []
    categories: dict[int, str] = {}
    polygons: list[tuple[int | str, Entry]] = []
    regions: dict[Any, list[Region]] = {}
    masks = MaskCheck(name)
    seen: set[Any] = set()
    sections = set()
    for entry in entries:
        sections.add(entry.key)
        if entry.key == "images":
            images.append(entry)
        elif entry.key == "categories":
            id = require(entry, "id", int, name)
            if id in categories:
                raise fault(name, entry, "id", f"is {id}, which an earlier category has; ids occur once")
            categories[id] = str(entry.value.get("name", id))
        elif entry.key == "annotations":
            id = require(entry, "id", ID, name)
            if id in seen:
                raise fault(name, entry, "id", f"is {short(id)}, which an earlier annotation has; ids occur once")
            seen.add(id)
            image = require(entry, "image_id", ID, name)
            if iou_type == "segm" and isinstance(entry.value.get("segmentation"), list):
                polygons.append((image, entry))  # needs the image's size, which may stand later in the file
                continue
            regions.setdefault(image, []).append(_region(name, entry, iou_type, masks, None))
    masks.finish()
    _require_sections(name, sections)
    sizes = _image_sizes(name, images)
    for image, entry in polygons:
        if image not in sizes:
            raise fault(name, entry, "image_id", f"is {short(image)}, which no entry of 'images' has")
        regions.setdefault(image, []).append(_region(name, entry, iou_type, masks, sizes[image]))
    for image, found in regions.items():
        for region in found:
            entry = Entry("annotations", region.entry, None)
            if image not in sizes:
                raise fault(name, entry, "image_id", f"is {short(image)}, which no entry of 'images' has")
            if region.category not in categories:
                raise fault(name, entry, "category_id", f"is {region.category}, which no entry of 'categories' has")
            _check_size(name, entry.place, region, sizes[image])
        found.sort(key=lambda region: (region.category, region.entry))
    known = frozenset(categories)
    if images and not {"text_input", "is_instance_exhaustive"} & images[0].value.keys():
        pairs = {pair.id: pair for pair in _category_pairs(name, images, sizes, categories, regions)}
        by_pair: dict[PairId, list[Region]] = {}
        for image, found in regions.items():
            for region in found:
                by_pair.setdefault((image, region.category), []).append(region)
        return GroundTruth(name, iou_type, pairs, by_pair, known, by_category=True)
    pairs = {pair.id: pair for pair in _saco_pairs(name, images, sizes)}
    return GroundTruth(name, iou_type, pairs, regions, known)


def _require_sections(name: str, sections: set[str]) -> None:
    if "videos" in sections:
        raise LitetextError(f"{name} is a video annotation file; score it with: litetext evaluate --video")
    for key in ("images", "categories"):
        if key not in sections:
            raise LitetextError(f"{name}: key {key!r} is missing or empty; give a SA-Co, COCO or LVIS annotation file")


def _region(
    name: str, entry: Entry, iou_type: IouType, masks: MaskCheck, size: Size | None, score: float = 1.0
) -> Region:
    """One annotation or prediction as a `Region`; its run lengths are checked a little later, with many others."""
    category = require(entry, "category_id", int, name)
    place = entry.index or 0
    crowd = bool(entry.value.get("iscrowd", 0))
    if iou_type == "bbox":
        box = require_box(entry, "bbox", require(entry, "bbox", list, name), name)
        return Region(box, None, category, place, score, crowd)
    mask = require(entry, "segmentation", (dict, list), name)
    counts, own_size = require_mask(entry, "segmentation", mask, name, size)
    masks.add(counts, own_size, entry.place, "segmentation")
    return Region(counts, own_size, category, place, score, crowd)


def _image_sizes(name: str, images: Sequence[Entry]) -> dict[int | str, Size]:
    sizes: dict[int | str, Size] = {}
    for entry in images:
        id = require(entry, "id", ID, name)
        if id in sizes:
            raise fault(name, entry, "id", f"is {short(id)}, which an earlier image has; ids occur once")
        sizes[id] = require_size(entry, name)
    return sizes


def _saco_pairs(name: str, images: Sequence[Entry], sizes: Mapping[Any, Size]) -> Iterator[Pair]:
    for entry in images:
        image = entry.value
        prompt = require(entry, "text_input", str, name)
        exhaustive = bool(require(entry, "is_instance_exhaustive", (int, bool), name))
        yield Pair(image["id"], prompt, _file_name(image), sizes[image["id"]], exhaustive)


def _file_name(image: Mapping[str, Any]) -> str:
    """The file of an image; LVIS v1 says only where it was downloaded from."""
    return str(image.get("file_name", "")) or PurePosixPath(str(image.get("coco_url", ""))).name


def _category_pairs(
    name: str,
    images: Sequence[Entry],
    sizes: Mapping[Any, Size],
    categories: Mapping[int, str],
    regions: Mapping[Any, Sequence[Region]],
) -> Iterator[Pair]:
    federated = any("neg_category_ids" in entry.value for entry in images)  # LVIS
    for entry in images:
        image = entry.value
        id = image["id"]
        listed: Iterable[int] = sorted(categories)
        partial: set[int] = set()
        if federated:
            require(entry, "neg_category_ids", list, name)
            negatives = require_list(entry, "neg_category_ids", int, name)
            partial = set(require_list(entry, "not_exhaustive_category_ids", int, name))
            listed = sorted({region.category for region in regions.get(id, ())} | set(negatives))
        for category in listed:
            if category not in categories:
                raise fault(
                    name, entry, "neg_category_ids", f"holds {short(category)}, which no entry of 'categories' has"
                )
            prompt = categories[category].replace("_", " ")
            yield Pair((id, category), prompt, _file_name(image), sizes[id], category not in partial)


def _predictions(name: str, entries: Iterable[Entry], iou_type: IouType) -> Predictions:
    if iou_type not in ("segm", "bbox"):
        raise choice_error("IoU type", iou_type, ["segm", "bbox"])
    regions: dict[int | str, list[Region]] = {}
    masks = MaskCheck(name)
    for entry in entries:
        if entry.key or entry.index is None:
            raise LitetextError(
                f"{name}: predictions are one list of objects (COCO results), but this file is an object with keys; "
                "is it a ground truth file?"
            )
        image = require(entry, "image_id", ID, name)
        score = require_score(entry, name)
        presence = None if "presence" not in entry.value else require_score(entry, name, "presence")
        region = _region(name, entry, iou_type, masks, None, score)
        regions.setdefault(image, []).append(
            region if presence is None else dataclasses.replace(region, presence=presence)
        )
    masks.finish()
    return Predictions(name, iou_type, regions)


def _check_size(name: str, place: str, region: Region, size: Size) -> None:
    if region.size is not None and region.size != size:
        raise LitetextError(
            f"{name}: {place}: key 'segmentation': the RLE's size is {region.size[0]} x {region.size[1]} "
            f"(height x width), its image's {size[0]} x {size[1]}; write masks at the size of the image"
        )


def _check_box_units(predictions: Predictions, truths: Sequence[GroundTruth]) -> None:
    ours, theirs = _far_corner([predictions]), _far_corner(truths)
    if ours and theirs and (ours > _NORMALIZED) != (theirs > _NORMALIZED):
        pixels, parts = (predictions.name, _names(truths)) if ours > theirs else (_names(truths), predictions.name)
        raise LitetextError(
            f"{pixels}: key 'bbox' is in pixels, but in {parts} it is divided by the image size; write both alike"
        )


_NORMALIZED = 2.0  # a box divided by the image size ends near 1 at most


def _far_corner(files: Sequence[GroundTruth | Predictions]) -> float:
    corners = (
        max(region.shape[0] + region.shape[2], region.shape[1] + region.shape[3])
        for file in files
        for regions in file.regions.values()
        for region in regions
        if isinstance(region.shape, tuple)
    )
    return max(corners, default=0.0)


def _names(truths: Sequence[GroundTruth]) -> str:
    return ", ".join(truth.name for truth in truths)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TruthPair:
    """A pair as it is written into ground truth.

    Attributes:
        id: of the pair.
        file_name: of the image.
        prompt: the noun phrase.
        masks: of all its instances; none for a negative.
        extra: further keys of the entry.
    """

    id: int
    file_name: str
    prompt: str
    masks: Masks
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def document(pairs: Iterable[TruthPair], description: str, source: str) -> dict[str, Any]:
    """Return a SA-Co Gold document: an entry of ``images`` is a pair; one without annotations is a negative.

    Args:
        pairs: exhaustively annotated; a generator is read one pair at a time.
        description: of the data set.
        source: of the annotations.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for pair in pairs:
        height, width = pair.masks.size
        images.append(
            {
                "id": pair.id,
                "file_name": pair.file_name,
                "text_input": pair.prompt,
                "width": width,
                "height": height,
                **pair.extra,
                "is_instance_exhaustive": 1,
                "is_pixel_exhaustive": 1,
            }
        )
        corners = pair.masks.boxes.astype(np.float64)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1) / [
            width,
            height,
            width,
            height,
        ]
        for box, area, rle in zip(boxes.tolist(), pair.masks.areas.tolist(), pair.masks.to_rle(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": pair.id,
                    "category_id": 1,
                    "bbox": box,
                    "area": area / (width * height),
                    "segmentation": rle,
                    "iscrowd": 0,
                    "source": source,
                }
            )
    return {
        "info": {"description": description},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def predictions(
    image: ImageAnnotations,
    pair_ids: Sequence[int | str],
    *,
    presence: NDArray[np.float32] | None = None,
    category_id: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield SA-Co predictions of one image, one entry an instance: COCO results with boxes as fractions of the image.

    Args:
        image: with scores.
        pair_ids: for each of its categories (the noun phrases) the id of the pair, ``images[].id`` of the ground truth.
        presence: for each of its categories the belief that it is in the image at all; NaN where it is not known.
        category_id: SA-Co's only category.
    """
    height, width = image.size
    ids = [(id, category_id) for id in pair_ids]
    return coco.results(image, ids, presence=presence, box_unit=(width, height))
