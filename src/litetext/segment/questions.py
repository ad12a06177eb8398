"""What is asked of an image, checked before anything runs: prompts, example boxes, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..encoders.exemplar import ExemplarConcept
from ..errors import LitetextError, short

VISUAL = "visual"
"""What SAM3 reads in place of a noun phrase where boxes alone say what to find."""

Prompt: TypeAlias = "str | ExemplarConcept"
"""What a question asks for: a noun phrase, or what example boxes in another image show."""

BoxPrompts: TypeAlias = "ArrayLike | Sequence[ArrayLike | None] | None"
"""Example boxes of one image: for each prompt an [n, 4] array or None; for a lone prompt the [n, 4] array itself."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to find in one image: a prompt with its example boxes [n, 4] (pixels) and their labels [n]."""

    prompt: str | ExemplarConcept
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def name(self) -> str:
        """What results call it."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt.name


def questions_of(prompts: Any, boxes: Any, box_labels: Any) -> list[Question]:
    """What is asked of one image, checked."""
    if prompts is None:
        if boxes is None:
            raise LitetextError("nothing to find: give prompts, boxes or both")
        prompts = [VISUAL]
    prompts = [checked_prompt(prompt) for prompt in _several(prompts)]
    if not prompts:
        raise LitetextError("nothing to find: the list of prompts is empty")
    per_prompt_boxes = _per_prompt("boxes", boxes, len(prompts), flat_dims=2)
    per_prompt_labels = _per_prompt("box_labels", box_labels, len(prompts), flat_dims=1)
    return [
        Question(prompt, *checked_boxes(prompt if isinstance(prompt, str) else prompt.name, *examples))
        for prompt, *examples in zip(prompts, per_prompt_boxes, per_prompt_labels, strict=True)
    ]


def _several(prompts: Any) -> list[Any]:
    """Prompts as a list; one alone comes without the list around it."""
    if isinstance(prompts, str | ExemplarConcept):
        return [prompts]
    if isinstance(prompts, Mapping | Set) or not isinstance(prompts, Iterable):
        raise LitetextError(f"prompts must be a list of noun phrases, got {short(prompts)}")
    return list(prompts)


def checked_prompt(prompt: Any) -> str | ExemplarConcept:
    """Return ``prompt``; what is neither text nor a concept, or empty, is an error."""
    if isinstance(prompt, ExemplarConcept):
        return prompt
    if not isinstance(prompt, str):
        raise LitetextError(f"a prompt must be text, got {prompt!r}; for several images give a list of lists")
    if not prompt.strip():
        raise LitetextError(f"the prompt {prompt!r} is empty; give a noun phrase such as 'white dog'")
    return prompt


def checked_boxes(prompt: str, boxes: Any, labels: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return example boxes [n, 4] and their labels [n]; none where ``boxes`` is None."""
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


def check_boxes_inside(question: Question, size: tuple[int, int]) -> None:
    """Refuse example boxes that do not touch the image, of ``size`` (height, width): there is nothing in them."""
    height, width = size
    low, high = question.boxes[:, :2], question.boxes[:, 2:]
    outside = ((high <= 0) | (low >= [width, height])).any(1)
    if outside.any():
        x1, y1, x2, y2 = question.boxes[outside][0].tolist()
        raise LitetextError(
            f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} of prompt {question.name!r} lies outside the image, which is "
            f"{width}x{height} pixels; give x1, y1, x2, y2 in pixels of the upright image"
        )


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


def per_image(name: str, values: Any, count: int) -> list[Any]:
    """Return one value for each of ``count`` images; None stands for none at all."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise LitetextError(f"{name} must hold one entry (or None) for each of the {count} images, got {len(values)}")
    return list(values)


def per_image_prompts(prompts: Any, count: int) -> list[Any]:
    """Return the prompts of each of ``count`` images; one list of texts is asked of all of them."""
    if prompts is None:
        return [None] * count
    prompts = _several(prompts)
    if all(isinstance(prompt, str | ExemplarConcept) for prompt in prompts):
        return [prompts] * count
    return per_image("prompts", prompts, count)


def batches(kinds: Sequence[Hashable], batch_size: int) -> Iterator[list[int]]:
    """Indices of questions to decode together: at most ``batch_size``, all of one kind.

    What is of one kind has the same number of example boxes and of tokens, so nothing is padded, and a prompt without
    boxes does not meet the box encoder, which would add a token of its own.
    """
    of_kind: dict[Hashable, list[int]] = {}
    for index, kind in enumerate(kinds):
        of_kind.setdefault(kind, []).append(index)
    for indices in of_kind.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]
