"""What was found in one image: boxes, masks, scores, and which prompt each belongs to.

One frozen value type that every source makes and every tool takes; conversions to COCO, SA-Co and
supervision are methods here, drawing is in `drawing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, missing_extra

if TYPE_CHECKING:
    import supervision

    from .images import ImageLike


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The N instances found in one image for P prompts, ordered by prompt, then by falling score.

    Attributes:
        size: height and width of the image in pixels.
        prompts: the P prompts that were asked, found or not.
        presence: [P] float32 in 0..1. SAM3's belief that the prompt is in the image at all.
        boxes: [N, 4] float32. x1, y1, x2, y2 in pixels, as regressed: they may leave the image by a little.
        masks: [N, H, W] bool, at the image's own size.
        scores: [N] float32 in 0..1. Presence times the query's own score.
        prompt_index: [N] int64. Row of ``prompts`` (and ``presence``) that each instance answers.
        image: what was segmented, as the caller gave it (for drawing), or None.
    """

    size: tuple[int, int]
    prompts: tuple[str, ...]
    presence: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    prompt_index: NDArray[np.int64]
    image: ImageLike | None = None

    def __post_init__(self) -> None:
        n = len(self.scores)
        shapes = {
            "presence": (self.presence.shape, (len(self.prompts),)),
            "boxes": (self.boxes.shape, (n, 4)),
            "masks": (self.masks.shape, (n, *self.size)),
            "prompt_index": (self.prompt_index.shape, (n,)),
        }
        for name, (given, wanted) in shapes.items():
            if given != wanted:
                raise LitetextError(f"Instances.{name} must have shape {wanted}, got {given}")

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = ", ".join(f"{prompt!r}: {len(self[prompt])}" for prompt in self.prompts)
        return f"Instances({self.size[1]}x{self.size[0]}, {{{counts}}})"

    def __getitem__(self, rows: str | slice | Sequence[int] | NDArray[Any]) -> Instances:
        """The instances of one prompt (its text), or some rows (slice, indices or [N] bool); prompts stay."""
        if isinstance(rows, str):
            if rows not in self.prompts:
                raise LitetextError(f"prompt {rows!r} was not asked; the prompts were: {', '.join(self.prompts)}")
            asked = [index for index, prompt in enumerate(self.prompts) if prompt == rows]
            rows = np.isin(self.prompt_index, asked)
        index = rows if isinstance(rows, slice) else np.asarray(rows, dtype=None if len(rows) else np.int64)
        return Instances(
            self.size,
            self.prompts,
            self.presence,
            self.boxes[index],
            self.masks[index],
            self.scores[index],
            self.prompt_index[index],
            self.image,
        )

    @property
    def labels(self) -> list[str]:
        """The prompt of each instance."""
        return [self.prompts[index] for index in self.prompt_index]

    def to_coco(self, file_name: str = "", image_id: int = 1) -> dict[str, Any]:
        """Return a COCO dataset of this one image: ``images``, ``categories`` (the prompts), ``annotations``.

        Masks are compressed run lengths (RLE), boxes x, y, width, height in pixels; every annotation carries
        its ``score``. `coco_document` joins several images.
        """
        return coco_document([(file_name, self)], first_image_id=image_id)

    def to_saco(self, pair_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return SA-Co predictions, in which the unit is an (image, noun phrase) pair.

        Args:
            pair_ids: for each of the P prompts, the id of its pair (``images[].id`` of SA-Co Gold).

        Returns:
            One entry an instance: ``image_id`` (the pair's), ``category_id`` 1, ``bbox`` x, y, width, height
            divided by the image's size, ``segmentation`` RLE, ``score``.
        """
        if len(pair_ids) != len(self.prompts):
            raise LitetextError(
                f"to_saco needs one pair id for each of {len(self.prompts)} prompts, got {len(pair_ids)}"
            )
        height, width = self.size
        boxes = _xywh(self.boxes) / np.array([width, height, width, height])
        return [
            {
                "image_id": int(pair_ids[prompt]),
                "category_id": 1,
                "bbox": box.tolist(),
                "segmentation": rle,
                "score": float(score),
            }
            for prompt, box, rle, score in zip(
                self.prompt_index, boxes, encode_masks(self.masks), self.scores, strict=True
            )
        ]

    def to_supervision(self) -> supervision.Detections:
        """Return ``supervision.Detections``: class ids are rows of ``prompts``, ``data["class_name"]`` their text."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes.copy(),
            mask=self.masks.copy(),
            confidence=self.scores.copy(),
            class_id=self.prompt_index.copy(),
            data={"class_name": np.array(self.labels, dtype=np.str_)},
        )

    def save_png(self, path: str | os.PathLike[str], image: ImageLike | None = None) -> None:
        """Write the masks, drawn over the photo with prompt and score, as a PNG (atomically).

        Args:
            path: file to write.
            image: the photo to draw on; by default the one that was segmented.
        """
        try:
            from .drawing import save_overlay
        except ModuleNotFoundError as error:
            raise missing_extra(error.name or "supervision", "sam3") from None

        photo = image if image is not None else self.image
        if photo is None:
            raise LitetextError("these Instances carry no image; pass save_png(path, image=...)")
        save_overlay(self, photo, path)


def coco_document(found: Iterable[tuple[str, Instances]], first_image_id: int = 1) -> dict[str, Any]:
    """Return one COCO dataset of several images.

    Args:
        found: (file name, instances) of each image; a generator does, and is read one image at a time. Prompts of
            the same text share one category.
        first_image_id: id of the first image; the others count up.
    """
    category_ids: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, instances) in enumerate(found, start=first_image_id):
        height, width = instances.size
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for prompt in instances.prompts:
            category_ids.setdefault(prompt, len(category_ids) + 1)
        rows = zip(
            instances.labels,
            _xywh(instances.boxes),
            instances.masks,
            encode_masks(instances.masks),
            instances.scores,
            strict=True,
        )
        for label, box, mask, rle, score in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[label],
                    "bbox": box.tolist(),
                    "area": int(mask.sum()),
                    "segmentation": rle,
                    "iscrowd": 0,
                    "score": float(score),
                }
            )
    return {
        "images": images,
        "categories": [{"id": index, "name": name} for name, index in category_ids.items()],
        "annotations": annotations,
    }


def encode_masks(masks: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return COCO's compressed run lengths of ``masks`` [N, H, W], as JSON can hold them (``counts`` is text)."""
    try:
        from pycocotools import mask as coco_mask
    except ModuleNotFoundError:
        raise missing_extra("pycocotools", "evaluate") from None
    encoded = [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
    return [{"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")} for rle in encoded]


def _xywh(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
