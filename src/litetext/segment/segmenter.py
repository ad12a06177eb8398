"""`Segmenter`: SAM3 behind the seam.

The vision encoder runs once for an image, whatever the number of prompts; all prompts are decoded over that one
sight in batches; and pixels are decoded only for what will be shown. The text comes from any `TextEncoder`, and
once the prompts are known the encoder can be let go (`Segmenter.freeze`).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from ..encoders.features import TextEncoder, TextFeatures
from ..errors import LitetextError
from ..memory import return_freed_memory
from . import decode
from .checkpoint import Detector, load_detector, load_image_processor
from .images import ImageLike, read_image
from .instances import Instances
from .sources import locate

VISUAL = "visual"
"""What SAM3 reads in place of a noun phrase where boxes alone say what to find."""

BoxPrompts: TypeAlias = "ArrayLike | Sequence[ArrayLike | None] | None"
"""Example boxes of one image: for each prompt an [n, 4] array or None; for a lone prompt the [n, 4] array itself."""


class Segmenter:
    """SAM3 with a text encoder plugged in.

    Attributes:
        detector: transformers' SAM3 without its text tower.
        text: the text encoder; any object with ``encode(prompts) -> TextFeatures`` may be put in its place.
    """

    def __init__(self, detector: Detector, processor: Any, text: TextEncoder) -> None:
        self.detector = detector
        self.text = text
        self._processor = processor

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        text: TextEncoder | str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> Segmenter:
        """Load a segmenter.

        Args:
            name_or_path: ``"mini"``, which comes with the package; the folder or hub name of a transformers
                ``Sam3Model``, ``Sam3LiteTextModel`` or ``Sam3VideoModel``, such as
                ``"Simon7108528/sam3-litetext-s0"``; or a whole SAM3 checkpoint file in Meta's layout.
            text: the text encoder, or what `litetext.load_encoder` takes; by default the model's own.
            device: ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one.
            dtype: of the weights and the computing, such as ``"bfloat16"``; float32 by default.

        Raises:
            LitetextError: an unknown name, a model out of reach, or a checkpoint that does not fit exactly.
        """
        device = _device(device)
        parts = locate(name_or_path)
        detector = load_detector(parts.detector, device, _dtype(dtype))
        processor = load_image_processor(parts.detector, detector.config.image_size)
        return cls(detector, processor, _text_encoder(parts.text if text is None else text, device))

    @property
    def device(self) -> torch.device:
        """Where the detector is."""
        return self.detector.device

    @property
    def dtype(self) -> torch.dtype:
        """What the detector computes in."""
        return self.detector.dtype

    @property
    def width(self) -> int:
        """D, the numbers a text token must have; 256 for SAM3."""
        config: Any = self.detector.config
        return int(config.detr_encoder_config.hidden_size)

    @overload
    def segment(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        prompts: str | Sequence[str] | None = None,
        boxes: BoxPrompts = None,
        box_labels: BoxPrompts = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 8,
    ) -> Instances: ...

    @overload
    def segment(
        self,
        images: Sequence[ImageLike],
        prompts: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        boxes: Sequence[BoxPrompts] | None = None,
        box_labels: Sequence[BoxPrompts] | None = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 8,
    ) -> list[Instances]: ...

    def segment(
        self,
        images: Any,
        prompts: Any = None,
        boxes: Any = None,
        box_labels: Any = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 8,
    ) -> Instances | list[Instances]:
        """Find every instance of every prompt.

        Args:
            images: one image (a path, a PIL image, an array) or a list of them.
            prompts: noun phrases. For several images a flat list is asked of each, a list of lists gives each
                image its own. None where boxes alone say what to find (SAM3 then reads the word "visual").
            boxes: example boxes, x1, y1, x2, y2 in pixels of the upright image: for each prompt an [n, 4] array
                or None (for a lone prompt simply the [n, 4] array); for several images a list with that for
                each image.
            box_labels: in the shape of ``boxes`` without its last axis: 1 (or True) for an example of what to
                find, 0 for a counterexample; all examples by default.
            threshold: an instance counts when its score, presence times query score, is **at least** this, as
                in SA-Co's evaluation (transformers' post-processing wants it above).
            batch_size: prompts decoded together; more is faster on a GPU and takes more memory.

        Returns:
            `Instances` for one image, a list of them for a list.

        Raises:
            LitetextError: an unreadable image, an empty prompt, boxes that do not fit the prompts, or an
                encoder whose width is not the detector's.
        """
        if not 0 <= threshold <= 1:
            raise LitetextError(f"threshold must lie in 0..1, got {threshold}")
        if batch_size < 1:
            raise LitetextError(f"batch_size must be at least 1, got {batch_size}")
        if isinstance(images, str | os.PathLike | Image.Image | np.ndarray):
            return self._segment_all([images], [prompts], [boxes], [box_labels], threshold, batch_size)[0]
        images = list(images)
        if not images:
            return []
        return self._segment_all(
            images,
            _per_image_prompts(prompts, len(images)),
            _per_image("boxes", boxes, len(images)),
            _per_image("box_labels", box_labels, len(images)),
            threshold,
            batch_size,
        )

    def freeze(self, prompts: Sequence[str]) -> Segmenter:
        """Embed ``prompts``, then let the text encoder go; return the segmenter itself.

        From then on only these prompts can be asked (boxes alone ask "visual": name it too if they will); results
        stay the same. The encoder's memory goes back to the system, unless the caller still holds the encoder.
        """
        known = list(dict.fromkeys(map(_checked_prompt, prompts)))
        self.text = _FrozenPrompts({prompt: row for row, prompt in enumerate(known)}, self._features(known))
        _return_memory(self.device)
        return self

    def _segment_all(
        self,
        images: list[ImageLike],
        prompts: list[Any],
        boxes: list[Any],
        box_labels: list[Any],
        threshold: float,
        batch_size: int,
    ) -> list[Instances]:
        # All questions are checked, and all words embedded, before the first image is looked at.
        questions = [_questions(*asked) for asked in zip(prompts, boxes, box_labels, strict=True)]
        words = list(dict.fromkeys(question.prompt for asked in questions for question in asked))
        rows = {word: row for row, word in enumerate(words)}
        features = self._features(words)
        found = []
        for image, asked in zip(images, questions, strict=True):
            text = features[[rows[question.prompt] for question in asked]]
            found.append(self._segment_one(image, asked, text, threshold, batch_size))
        return found

    @torch.inference_mode()
    def _segment_one(
        self, image: ImageLike, asked: list[_Question], text: TextFeatures, threshold: float, batch_size: int
    ) -> Instances:
        photo = read_image(image)
        size = photo.shape[:2]
        sight = decode.see(self.detector, self.pixels(photo))
        presence = np.zeros(len(asked), dtype=np.float32)
        rows = _Rows()
        for batch in _batches(asked, batch_size):
            examples = _box_tensors([asked[index] for index in batch], size, self.device, self.dtype)
            found = decode.find(self.detector, sight, text[batch], *examples)
            presence[batch] = found.presence.float().sigmoid().cpu().numpy()
            scores = found.scores
            for row, index in enumerate(batch):
                queries = torch.nonzero(scores[row] >= threshold)[:, 0]
                if len(queries) == 0:
                    continue
                queries = queries[scores[row, queries].argsort(descending=True, stable=True)]
                masks = decode.mask_logits(self.detector, sight, found, row, queries)
                rows.add(index, found.boxes[row, queries], scores[row, queries], _masks_at(masks, size))
        return rows.instances(size, tuple(question.prompt for question in asked), presence, image)

    @torch.no_grad()  # a graph would keep the encoder's weights alive behind frozen prompts
    def _features(self, prompts: list[str]) -> TextFeatures:
        features = self.text.encode(prompts)
        if features.dim != self.width:
            raise LitetextError(
                f"the text encoder gives {features.dim} numbers a token, but this detector reads {self.width}; "
                "use an encoder made for this model"
            )
        return features.to_torch(self.device, self.dtype)

    def pixels(self, photo: NDArray[np.uint8]) -> Tensor:
        """Return a photo [H, W, 3] as the vision encoder reads it: [1, 3, S, S], on its device and of its dtype."""
        pixels = self._processor(images=Image.fromarray(photo), return_tensors="pt", device=self.device)["pixel_values"]
        return pixels.to(self.device, self.dtype)


@dataclass(frozen=True, slots=True)
class _Question:
    """One thing to find in one image: a prompt with its example boxes [n, 4] (pixels) and their labels [n]."""

    prompt: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


class _Rows:
    """Instances in the making, collected prompt by prompt."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]] = {}

    def add(self, prompt: int, boxes: Tensor, scores: Tensor, masks: NDArray[np.bool_]) -> None:
        """Take the instances of one prompt: boxes [n, 4] as fractions, scores [n], masks [n, H, W]."""
        self._parts[prompt] = (boxes.float().cpu().numpy(), scores.cpu().numpy(), masks)

    def instances(
        self, size: tuple[int, int], prompts: tuple[str, ...], presence: NDArray[np.float32], image: ImageLike
    ) -> Instances:
        """All of them, in the order of the prompts."""
        height, width = size
        order = sorted(self._parts)
        nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, height, width), bool))
        boxes, scores, masks = zip(*(self._parts[index] for index in order), strict=True) if order else zip(nothing)
        return Instances(
            size=(height, width),
            prompts=prompts,
            presence=presence,
            boxes=np.concatenate(boxes) * np.array([width, height, width, height], np.float32),
            masks=np.concatenate(masks),
            scores=np.concatenate(scores),
            prompt_index=np.repeat(np.array(order, np.int64), [len(self._parts[index][1]) for index in order]),
            image=image,
        )


