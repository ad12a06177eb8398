"""What was found in one image: boxes, masks, scores, and which prompt each belongs to.

One frozen value type that every source makes and every tool takes.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, choice_error, extras_named
from ..files import write_json, write_text
from ..images import ImageLike, read_image
from .annotations import ImageAnnotations
from .formats import coco, pascal_voc, saco, table
from .masks import Masks, whole_box
from .suppression import kept_rows

if TYPE_CHECKING:
    import supervision
    from PIL import Image

_NOTEBOOK_SIDE = 1024
_PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_DOCUMENTS: dict[str, Callable[[ImageAnnotations, Path], None]] = {
    ".json": lambda image, path: write_json(path, coco.document([image])),
    ".csv": lambda image, path: table.write([image], path),
    ".xml": lambda image, path: write_text(path, pascal_voc.document(image)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One instance of `Instances`.

    Attributes:
        label: the prompt that it answers.
        score: 0..1.
        box: [4] float32, x1, y1, x2, y2 in pixels.
        masks: its mask, as `Masks` of one.
    """

    label: str
    score: float
    box: NDArray[np.float32]
    masks: Masks

    def __repr__(self) -> str:
        x1, y1, x2, y2 = self.box.round(1).tolist()
        return f"Instance({self.label!r}, {self.score:.3f}, box {x1:g}, {y1:g}, {x2:g}, {y2:g})"

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[H, W] bool, at the image's own size."""
        return self.masks[0]

    @property
    def area(self) -> int:
        """The number of pixels of the mask."""
        return int(self.masks.areas[0])


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The N instances found in one image for P prompts, ordered by prompt, then by falling score.

    Attributes:
        size: height and width of the image in pixels.
        prompts: the P prompts that were asked, found or not.
        presence: [P] float32 in 0..1. SAM3's belief that the prompt is in the image at all.
        boxes: [N, 4] float32. x1, y1, x2, y2 in pixels, as regressed: they may leave the image by a little.
        masks: N masks at the image's own size, held as run lengths; they read like an array [N, H, W]. An array given
            here is encoded.
        scores: [N] float32 in 0..1. Presence times the query's own score.
        prompt_index: [N] int64. Row of ``prompts`` (and ``presence``) that each instance answers.
        image: what was segmented, as the caller gave it (for drawing), or None.
    """

    size: tuple[int, int]
    prompts: tuple[str, ...]
    presence: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: Masks
    scores: NDArray[np.float32]
    prompt_index: NDArray[np.int64]
    image: ImageLike | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.masks, Masks):
            object.__setattr__(self, "masks", Masks.from_dense(self.masks, self.size))
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

    @classmethod
    def from_annotations(cls, annotations: ImageAnnotations, image: ImageLike | None = None) -> Instances:
        """Return what a file says of an image; objects without a score have 1, presence is not known (NaN)."""
        scores = annotations.scores
        scores = np.ones(len(annotations), np.float32) if scores is None else scores
        prompts = tuple(dict.fromkeys(annotations.categories))
        index = np.array([prompts.index(label) for label in annotations.labels], dtype=np.int64)
        unordered = cls(
            annotations.size,
            prompts,
            np.full(len(prompts), np.nan, np.float32),
            annotations.boxes,
            annotations.masks,
            scores,
            index,
            image,
        )
        return unordered._rows(np.lexsort((-scores, index)))

    def annotations(self, file_name: str = "") -> ImageAnnotations:
        """Return the instances as the file formats take them (see `litetext.results.formats`)."""
        return ImageAnnotations(
            file_name, self.size, self.prompts, self.prompt_index, self.boxes, self.masks, self.scores
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = ", ".join(f"{prompt!r}: {count}" for prompt, count in self.counts.items())
        return f"Instances({self.size[1]}x{self.size[0]}, {{{counts}}})"

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Instance: ...

    @overload
    def __getitem__(self, rows: str | slice | Sequence[int] | NDArray[Any]) -> Instances: ...

    def __getitem__(self, rows: Any) -> Instance | Instances:
        """One instance (its row), those of one prompt (its text), or some rows (slice, indices or [N] bool)."""
        if isinstance(rows, str):
            if rows not in self.prompts:
                raise LitetextError(f"prompt {rows!r} was not asked; the prompts were: {', '.join(self.prompts)}")
            return self._rows(np.array([label == rows for label in self.labels], dtype=bool))
        if isinstance(rows, int | np.integer):
            row = range(len(self))[int(rows)]
            return Instance(self.labels[row], float(self.scores[row]), self.boxes[row], self.masks[[row]])
        return self._rows(rows if isinstance(rows, slice) else np.asarray(rows, dtype=None if len(rows) else np.int64))

    def __iter__(self) -> Iterator[Instance]:
        return (self[row] for row in range(len(self)))

    def _rows(self, index: slice | NDArray[Any]) -> Instances:
        return replace(
            self,
            boxes=self.boxes[index],
            masks=self.masks[index],
            scores=self.scores[index],
            prompt_index=self.prompt_index[index],
        )

    @property
    def labels(self) -> list[str]:
        """The prompt of each instance."""
        return [self.prompts[index] for index in self.prompt_index.tolist()]

    @property
    def counts(self) -> dict[str, int]:
        """How many instances each prompt has, by its text."""
        counts = dict.fromkeys(self.prompts, 0)
        for label in self.labels:
            counts[label] += 1
        return counts

    def sorted(self) -> Instances:
        """Return the instances by falling score, whatever their prompt."""
        return self._rows(np.argsort(-self.scores, kind="stable"))

    def filter(self, threshold: float | Mapping[str, float]) -> Instances:
        """Return the instances with a score of at least ``threshold``.

        Args:
            threshold: one for all, or one for each prompt by its text; prompts that are not named keep all of theirs.
        """
        if not isinstance(threshold, Mapping):
            return self._rows(self.scores >= threshold)
        for prompt in threshold.keys() - set(self.prompts):
            raise LitetextError(f"prompt {prompt!r} was not asked; the prompts were: {', '.join(self.prompts)}")
        return self._rows(self.scores >= np.array([threshold.get(label, 0.0) for label in self.labels]))

    def nms(self, iou: float = 0.5, *, across_prompts: bool = False, containment: float | None = None) -> Instances:
        """Return the instances without those that a better one repeats (non-maximum suppression on masks).

        Args:
            iou: an instance goes when its mask's IoU with a better one's that stays is above this.
            across_prompts: instances of different prompts suppress each other too; by default only those of one prompt.
            containment: an instance also goes when more than this share of its mask lies inside a better one's; None
                (the default) keeps parts beside the whole.
        """
        groups = np.zeros(len(self), np.int64) if across_prompts else self.prompt_index
        return self._rows(kept_rows(self.masks, self.scores, groups, iou, containment))

    def crops(
        self, image: ImageLike | None = None, *, margin: int = 0, cutout: bool = False
    ) -> list[NDArray[np.uint8]]:
        """Return the image inside each instance's box.

        Args:
            image: what to cut from; by default the image that was segmented.
            margin: pixels around the box to include.
            cutout: add the mask as an alpha channel, so that the background is transparent.

        Returns:
            One uint8 array [h, w, 3] an instance; [h, w, 4] with ``cutout``.
        """
        photo = self._photo(image)
        crops = []
        for box, mask in zip(self.boxes.tolist(), self.masks, strict=True):
            x1, y1, x2, y2 = whole_box([box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin], self.size)
            crop = photo[y1:y2, x1:x2]
            crops.append(np.dstack([crop, mask[y1:y2, x1:x2] * np.uint8(255)]) if cutout else crop.copy())
        return crops

    def to_coco(self, file_name: str = "", image_id: int = 1) -> dict[str, Any]:
        """Return a COCO dataset of this one image: ``images``, ``categories`` (the prompts), ``annotations``.

        Masks are compressed run lengths (RLE), boxes x, y, width, height in pixels; every annotation carries
        its ``score``. `litetext.results.formats.coco.document` joins several images.
        """
        return coco.document([self.annotations(file_name)], first_image_id=image_id)

    def to_saco(self, pair_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return SA-Co predictions, in which the unit is an (image, noun phrase) pair.

        Args:
            pair_ids: for each of the P prompts, the id of its pair (``images[].id`` of SA-Co Gold).

        Returns:
            One entry an instance, see `litetext.results.formats.saco.predictions`.
        """
        if len(pair_ids) != len(self.prompts):
            raise LitetextError(
                f"to_saco needs one pair id for each of {len(self.prompts)} prompts, got {len(pair_ids)}"
            )
        return list(saco.predictions(self.annotations(), [int(id) for id in pair_ids], presence=self.presence))

    def to_supervision(self) -> supervision.Detections:
        """Return ``supervision.Detections``: class ids are rows of ``prompts``, ``data["class_name"]`` their text."""
        with extras_named():
            import supervision
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            mask=self.masks.dense(),
            confidence=self.scores.copy(),
            class_id=self.prompt_index.copy(),
            data={"class_name": np.array(self.labels, dtype=np.str_)},
        )

    def plot(self, image: ImageLike | None = None, *, longest_side: int | None = None) -> Image.Image:
        """Return the instances drawn over the image, with prompt and score, as a PIL image (a notebook shows it).

        Args:
            image: the photo to draw on; by default the one that was segmented.
            longest_side: of the picture in pixels; by default the photo's own, and at least 768.
        """
        from .drawing import overlay

        labels = [f"{label} {score:.2f}" for label, score in zip(self.labels, self.scores.tolist(), strict=True)]
        return overlay(self._photo(image), self.masks, self.boxes, self.prompt_index, labels, longest_side)

    def save(self, path: str | os.PathLike[str], image: ImageLike | None = None) -> None:
        """Write the instances in the format that the suffix names, atomically.

        Args:
            path: ``.png``, ``.jpg`` or ``.webp`` for a picture (see `plot`), ``.json`` for COCO, ``.csv`` for a table,
                ``.xml`` for Pascal VOC.
            image: the photo to draw on; by default the one that was segmented.

        Raises:
            LitetextError: another suffix.
        """
        suffix = Path(path).suffix.lower()
        if suffix in _PICTURES:
            from .drawing import save_picture

            save_picture(self.plot(image), path, _PICTURES[suffix])
        elif suffix in _DOCUMENTS:
            name = os.fspath(self.image) if isinstance(self.image, str | os.PathLike) else ""
            _DOCUMENTS[suffix](self.annotations(name), Path(path))
        else:
            raise choice_error("suffix", suffix, [*_PICTURES, *_DOCUMENTS])

    def save_png(self, path: str | os.PathLike[str], image: ImageLike | None = None) -> None:
        """Write the masks, drawn over the photo with prompt and score, as a PNG (atomically).

        Args:
            path: file to write.
            image: the photo to draw on; by default the one that was segmented.
        """
        from .drawing import save_picture

        save_picture(self.plot(image), path, "PNG")

    def _repr_html_(self) -> str:
        """The picture and the counts, as notebooks show them; the plain text where the picture cannot be drawn."""
        from .drawing import data_uri

        try:
            source = data_uri(self.plot(longest_side=_NOTEBOOK_SIDE))
        except LitetextError:
            return f"<pre>{html.escape(repr(self))}</pre>"
        counts = ", ".join(f"{prompt}: {count}" for prompt, count in self.counts.items())
        return (
            f'<figure><img src="{source}" alt="{html.escape(counts)}" style="max-width: 100%">'
            f"<figcaption>{html.escape(counts)}</figcaption></figure>"
        )

    def _photo(self, image: ImageLike | None) -> NDArray[np.uint8]:
        """The photo to draw on or cut from, checked to be of the instances' size."""
        image = self.image if image is None else image
        if image is None:
            raise LitetextError("these Instances carry no image; give it: image=…")
        photo = read_image(image)
        if photo.shape[:2] != self.size:
            raise LitetextError(
                f"the image to draw on is {photo.shape[1]}x{photo.shape[0]}, "
                f"but the instances are of one of {self.size[1]}x{self.size[0]}"
            )
        return photo
