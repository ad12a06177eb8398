"""Roboflow's ``/sam3/concept_segment``: clients of their API work with this server's address in place of theirs."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ...results import Instances
from ...segment.questions import VISUAL
from ..api import REFUSALS, Server
from ..model import Wanted
from ..refusals import RefusalError
from ..serving import Serving
from .pictures import picture_of

tool = APIRouter(tags=["Roboflow"], responses=REFUSALS)

MOST_PROMPTS = 16

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class CornerBox(BaseModel):
    """A box by two corners, in pixels."""

    x0: Number
    y0: Number
    x1: Number
    y1: Number

    def corners(self) -> list[float]:
        """Return x1, y1, x2, y2."""
        return [self.x0, self.y0, self.x1, self.y1]


class SizedBox(BaseModel):
    """A box by its upper left corner and its size, in pixels."""

    x: Number
    y: Number
    width: Number
    height: Number

    def corners(self) -> list[float]:
        """Return x1, y1, x2, y2."""
        return [self.x, self.y, self.x + self.width, self.y + self.height]


class ConceptPrompt(BaseModel):
    """A phrase, example boxes, or both."""

    type: Literal["text", "visual"] | None = None
    text: str | None = Field(None, examples=["white dog"])
    boxes: list[SizedBox | CornerBox] = Field(default_factory=list)
    box_labels: list[bool] | None = Field(None, description="True: an example; False: a counterexample.")
    output_prob_thresh: Share | None = None


class RequestImage(BaseModel):
    """The image; links are not followed."""

    type: Literal["base64", "url"] = "base64"
    value: str = Field(description="The file as base64.", examples=["iVBORw0KGgo…"])


class ConceptRequest(BaseModel):
    """An image and what to find in it."""

    image: RequestImage
    prompts: list[ConceptPrompt] = Field(min_length=1, max_length=MOST_PROMPTS)
    output_prob_thresh: Share = 0.5
    nms_iou_threshold: Share | None = Field(None, description="IoU above which the better of two instances stays.")
    format: Literal["polygon", "rle"] = "polygon"


class ConceptAnswer(BaseModel):
    """What was found, for each prompt."""

    prompt_results: list[dict[str, Any]]
    time: float = Field(description="Seconds.")


@tool.post("/sam3/concept_segment")
async def concept_segment(server: Server, request: ConceptRequest) -> ConceptAnswer:
    """Find every instance of every prompt in an image."""
    begun = time.monotonic()
    if request.image.type == "url":
        raise RefusalError(422, "this server follows no links; send the image as base64")
    name = server.models.default
    photo = await server.photo(name, picture_of(request.image.value), "image")
    asked = tuple(
        one for prompt in request.prompts for one in _wanted(server, prompt, photo.size, request.output_prob_thresh)
    )
    answer = await server.found(name, photo, asked)
    results = await server.aside(lambda: _results(answer.found, request))
    return ConceptAnswer(prompt_results=results, time=time.monotonic() - begun)


def _wanted(server: Serving, prompt: ConceptPrompt, size: tuple[int, int], threshold: float) -> tuple[Wanted, ...]:
    own = prompt.output_prob_thresh if prompt.output_prob_thresh is not None else threshold
    boxes = [box.corners() for box in prompt.boxes] or None
    labels = None if boxes is None or prompt.box_labels is None else [int(label) for label in prompt.box_labels]
    return server.wanted(size, [prompt.text] if prompt.text else [], own, boxes, labels)


def _results(found: Instances, request: ConceptRequest) -> list[dict[str, Any]]:
    if request.nms_iou_threshold is not None:
        found = found.nms(request.nms_iou_threshold, across_prompts=True)
    return [
        {
            "prompt_index": row,
            "echo": {
                "prompt_index": row,
                "type": prompt.type or ("visual" if prompt.boxes else "text"),
                "text": prompt.text or (VISUAL if prompt.boxes else None),
                "num_boxes": len(prompt.boxes),
            },
            "predictions": _predictions(found[found.prompt_index == row], request.format),
        }
        for row, prompt in enumerate(request.prompts)
    ]


def _predictions(found: Instances, form: str) -> list[dict[str, Any]]:
    masks: list[Any]
    if form == "rle":
        masks = found.masks.to_rle()
    else:
        masks = [[part.tolist() for part in parts] for parts in found.masks.to_polygons(0.5)]
    return [
        {"confidence": score, "format": form, "masks": one}
        for score, one in zip(found.scores.tolist(), masks, strict=True)
    ]
