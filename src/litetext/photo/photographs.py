"""Photographs with masks, read from folders that anyone can fill: COCO's, and Caltech-101's with masks made here.

Caltech-101 says what a photograph shows, not where. Before a plain background the rest is the object; elsewhere GrabCut
finds the outline. It starts from where ImageNet's classifier answers to the label (or from the middle, for labels that
ImageNet lacks), and what it cuts out is kept only if the classifier still recognises it on plain gray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import LitetextError, extras_named
from ..json_files import read_json
from ..segment.lite import LiteModel
from .concepts import Concepts

LONGEST = 400
"""Photographs are read at this longer side."""

_SEED_SIZE = 320
_WORKING_SIZE = 144


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """One photograph and what is known to be in it.

    Attributes:
        name: of its file.
        pixels: uint8 [H, W, 3].
        masks: bool [n, H, W], of its objects.
        concepts: their numbers in `Concepts`.
        unclear: concepts that are there beyond the masks (crowds): nothing can be asked about them.
    """

    name: str
    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    concepts: tuple[int, ...]
    unclear: frozenset[int]


def pixels_at(path: Path, longest: int = LONGEST) -> NDArray[np.uint8]:
    """Return an image file as uint8 [H, W, 3], its longer side at most ``longest``."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * longest, 2 * longest))
        picture = image.convert("RGB")
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def coco_photographs(annotations: Path, images: Path, concepts: Concepts) -> Iterator[Photograph]:
    """Yield COCO's photographs, in the order of the annotation file.

    Args:
        annotations: an ``instances*.json``.
        images: the folder of its images, at any size.
        concepts: whose numbers are given.

    Raises:
        LitetextError: a category that `Concepts` does not know.
    """
    from pycocotools import mask as rle

    document = read_json(annotations)
    names = {category["id"]: category["name"] for category in document["categories"]}
    unknown = [name for name in names.values() if name not in concepts.coco]
    if unknown:
        raise LitetextError(f"{annotations}: {unknown[0]!r} is none of COCO's 80 categories")
    of_image: dict[int, list[Mapping[str, Any]]] = {}
    for annotation in document["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    for entry in document["images"]:
        if not (images / entry["file_name"]).is_file():
            continue
        pixels = pixels_at(images / entry["file_name"])
        masks, found, unclear = [], [], set()
        for annotation in of_image.get(entry["id"], ()):
            number = concepts.coco[names[annotation["category_id"]]]
            if annotation.get("iscrowd"):
                unclear.add(number)
                continue
            masks.append(_decoded(annotation["segmentation"], entry, pixels.shape[:2], rle))
            found.append(number)
        stack = np.stack(masks) if masks else np.zeros((0, *pixels.shape[:2]), np.bool_)
        yield Photograph(entry["file_name"], pixels, stack, tuple(found), frozenset(unclear))


def _decoded(segmentation: Any, entry: Mapping[str, Any], size: tuple[int, ...], rle: Any) -> NDArray[np.bool_]:
    """Return polygons or run lengths as a mask of the photograph's ``size``."""
    if isinstance(segmentation, list):
        segmentation = rle.merge(rle.frPyObjects(segmentation, entry["height"], entry["width"]))
    elif isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, *segmentation["size"])
    mask = rle.decode(segmentation)
    if mask.shape != size:
        mask = np.asarray(Image.fromarray(mask * 255).resize((size[1], size[0]), Image.Resampling.BILINEAR)) > 127
    return mask.astype(np.bool_)


