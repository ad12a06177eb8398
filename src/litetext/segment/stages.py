"""The stages between words and photos and what is found, of one implementation, in memory or in a folder.

A folder holds ``recording.json`` (prompts, threshold, who made it), ``stages.safetensors`` and a README that names
every tensor, so that another implementation, on another machine and in another language, can be asked the same and be
compared (see `parity`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ..encoders.features import TextEncoder, TextFeatures
from ..encoders.safetensors_file import SafetensorsFile
from ..errors import LitetextError
from ..files import write_json, write_text
from ..json_files import read_json
from ..outputs import atomic_folder
from ..results import Masks
from .backend import Backend, Detections
from .segmenter import Segmenter

FORMAT = "litetext-recording"
_SETTINGS, _TENSORS = "recording.json", "stages.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class StageInputs:
    """What every implementation is asked: all prompts of all photos.

    Attributes:
        photos: uint8 [H, W, 3] each.
        prompts: noun phrases, each of them once.
        threshold: the lowest score of a detection.
        masks: how many masks of each prompt are compared, its best.
    """

    photos: tuple[NDArray[np.uint8], ...]
    prompts: tuple[str, ...]
    threshold: float = 0.5
    masks: int = 3


@dataclass(frozen=True, slots=True, eq=False)
class PhotoStages:
    """What is made of one photo, for P prompts with Q queries each.

    Attributes:
        features: the levels of the pyramid, fine to coarse, float32 [C, h, w] each.
        logits: [P, Q] float32.
        presence_logits: [P] float32.
        boxes: [P, Q, 4] float32, x1, y1, x2, y2 as fractions of the photo.
        queries: [P, k] int64, the queries whose masks are drawn, by falling score.
        mask_logits: [P, k, h, w] float32.
        scores: [N] float32, of the final detections.
        detection_boxes: [N, 4] float32 in pixels.
        prompt_index: [N] int64, the prompt of each.
        detection_masks: N masks of the photo's size.
    """

    features: tuple[NDArray[np.float32], ...]
    logits: NDArray[np.float32]
    presence_logits: NDArray[np.float32]
    boxes: NDArray[np.float32]
    queries: NDArray[np.int64]
    mask_logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    detection_boxes: NDArray[np.float32]
    prompt_index: NDArray[np.int64]
    detection_masks: Masks


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """All stages of one implementation.

    Attributes:
        implementation: its name.
        questions: what it was asked.
        ids: [P, L] int64 token ids; None where the encoder has no tokenizer (a concept bank).
        text: features of the prompts.
        photos: the stages of each photo.
    """

    implementation: str
    questions: StageInputs
    ids: NDArray[np.int64] | None
    text: TextFeatures[NDArray[Any]]
    photos: tuple[PhotoStages, ...]


def record(
    segmenter: Segmenter,
    questions: StageInputs,
    implementation: str,
    queries: Sequence[NDArray[np.int64]] | None = None,
) -> Recording:
    """Run a segmenter and keep what it makes on the way.

    Args:
        segmenter: of any backend.
        questions: what it is asked.
        implementation: its name.
        queries: for each photo, whose masks to draw, [P, k]; by default the best of each prompt.
    """
    backend = _Recorder(segmenter.backend)
    recorded = Segmenter(backend, segmenter.text)
    photos = []
    for row, photo in enumerate(questions.photos):
        image = recorded.encode_image(photo)
        backend.detections.clear()
        found = recorded.detect(image, questions.prompts, threshold=questions.threshold, batch_size=1)
        drawn = best_queries(backend.scores(), questions.masks) if queries is None else queries[row]
        masks = [
            backend.decode_masks(image.state, detections, 0, chosen)
            for detections, chosen in zip(backend.detections, drawn, strict=True)
        ]
        photos.append(
            PhotoStages(
                features=tuple(backend.feature_maps(image.state)),
                logits=np.concatenate([one.logits for one in backend.detections]),
                presence_logits=np.concatenate([one.presence_logits for one in backend.detections]),
                boxes=np.concatenate([one.boxes for one in backend.detections]),
                queries=drawn,
                mask_logits=np.stack(masks),
                scores=found.scores,
                detection_boxes=found.boxes,
                prompt_index=found.prompt_index,
                detection_masks=found.masks,
            )
        )
    text = segmenter.text.encode(questions.prompts).numpy()
    return Recording(implementation, questions, token_ids(segmenter.text, questions.prompts), text, tuple(photos))


def best_queries(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the ``count`` best queries of each prompt, [P, count], from ``scores`` [P, Q]."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def token_ids(encoder: TextEncoder, prompts: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the ids [P, L] that an encoder reads, or None of one that has no tokenizer."""
    tokenizer, config = getattr(encoder, "tokenizer", None), getattr(encoder, "config", None)
    if tokenizer is None or config is None:
        return None
    ids = tokenizer(list(prompts), config.convention.context_length, config.convention.pad_id)
    return np.asarray(ids, np.int64)


