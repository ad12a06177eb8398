"""Label Studio's ML backend: predictions for tasks, as polygons, brush strokes or rectangles.

What to find is the text of a ``<TextArea>`` where a request brings one, else the labels of the labeling interface.
Images are fetched from the one Label Studio that the server was started with, and from nowhere else.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ...errors import LitetextError
from ...images import LARGEST
from ...results import Instances
from ...results.formats.label_studio import packed
from ..api import REFUSALS, Server
from ..refusals import RefusalError
from ..serving import Serving

tool = APIRouter(tags=["Label Studio"], responses=REFUSALS)

_CONTROLS = {"PolygonLabels": "polygonlabels", "BrushLabels": "brushlabels", "RectangleLabels": "rectanglelabels"}
_MOST_TASKS = 1000


class _Loose(BaseModel):
    """Label Studio sends more than is read here."""

    model_config = ConfigDict(extra="ignore")


class SetupRequest(_Loose):
    """What Label Studio says when it connects."""

    project: str | int | None = Field(None, examples=["1.1764236000"])
    label_config: str | None = Field(None, alias="schema", description="The labeling interface, XML.")
    hostname: str | None = Field(None, examples=["http://localhost:8080"])
    access_token: str | None = None


class SetupAnswer(BaseModel):
    """What predictions are marked with."""

    model_version: str = Field(examples=["litetext mini"])


class StudioTask(_Loose):
    """A task, and where its image is."""

    id: int | None = None
    data: dict[str, Any] = Field(examples=[{"image": "/data/upload/1/street.jpg"}])


class TasksRequest(_Loose):
    """Tasks to predict."""

    tasks: list[StudioTask] = Field(max_length=_MOST_TASKS)
    label_config: str = Field(
        description="The labeling interface, XML.",
        examples=[
            '<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image">'
            '<Label value="dog"/></PolygonLabels></View>'
        ],
    )
    params: dict[str, Any] | None = Field(None, description="With the context of interactive labelling.")


class TasksAnswer(BaseModel):
    """A prediction for each task."""

    results: list[dict[str, Any]]
    model_version: str


@dataclass(frozen=True, slots=True)
class _Interface:
    """A labeling interface.

    Attributes:
        image: the name of its tag for the image.
        value: the key of a task's data that says where the image is.
        control: the name of its tag for labels.
        kind: of regions, as results call it.
        labels: that people choose from.
        texts: the names of its tags for text.
    """

    image: str
    value: str
    control: str
    kind: str
    labels: tuple[str, ...]
    texts: tuple[str, ...]


@tool.post("/setup")
async def setup(server: Server, request: SetupRequest) -> SetupAnswer:
    """Connect."""
    server.label_studio.greet(request.hostname, request.access_token)
    return SetupAnswer(model_version=_version(server))


@tool.post("/predict")
async def predict_tasks(server: Server, request: TasksRequest) -> TasksAnswer:
    """Predict the regions of tasks."""
    interface = _read_interface(request.label_config)
    phrases = _texts(request.params, interface) or list(interface.labels)
    results = [await _prediction(server, task, interface, phrases) for task in request.tasks]
    return TasksAnswer(results=results, model_version=_version(server))


@tool.post("/webhook", status_code=201)
async def webhook() -> dict[str, str]:
    """Take note of what happens in Label Studio, of which nothing is learned here."""
    return {"status": "ok"}


@tool.get("/versions")
async def versions(server: Server) -> dict[str, list[str]]:
    """Return the versions of the model."""
    return {"versions": [_version(server)]}


def _version(server: Serving) -> str:
    return f"litetext {server.models.default}"


def _read_interface(text: str) -> _Interface:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without end
        raise RefusalError(422, "label_config holds a document type, which no labeling interface needs")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise RefusalError(422, f"label_config is not valid XML ({error})") from None
    image = root.find(".//Image")
    control = next((one for one in root.iter() if one.tag in _CONTROLS), None)
    if image is None or control is None:
        raise RefusalError(422, f"label_config needs an Image and one of {', '.join(_CONTROLS)}")
    return _Interface(
        image.get("name", "image"),
        image.get("value", "$image").lstrip("$"),
        control.get("name", "label"),
        _CONTROLS[control.tag],
        tuple(one.get("value", "") for one in control.iter("Label") if one.get("value")),
        tuple(one.get("name", "") for one in root.iter("TextArea")),
    )


def _texts(params: Mapping[str, Any] | None, interface: _Interface) -> list[str]:
    """The phrases of a TextArea that a request brings with it."""
    context = (params or {}).get("context")
    regions = context.get("result") if isinstance(context, dict) else None
    found: list[str] = []
    for region in regions if isinstance(regions, list) else []:
        if isinstance(region, dict) and region.get("type") == "textarea" and region.get("from_name") in interface.texts:
            value = region.get("value")
            texts = value.get("text") if isinstance(value, dict) else None
            found += [texts] if isinstance(texts, str) else [one for one in texts or [] if isinstance(one, str)]
    return found


async def _prediction(server: Serving, task: StudioTask, interface: _Interface, phrases: list[str]) -> dict[str, Any]:
    place = task.data.get(interface.value)
    if not isinstance(place, str):
        raise RefusalError(422, f"a task has no {interface.value!r}, which the labeling interface names")
    name = server.models.default
    content = await server.label_studio.fetch(place, min(server.limits.megabytes << 20, LARGEST))
    photo = await server.photo(name, content, place.rpartition("/")[2])
    answer = await server.found(name, photo, server.wanted(photo.size, phrases, 0.5))
    try:
        regions = await server.aside(lambda: _regions(answer.found, interface))
    except LitetextError as error:
        raise RefusalError(422, str(error)) from None
    scores = answer.found.scores
    return {"result": regions, "score": float(scores.mean()) if len(scores) else 0.0, "model_version": _version(server)}


def _regions(found: Instances, interface: _Interface) -> list[dict[str, Any]]:
    height, width = found.size
    regions = []
    for row, (label, score) in enumerate(zip(found.labels, found.scores.tolist(), strict=True)):
        # a phrase of a text area is no label of the interface, and gets its first
        shown = label if label in interface.labels or not interface.labels else interface.labels[0]
        for value in _values(found, row, interface.kind):
            regions.append(
                {
                    "id": uuid.uuid4().hex[:10],
                    "from_name": interface.control,
                    "to_name": interface.image,
                    "type": interface.kind,
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "score": score,
                    "value": {**value, interface.kind: [shown]},
                }
            )
    return regions


def _values(found: Instances, row: int, kind: str) -> list[dict[str, Any]]:
    """Where an instance is, as a kind of region says it, in percent of the image."""
    height, width = found.size
    percent = np.array([100 / width, 100 / height])
    if kind == "brushlabels":
        return [{"format": "rle", "rle": packed(found.masks[row])}]
    if kind == "rectanglelabels":
        x1, y1, x2, y2 = found.masks[[row]].boxes[0].tolist()
        x, y, wide, high = x1 * percent[0], y1 * percent[1], (x2 - x1) * percent[0], (y2 - y1) * percent[1]
        return [{"x": x, "y": y, "width": wide, "height": high, "rotation": 0}]
    (parts,) = found.masks[[row]].to_polygons(0.7)
    return [{"points": (part * percent).tolist(), "closed": True} for part in parts if len(part) > 2]