class Classifier:
    """EfficientNet-Lite2 with its ImageNet classifier, to ask where a label is.

    Args:
        model: the network.
        weight: [1000, 1280]. bias: [1000].
    """

    def __init__(self, model: LiteModel, weight: Tensor, bias: Tensor) -> None:
        self.model, self.weight, self.bias = model, weight, bias

    @torch.inference_mode()
    def evidence(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return the logits of all labels at every place of a photograph: [1000, h, w]."""
        seen = self.model.seen(self.model.taps(tensor_of(pixels, _SEED_SIZE))[-1])
        return torch.einsum("lc,chw->lhw", self.weight, seen[0]) + self.bias[:, None, None]


def tensor_of(pixels: NDArray[np.uint8], size: int) -> Tensor:
    """Return a photograph as the network reads it: [1, 3, size, size]."""
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return (torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() - 127) / 128


def outline(pixels: NDArray[np.uint8], rows: Sequence[int], classifier: Classifier) -> NDArray[np.bool_] | None:
    """Return the mask of the object that a photograph's label names, or None if no good one is found.

    Args:
        pixels: the photograph.
        rows: ImageNet's rows for the label; empty where ImageNet lacks it.
        classifier: finds where to start, and judges the result.
    """
    height, width = pixels.shape[:2]
    factor = _WORKING_SIZE / max(height, width)
    small = np.asarray(
        Image.fromarray(pixels).resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)
    )
    rough = _before_plain(small)
    if rough is None:
        rough = _grab_cut(small, rows, classifier)
    if rough is None:
        return None
    found = _largest_parts(rough)
    touching = float(np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]).mean())
    if not 0.03 < found.mean() < 0.8 or touching > 0.35:
        return None
    large = Image.fromarray(found.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BICUBIC)
    mask = np.asarray(large) > 127
    return mask if not rows or is_recognised(pixels, mask, rows, classifier) else None


def _before_plain(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return what stands before a plain background; None where the border of the photograph is not plain."""
    import cv2

    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    color = np.median(border, axis=0)
    if (np.abs(border - color).max(1) < 14).mean() < 0.85:
        return None
    plain = (np.abs(pixels.astype(np.int16) - color).max(2) < 14).astype(np.uint8)
    _, labels = cv2.connectedComponents(plain, connectivity=4)
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return (~np.isin(labels, outer[outer > 0])).astype(np.uint8)


def _grab_cut(pixels: NDArray[np.uint8], rows: Sequence[int], classifier: Classifier) -> NDArray[np.uint8] | None:
    with extras_named():
        import cv2
    height, width = pixels.shape[:2]
    mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    inner = np.zeros((height, width), np.bool_)
    inner[int(0.06 * height) : int(0.94 * height), int(0.06 * width) : int(0.94 * width)] = True
    if rows:
        heat = classifier.evidence(pixels)[list(rows)].amax(0)
        large = F.interpolate(heat[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
        low, high = np.percentile(large, [10, 99])
        level = np.clip((large - low) / max(high - low, 1e-6), 0, 1)
        mask[level > 0.35] = cv2.GC_PR_FGD
        mask[level > 0.85] = cv2.GC_FGD
        mask[(level < 0.12) & ~inner] = cv2.GC_BGD
    else:
        mask[inner] = cv2.GC_PR_FGD
        mask[~inner] = cv2.GC_BGD
    background, foreground = np.zeros((2, 1, 65))
    picture: Any = np.ascontiguousarray(pixels[..., ::-1])
    try:
        cv2.grabCut(picture, mask, (0, 0, 0, 0), background, foreground, 3, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None  # no pixel is left on one of the sides
    return ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)


def _largest_parts(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return a mask without specks, its small holes filled."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    smooth = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(smooth)
    areas = statistics[:, cv2.CC_STAT_AREA]
    kept = [part for part in range(1, count) if areas[part] >= 0.2 * areas[1:].max()]
    return np.asarray(np.isin(labels, kept))


def is_recognised(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], rows: Sequence[int], classifier: Classifier
) -> bool:
    """Return whether the cut-out, on gray, is among the classifier's ten best guesses still.

    Args:
        pixels: the photograph.
        mask: bool [H, W], what is cut out.
        rows: ImageNet's rows for what it is.
        classifier: that guesses.
    """
    alone = np.where(mask[..., None], pixels, 127).astype(np.uint8)
    logits = classifier.evidence(alone).mean((1, 2))
    return bool(set(logits.topk(10).indices.tolist()) & set(rows))
