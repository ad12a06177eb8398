"""X-AnyLabeling's remote server, for images: set ``server_url`` to this server, and its API key as the token.

Written from the protocol. ``GET /v1/models`` holds the ``data`` that the client reads beside this server's own keys.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ...results import Instances
from ..api import REFUSALS, Server
from ..refusals import RefusalError
from .pictures import picture_of
from .widgets import served_name

tool = APIRouter(tags=["X-AnyLabeling"], responses=REFUSALS)

Number = Annotated[float, Field(allow_inf_nan=False)]


class Mark(BaseModel):
    """What was drawn on the image."""

    type: Literal["rectangle", "point"] = Field(examples=["rectangle"])
    data: list[Number] = Field(description="x1, y1, x2, y2 in pixels.", examples=[[10, 20, 80, 90]])
    label: int = Field(1, ge=0, le=1, description="1: an example; 0: a counterexample.")


class PredictParameters(BaseModel):
    """How to look; keys that are not known are passed over, since clients send those of all models."""

    text_prompt: str = Field("", description="Phrases, separated by commas or full stops.", examples=["white dog, car"])
    conf_threshold: float = Field(0.0, ge=0, le=1, description="Lowest score; 0: the server's default of 0.5.")
    epsilon_factor: float = Field(0.001, ge=0, le=1, description="How far outlines may be moved, of their length.")
    marks: list[Mark] = Field(default_factory=list)


class PredictRequest(BaseModel):
    """An image to annotate."""

    model: str = Field(examples=["mini"])
    image: str = Field(description="The file as base64, as a data URI or plain.", examples=["data:image/png;base64,…"])
    params: PredictParameters = Field(default_factory=lambda: PredictParameters.model_validate({}))


class PredictAnswer(BaseModel):
    """Shapes as X-AnyLabeling draws them."""

    success: Literal[True] = True
    data: dict[str, Any]


@tool.post("/v1/predict")
async def predict(server: Server, request: PredictRequest) -> PredictAnswer:
    """Find what a text prompt names, or what drawn rectangles show, in an image."""
    name = server.model_name(served_name(request.model))
    photo = await server.photo(name, picture_of(request.image), "image")
    given = request.params
    phrases = [part for part in map(str.strip, re.split(r"[,.]", given.text_prompt)) if part]
    marks = _rectangles(given.marks)
    boxes, labels = [mark.data for mark in marks] or None, [mark.label for mark in marks] or None
    asked = server.wanted(photo.size, phrases, given.conf_threshold or 0.5, boxes, labels)
    answer = await server.found(name, photo, asked)
    shapes = await server.aside(lambda: shapes_of(answer.found, given.epsilon_factor))
    return PredictAnswer(data={"shapes": shapes, "description": ""})


def _rectangles(marks: list[Mark]) -> list[Mark]:
    if any(mark.type == "point" for mark in marks):
        raise RefusalError(422, "this server finds what rectangles show, not what points touch; draw rectangles")
    return marks


def shapes_of(found: Instances, epsilon: float) -> list[dict[str, Any]]:
    """Return one polygon for each part of each mask; those of one instance share a group."""
    shapes = []
    for row, (label, score, box) in enumerate(zip(found.labels, found.scores.tolist(), found.boxes, strict=True)):
        around = 2 * float(box[2] - box[0] + box[3] - box[1])
        (parts,) = found.masks[[row]].to_polygons(epsilon * around)
        group = row + 1 if len(parts) > 1 else None
        shapes += [_shape(label, score, part.tolist(), group) for part in parts if len(part) > 2]
    return shapes


def _shape(label: str, score: float, points: list[list[float]], group: int | None) -> dict[str, Any]:
    return {
        "label": label,
        "shape_type": "polygon",
        "points": [*points, points[0]],  # X-AnyLabeling's polygons end where they begin
        "score": score,
        "attributes": {},
        "description": None,
        "difficult": False,
        "direction": 0,
        "flags": None,
        "group_id": group,
        "kie_linking": [],
    }