class _Recorder:
    """A backend that keeps the detections it hands on."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.dim, self.convention, self.image_size = backend.dim, backend.convention, backend.image_size
        self.prepare_text, self.encode_images = backend.prepare_text, backend.encode_images
        self.encode_boxes, self.feature_maps = backend.encode_boxes, backend.feature_maps
        self.decode_masks, self.decode_masks_together = backend.decode_masks, backend.decode_masks_together
        self.return_memory = backend.return_memory
        self.detections: list[Detections] = []

    def detect(self, *arguments: Any) -> Detections:
        found = self._backend.detect(*arguments)
        self.detections.append(found)
        return found

    def scores(self) -> NDArray[np.float32]:
        """[P, Q], of prompts that were asked one by one."""
        return np.concatenate([one.scores for one in self.detections])


def write_recording(recording: Recording, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a recording as a folder, atomically.

    Args:
        recording: what to write.
        folder: a new or empty one, or an earlier recording where ``overwrite`` says so.
        overwrite: replace an earlier recording.

    Raises:
        LitetextError: the folder is refused.
    """
    questions = recording.questions
    tensors: dict[str, NDArray[Any]] = {"text_tokens": recording.text.tokens, "text_mask": recording.text.mask}
    if recording.ids is not None:
        tensors["ids"] = recording.ids
    for row, (photo, stages) in enumerate(zip(questions.photos, recording.photos, strict=True)):
        own: dict[str, NDArray[Any]] = {f"features.{level}": features for level, features in enumerate(stages.features)}
        own |= {name: getattr(stages, name) for name in _PLAIN} | {"photo": photo}
        own["detection_masks"] = stages.detection_masks.dense()
        tensors |= {f"{row}.{name}": value for name, value in own.items()}
    settings = {
        "format": FORMAT,
        "version": 1,
        "implementation": recording.implementation,
        "prompts": list(questions.prompts),
        "photos": len(questions.photos),
        "threshold": questions.threshold,
        "masks": questions.masks,
    }
    with atomic_folder(folder, "recording", overwrite=overwrite) as staged:
        write_json(staged / _SETTINGS, settings)
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, staged / _TENSORS)
        write_text(staged / "README.md", _README)


_PLAIN = (
    "logits",
    "presence_logits",
    "boxes",
    "queries",
    "mask_logits",
    "scores",
    "detection_boxes",
    "prompt_index",
)


def is_recording(folder: Path) -> bool:
    """Whether ``folder`` is a recording, be it damaged."""
    return (folder / _SETTINGS).is_file()


def read_recording(folder: Path) -> Recording:
    """Read what `write_recording`, or another implementation in its format, wrote.

    Raises:
        LitetextError: another format or version, or a tensor that is missing or of another shape, by name.
    """
    settings = read_json(folder / _SETTINGS)
    if not isinstance(settings, dict) or settings.get("format") != FORMAT or settings.get("version") != 1:
        raise LitetextError(f"{folder / _SETTINGS} is not of a recording of version 1; record the stages again")
    try:
        file = SafetensorsFile(folder / _TENSORS)
        tensors = {name: file.array(name) for name in file.tensors}
        questions = StageInputs(
            tuple(tensors[f"{row}.photo"] for row in range(int(settings["photos"]))),
            tuple(map(str, settings["prompts"])),
            float(settings["threshold"]),
            int(settings["masks"]),
        )
        photos = tuple(_photo_stages(tensors, row, questions) for row in range(len(questions.photos)))
        text = TextFeatures(tensors["text_tokens"], tensors["text_mask"])
    except LitetextError:
        raise
    except KeyError as error:
        raise LitetextError(
            f"{folder}: {error.args[0]!r} is missing; the README of a recording names them all"
        ) from None
    except (TypeError, ValueError) as error:
        raise LitetextError(f"{folder}: {error}; the README of a recording says what belongs there") from None
    return Recording(str(settings.get("implementation", folder.name)), questions, tensors.get("ids"), text, photos)


def _photo_stages(tensors: dict[str, NDArray[Any]], row: int, questions: StageInputs) -> PhotoStages:
    own = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{row}.")}
    levels = sorted((name for name in own if name.startswith("features.")), key=lambda name: int(name[9:]))
    for name in (*_PLAIN, "detection_masks"):
        if name not in own:
            raise KeyError(f"{row}.{name}")
    for name in ("logits", "presence_logits", "boxes", "queries", "mask_logits"):
        if len(own[name]) != len(questions.prompts):
            raise ValueError(f"'{row}.{name}' holds {len(own[name])} rows for {len(questions.prompts)} prompts")
    height, width = questions.photos[row].shape[:2]
    masks = Masks.from_dense(own["detection_masks"].astype(bool), size=(height, width))
    return PhotoStages(
        tuple(own[name] for name in levels), **{name: own[name] for name in _PLAIN}, detection_masks=masks
    )


_README = """\
# The stages of a promptable segmenter

`recording.json` holds the prompts (P of them), the number of photos, the threshold and the name of the implementation;
`stages.safetensors` holds what it was asked and what it made. Another implementation answers the same questions, writes
the same two files, and is compared with:

```
litetext parity MODEL --against THIS_FOLDER
```

| tensor | what |
|---|---|
| `ids` | [P, L] int64, token ids (may be left out) |
| `text_tokens`, `text_mask` | [P, L, D] float32, what the detector reads of a prompt; [P, L] bool, True = padding |
| `0.photo` | [H, W, 3] uint8, the first photo, as given to all implementations; the second is `1.photo`, and so on |
| `0.features.0`, … | [C, h, w] float32, the levels of the vision encoder's pyramid, fine to coarse (may be left out) |
| `0.logits`, `0.presence_logits` | [P, Q], [P] float32; a score is the product of their sigmoids |
| `0.boxes` | [P, Q, 4] float32, x1, y1, x2, y2 as fractions of the photo |
| `0.queries`, `0.mask_logits` | [P, k] int64, queries whose masks are compared; [P, k, h, w] float32, theirs |
| `0.scores`, `0.detection_boxes`, `0.prompt_index`, `0.detection_masks` | the N final detections: [N] float32; \
[N, 4] float32 in pixels; [N] int64; [N, H, W] bool |
"""
