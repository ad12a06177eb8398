"""The routes under ``/v1``, and those that say how the server is."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi import Path as UrlPath
from starlette.responses import JSONResponse

from ..errors import LitetextError
from ..results.formats import yolo
from ..segment import Segmenter
from ..tokenizer import clean
from .answers import MaskForm, found_answer, picture_answer
from .concepts import StoredConcept
from .jobs import can_track
from .model import Photo, wanted
from .refusals import RefusalError
from .schemas import (
    ConceptsAnswer,
    EmbedAnswer,
    EmbedRequest,
    HealthAnswer,
    KeptConcept,
    ModelsAnswer,
    RefusedAnswer,
    SegmentAnswer,
    ToolHealthAnswer,
)
from .serving import Serving
from .tools.widgets import client_models

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": RefusedAnswer, "description": "The API key is missing or wrong."},
    413: {"model": RefusedAnswer, "description": "More bytes or pixels than the limit."},
    415: {"model": RefusedAnswer, "description": "No image that can be read."},
    422: {"model": RefusedAnswer, "description": "A value that is wrong, or beyond its limit."},
    429: {"model": RefusedAnswer, "description": "Too much is asked at once; Retry-After says when to come back."},
    "4XX": {"model": RefusedAnswer, "description": "Another mistake of the request."},
}

router = APIRouter(responses=REFUSALS)


def serving_of(request: Request) -> Serving:
    """Return the server that answers a request."""
    serving: Serving = request.app.state.serving
    return serving


Server = Annotated[Serving, Depends(serving_of)]
Threshold = Annotated[float, Form(ge=0, le=1, allow_inf_nan=False, description="Lowest score that counts.")]


@router.post(
    "/v1/segment",
    response_model=SegmentAnswer,
    responses={
        200: {
            "content": {"image/png": {}, "text/plain": {}},
            "description": "What was found, in the form that was asked for.",
        }
    },
    tags=["images"],
)
async def segment(
    server: Server,
    image: Annotated[UploadFile, File(description="PNG, JPEG, WEBP, BMP, TIFF or GIF.")],
    phrases: Annotated[list[str] | None, Form(description="What to find; repeat the field for more.")] = None,
    boxes: Annotated[
        str | None,
        Form(
            description="Example boxes as JSON, [[x1, y1, x2, y2], …] in pixels of the upright image; "
            "alone or beside one phrase.",
            examples=["[[10, 20, 80, 90]]"],
        ),
    ] = None,
    box_labels: Annotated[
        str | None,
        Form(description="JSON: 1 for each box that is an example, 0 for a counterexample.", examples=["[1]"]),
    ] = None,
    concepts: Annotated[list[str] | None, Form(description="Names of kept concepts to find too.")] = None,
    threshold: Threshold = 0.5,
    model: Annotated[str | None, Form(description="By default the server's first.")] = None,
    format: Annotated[Literal["json", "coco", "yolo", "png"], Form(description="Of the answer.")] = "json",
    masks: Annotated[MaskForm, Form(description="How JSON holds masks.")] = "rle",
    tolerance: Annotated[float, Form(ge=0, le=100, allow_inf_nan=False, description="Of polygons, in pixels.")] = 1.0,
) -> Response:
    """Find every instance of every phrase in an image."""
    begun = time.monotonic()
    name = server.model_name(model)
    photo = await server.photo(name, await image.read(), image.filename or "")
    asked = server.wanted(
        photo.size, phrases or [], threshold, *server.boxes(boxes, box_labels), concepts=concepts or []
    )
    answer = await server.found(name, photo, asked)
    if format == "png":
        return Response(await server.aside(lambda: picture_answer(answer.found, photo.upload)), media_type="image/png")
    if format == "coco":
        return JSONResponse(await server.aside(lambda: answer.found.to_coco(photo.upload.name)))
    if format == "yolo":
        text = await server.aside(lambda: yolo.labels(answer.found.annotations(photo.upload.name), tolerance=tolerance))
        return Response(text, media_type="text/plain; charset=utf-8")
    found = await server.aside(
        lambda: found_answer(answer.found, photo.upload, name, cached=answer.cached, masks=masks, tolerance=tolerance)
    )
    return JSONResponse(found | {"milliseconds": round((time.monotonic() - begun) * 1000, 1)})


@router.post("/v1/embed", response_model=EmbedAnswer, tags=["text"])
async def embed(server: Server, request: EmbedRequest) -> Response:
    """Return the text encoder's features of phrases, as the detector reads them."""
    name = server.model_name(request.model)
    phrases = server.phrases(request.phrases)
    features = await server.call(lambda: server.models.segmenters[name].text.encode(phrases).numpy())
    rows = [
        {"phrase": phrase, "tokens": tokens[~mask].tolist()}
        for phrase, tokens, mask in zip(phrases, features.tokens, features.mask, strict=True)
    ]
    return JSONResponse({"model": name, "dim": features.dim, "features": rows})


