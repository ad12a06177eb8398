"""X-AnyLabeling's remote server, for videos: a text is asked of one frame and followed through the others."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from ...errors import LitetextError
from ...images import read_image
from ...results import FrameResult
from ...results.masklets import object_number
from ..api import REFUSALS, Server
from ..jobs import check_tracking
from ..refusals import RefusalError
from ..serving import Serving
from ..uploads import Upload
from .frame_sessions import FrameSession
from .pictures import picture_of
from .widgets import served_name
from .xanylabeling import shapes_of

tool = APIRouter(prefix="/v1/video", tags=["X-AnyLabeling"], responses=REFUSALS)

_MOST_FRAMES = 10_000


class FramesRequest(BaseModel):
    """The frames of a video."""

    model: str = Field(examples=["mini (video)"])
    frames: list[str] = Field(min_length=1, max_length=_MOST_FRAMES, description="Files as data URIs, in order.")


class FramePromptParameters(BaseModel):
    """How to look."""

    conf_threshold: float = Field(0.0, ge=0, le=1, description="Lowest score in the prompt's frame; 0: 0.5.")
    epsilon_factor: float = Field(0.001, ge=0, le=1)


class FramePromptRequest(BaseModel):
    """What to follow."""

    session_id: str
    frame_index: int = Field(0, ge=0)
    text_prompt: str = Field("", description="Phrases, separated by commas or full stops.", examples=["white dog"])
    points: list[list[float]] | None = None
    params: FramePromptParameters = Field(default_factory=lambda: FramePromptParameters.model_validate({}))


class PropagateRequest(BaseModel):
    """From which frame on to follow it."""

    session_id: str
    start_frame: int = Field(0, ge=0)


class SessionAnswer(BaseModel):
    """What a request about a session gives."""

    success: Literal[True] = True
    data: dict[str, Any]


@tool.post("/init")
async def begin(server: Server, request: FramesRequest) -> SessionAnswer:
    """Begin a session."""
    check_tracking()
    name = server.model_name(served_name(request.model))
    frames = await server.aside(lambda: _frames(request.frames, server))
    id = server.frame_sessions.add(FrameSession(name, frames))
    return SessionAnswer(data={"session_id": id, "total_frames": len(frames)})


@tool.post("/prompt")
async def prompt(server: Server, request: FramePromptRequest) -> SessionAnswer:
    """Find in one frame what is to be followed."""
    session = server.frame_sessions.get(request.session_id)
    if request.points:
        raise RefusalError(422, "this server follows what a text names, not what points touch; give a text prompt")
    if request.frame_index >= len(session.frames):
        raise RefusalError(
            422, f"the video has {len(session.frames)} frames; there is none of number {request.frame_index}"
        )
    phrases = [part for part in map(str.strip, re.split(r"[,.]", request.text_prompt)) if part]
    photo = await server.photo(session.model, session.frames[request.frame_index], "frame")
    asked = server.wanted(photo.size, phrases, request.params.conf_threshold or 0.5)
    answer = await server.found(session.model, photo, asked)
    session.phrases = phrases
    shapes = await server.aside(lambda: shapes_of(answer.found, request.params.epsilon_factor))
    return SessionAnswer(data={"masks": shapes, "frame_index": request.frame_index})


@tool.post("/propagate/stream", response_class=StreamingResponse)
async def propagate(server: Server, request: PropagateRequest) -> Response:
    """Follow it through the video: events of the progress, then of the results."""
    session = server.frame_sessions.get(request.session_id)
    if not session.phrases:
        raise RefusalError(409, "nothing is asked of this video yet; send a text prompt first")
    if request.start_frame >= len(session.frames):
        raise RefusalError(422, f"the video has {len(session.frames)} frames; begin at an earlier one")
    session.stopped.clear()
    return StreamingResponse(_events(server, session, request.start_frame), media_type="text/event-stream")


@tool.post("/cancel/{id}")
async def cancel_session(server: Server, id: str) -> SessionAnswer:
    """Stop following."""
    server.frame_sessions.stop(id, forget=False)
    return SessionAnswer(data={"session_id": id})


@tool.post("/cleanup/{id}")
async def end_session(server: Server, id: str) -> SessionAnswer:
    """Forget a session and its frames."""
    server.frame_sessions.stop(id, forget=True)
    return SessionAnswer(data={"session_id": id})


def _frames(texts: list[str], server: Serving) -> list[bytes]:
    frames = [picture_of(text) for text in texts]
    for frame in frames:
        Upload.of(frame, "frame", server.limits)
    return frames


async def _events(server: Serving, session: FrameSession, start: int) -> AsyncIterator[str]:
    yield _event("started", total_frames=len(session.frames), start_frame_index=start)
    results: dict[str, Any] = {}
    frames = session.frames[start:]
    try:
        tracker = await asyncio.to_thread(server.jobs.tracker, session.model)
        stream = tracker.stream(map(read_image, frames), session.phrases, frame_count=len(frames))
        while not session.stopped.is_set():
            found = await asyncio.to_thread(next, stream, None)
            if found is None:
                yield _event("completed", results=results)
                return
            number = start + found.frame_index
            results[str(number)] = {"masks": _masks(found)}
            yield _event("progress", current_frame=number, total_frames=len(session.frames))
        yield _event("error", message="cancelled")
    except LitetextError as error:
        yield _event("error", message=" ".join(str(error).split()))


def _masks(found: FrameResult) -> list[dict[str, Any]]:
    """The shapes of a frame; those of one object have its number as their group in every frame."""
    shapes = []
    for row, id in enumerate(found.object_ids.tolist()):
        one = shapes_of(found.instances[[row]], 0.001)
        shapes += [shape | {"group_id": object_number(id)} for shape in one]
    return shapes


def _event(kind: str, **values: Any) -> str:
    return f"data: {json.dumps({'type': kind, **values})}\n\n"