class _FrozenPrompts:
    """A text encoder that knows the prompts it was made with, and no other."""

    def __init__(self, rows: dict[str, int], features: TextFeatures) -> None:
        self._rows = rows
        self._features = features

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        unknown = [prompt for prompt in prompts if prompt not in self._rows]
        if unknown:
            raise LitetextError(
                f"the segmenter was frozen without the prompt {unknown[0]!r}; "
                "name it in freeze(), or set segmenter.text to an encoder"
            )
        return self._features[[self._rows[prompt] for prompt in prompts]]


def _questions(prompts: Any, boxes: Any, box_labels: Any) -> list[_Question]:
    """What is asked of one image, checked."""
    if prompts is None:
        if boxes is None:
            raise LitetextError("nothing to find: give prompts, boxes or both")
        prompts = [VISUAL]
    prompts = [_checked_prompt(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
    if not prompts:
        raise LitetextError("nothing to find: the list of prompts is empty")
    per_prompt_boxes = _per_prompt("boxes", boxes, len(prompts), flat_dims=2)
    per_prompt_labels = _per_prompt("box_labels", box_labels, len(prompts), flat_dims=1)
    return [
        _Question(prompt, *_checked_boxes(prompt, *examples))
        for prompt, *examples in zip(prompts, per_prompt_boxes, per_prompt_labels, strict=True)
    ]


def _checked_prompt(prompt: Any) -> str:
    if not isinstance(prompt, str):
        raise LitetextError(f"a prompt must be text, got {prompt!r}; for several images give a list of lists")
    if not prompt.strip():
        raise LitetextError(f"the prompt {prompt!r} is empty; give a noun phrase such as 'white dog'")
    return prompt


def _checked_boxes(prompt: str, boxes: Any, labels: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if boxes is None:
        if labels is not None:
            raise LitetextError(f"prompt {prompt!r} has box_labels but no boxes")
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    try:
        array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError):
        raise LitetextError(f"the boxes of prompt {prompt!r} are not numbers; give x1, y1, x2, y2 in pixels") from None
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise LitetextError(f"the boxes of prompt {prompt!r} must be [n, 4] (x1, y1, x2, y2), got {array.shape}")
    if not np.isfinite(array).all() or (array[:, :2] >= array[:, 2:]).any():
        raise LitetextError(f"the boxes of prompt {prompt!r} must have x1 < x2 and y1 < y2 in pixels")
    signs = np.ones(len(array), np.int64) if labels is None else np.asarray(labels).astype(np.int64)
    if signs.shape != (len(array),) or not np.isin(signs, (0, 1)).all():
        raise LitetextError(f"prompt {prompt!r} needs one box label, 1 or 0, for each of its {len(array)} boxes")
    return array, signs


def _per_prompt(name: str, values: Any, count: int, flat_dims: int) -> list[Any]:
    """One entry a prompt; a lone prompt's entry may come without the list around it."""
    if values is None:
        return [None] * count
    values = list(values)
    if count == 1 and values and values[0] is not None and np.ndim(values[0]) == flat_dims - 1:
        return [values]
    if len(values) != count:
        raise LitetextError(f"{name} must hold one entry (or None) for each of the {count} prompts, got {len(values)}")
    return values


def _per_image(name: str, values: Any, count: int) -> list[Any]:
    if values is None:
        return [None] * count
    if len(values) != count:
        raise LitetextError(f"{name} must hold one entry (or None) for each of the {count} images, got {len(values)}")
    return list(values)


def _per_image_prompts(prompts: Any, count: int) -> list[Any]:
    if prompts is None or isinstance(prompts, str):
        return [prompts] * count
    prompts = list(prompts)
    if all(isinstance(prompt, str) for prompt in prompts):
        return [prompts] * count
    return _per_image("prompts", prompts, count)


def _batches(asked: list[_Question], batch_size: int) -> Iterator[list[int]]:
    """Indices of questions to decode together: at most ``batch_size``, all with the same number of boxes.

    Equal numbers need no padding, and a prompt without boxes must not meet the box encoder at all (it would add
    a token of its own).
    """
    by_boxes: dict[int, list[int]] = {}
    for index, question in enumerate(asked):
        by_boxes.setdefault(len(question.boxes), []).append(index)
    for indices in by_boxes.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


def _box_tensors(
    asked: list[_Question], size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Boxes [P, n, 4] (centre x, centre y, width, height as fractions) and labels [P, n]; None without boxes."""
    if len(asked[0].boxes) == 0:
        return None, None
    height, width = size
    corners = np.stack([question.boxes for question in asked]) / np.array([width, height, width, height], np.float32)
    low, high = corners[..., :2], corners[..., 2:]
    boxes = np.concatenate([(low + high) / 2, high - low], axis=-1)
    labels = np.stack([question.labels for question in asked])
    return torch.from_numpy(boxes).to(device, dtype), torch.from_numpy(labels).to(device)


def _masks_at(logits: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks [n, H, W] of mask logits [n, h, w]: probabilities, resized, above a half (as transformers does).

    One at a time, so that no more than one mask of the image's size is ever held as floats.
    """
    masks = np.empty((len(logits), *size), dtype=bool)
    for row, low in enumerate(logits.float().sigmoid()):
        high = torch.nn.functional.interpolate(low[None, None], size=size, mode="bilinear", align_corners=False)
        masks[row] = (high[0, 0] > 0.5).cpu().numpy()
    return masks


def _text_encoder(text: TextEncoder | str | os.PathLike[str], device: torch.device) -> TextEncoder:
    if not isinstance(text, str | os.PathLike):
        return text
    from ..encoders import load_encoder

    return load_encoder(text, device=device)


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise LitetextError(f"unknown device {device!r}; give cpu, cuda or cuda:0") from None


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    named = getattr(torch, dtype, None) if isinstance(dtype, str) else (dtype or torch.float32)
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise LitetextError(f"unknown dtype {dtype!r}; give float32, bfloat16 or float16")
    return named


def _return_memory(device: torch.device) -> None:
    """Give freed memory back to the system: Python's garbage, the C library's free lists, the GPU's cache."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return_freed_memory()