@router.get("/v1/models", tags=["server"])
async def models(server: Server) -> ModelsAnswer:
    """Return the models that are loaded, and the limits of requests."""
    limits = {name: float(getattr(server.limits, name)) for name in server.limits.__slots__}
    loaded = [
        _model_row(name, segmenter, server.models.parameters(name))
        for name, segmenter in server.models.segmenters.items()
    ]
    return ModelsAnswer.model_validate(
        {
            "models": loaded,
            "default": server.models.default,
            "limits": limits,
            "data": client_models(list(server.models.segmenters), videos=can_track()),
        }
    )


@router.get("/v1/concepts", tags=["concepts"])
async def concepts(server: Server) -> ConceptsAnswer:
    """Return the concepts that are kept."""
    return ConceptsAnswer(concepts=[_kept(concept) for concept in server.concepts])


@router.post("/v1/concepts", status_code=201, tags=["concepts"])
async def put_concept(
    server: Server,
    name: Annotated[str, Form(description="Of the concept; without boxes also its phrase.", examples=["widget"])],
    threshold: Annotated[
        float | None, Form(ge=0, le=1, allow_inf_nan=False, description="Of its own; by default the request's.")
    ] = None,
    image: Annotated[UploadFile | None, File(description="In which boxes show it.")] = None,
    boxes: Annotated[str | None, Form(description="Example boxes in it, as in /v1/segment.")] = None,
    box_labels: Annotated[str | None, Form(description="As in /v1/segment.")] = None,
    phrase: Annotated[str | None, Form(description="That goes with the boxes.")] = None,
) -> KeptConcept:
    """Keep a concept for the server's first model: a phrase with a threshold, or what boxes in an image show."""
    called = clean(server.text(name))
    if (image is None) != (boxes is None):
        raise RefusalError(422, "a concept shown by example needs both an image and boxes in it")
    if image is None:
        concept = StoredConcept(called, called, threshold)
    else:
        photo = await server.photo(server.models.default, await image.read(), image.filename or "")
        word = None if not phrase else server.text(phrase)
        concept = await _shown(server, called, photo, server.boxes(boxes, box_labels), word, threshold)
    text = server.models.segmenters[server.models.default].text
    await server.call(lambda: server.concepts.put(concept, text))
    return _kept(concept)


@router.delete("/v1/concepts/{name:path}", status_code=204, tags=["concepts"])
async def remove_concept(server: Server, name: Annotated[str, UrlPath(examples=["widget"])]) -> Response:
    """Forget a concept."""
    text = server.models.segmenters[server.models.default].text
    await server.call(lambda: server.concepts.remove(name, text))
    return Response(status_code=204)


@router.get("/v1/concepts.safetensors", tags=["concepts"], response_class=Response)
async def concept_bank(server: Server) -> Response:
    """Return the concepts as a bank, which ``litetext segment --text`` reads."""
    if not len(server.concepts):
        raise RefusalError(404, "no concept is kept; POST one to /v1/concepts first")
    content = await server.call(lambda: _bank(server))
    headers = {"Content-Disposition": 'attachment; filename="concepts.safetensors"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.get("/healthz", tags=["server"])
async def health() -> HealthAnswer:
    """Return whether the process answers."""
    return HealthAnswer(status="ok")


@router.get("/health", tags=["server"])
async def tool_health(server: Server) -> ToolHealthAnswer:
    """Return what annotation tools ask before they connect."""
    return ToolHealthAnswer(status="UP", model_class="litetext", models_loaded=len(server.models.segmenters))


@router.get("/readyz", tags=["server"], responses={503: {"model": RefusedAnswer, "description": "Not now."}})
async def ready(server: Server) -> HealthAnswer:
    """Return whether the model takes work."""
    if not server.worker.is_alive:
        raise RefusalError(503, "the model takes no work", retry_after=5)
    return HealthAnswer(status="ok")


@router.get("/metrics", tags=["server"], response_class=Response)
async def metrics(server: Server) -> Response:
    """Return counters in Prometheus' text format."""
    return Response(server.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _shown(
    server: Serving,
    name: str,
    photo: Photo,
    examples: tuple[list[Any] | None, list[Any] | None],
    phrase: str | None,
    threshold: float | None,
) -> StoredConcept:
    try:
        asked = wanted(name, 0.5, photo.size, *examples)
    except LitetextError as error:
        raise RefusalError(422, str(error)) from None
    model = server.models.default
    shown = await server.call(lambda: server.models.concept(model, photo, name, asked, phrase, threshold))
    return StoredConcept(name, shown, threshold)


def _bank(server: Serving) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "concepts.safetensors"
        server.concepts.write(path, server.models.segmenters[server.models.default].text)
        return path.read_bytes()


def _kept(concept: StoredConcept) -> KeptConcept:
    return KeptConcept(
        name=concept.name, kind="example" if concept.by_example else "phrase", threshold=concept.threshold
    )


def _model_row(name: str, segmenter: Segmenter, parameters: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "dim": segmenter.dim,
        "takes_boxes": segmenter.backend.convention.takes_boxes,
        "backend": type(segmenter.backend).__name__,
        "text": type(segmenter.text).__name__,
        "text_parameters": parameters,
    }
