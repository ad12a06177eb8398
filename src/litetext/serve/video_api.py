"""The routes of videos: a job is accepted, asked how far it is, cancelled, and its result fetched."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile
from starlette.responses import FileResponse

from .api import REFUSALS, Server
from .jobs import FILES, TrackJob, check_tracking
from .refusals import RefusalError
from .schemas import JobAnswer, JobsAnswer, RefusedAnswer, TracksAnswer
from .serving import file_name

videos = APIRouter(
    prefix="/v1/track",
    tags=["videos"],
    responses={
        **REFUSALS,
        409: {"model": RefusedAnswer, "description": "The job is not done."},
        501: {"model": RefusedAnswer, "description": "The server has not installed what reads videos."},
    },
)


@videos.post("", status_code=202)
async def track(
    server: Server,
    video: Annotated[UploadFile, File(description="MP4, MOV, WebM, MKV, AVI or GIF.")],
    phrases: Annotated[list[str], Form(description="What to follow; repeat the field for more.", examples=[["dog"]])],
    model: Annotated[str | None, Form(description="By default the server's first.")] = None,
    every: Annotated[int, Form(ge=1, le=1000, description="Take every N-th frame.")] = 1,
    max_side: Annotated[int | None, Form(ge=16, le=8192, description="Reduce frames to this longer side.")] = None,
) -> JobAnswer:
    """Accept a video to follow every instance of every phrase through it."""
    check_tracking()
    asked = server.phrases(phrases)
    if not asked:
        raise RefusalError(422, "nothing to follow: send phrases")
    job = TrackJob("", server.model_name(model), file_name(video.filename or ""), asked, every, max_side)
    content = await video.read()
    accepted = await server.aside(lambda: server.jobs.add(content, job, server.limits.video_seconds))
    return _job(accepted)


@videos.get("")
async def jobs(server: Server) -> JobsAnswer:
    """Return every job that is kept."""
    return JobsAnswer(jobs=[_job(one) for one in server.jobs.all()])


@videos.get("/{id}")
async def job(server: Server, id: str) -> JobAnswer:
    """Return how far a job is."""
    return _job(server.jobs.get(id))


@videos.delete("/{id}", status_code=204)
async def cancel(server: Server, id: str) -> Response:
    """Cancel a job; one that is over is forgotten, with its result."""
    await server.aside(lambda: server.jobs.cancel(id))
    return Response(status_code=204)


@videos.get("/{id}/result")
async def result(server: Server, id: str) -> TracksAnswer:
    """Return the objects that were found in a video."""
    found = await server.aside(lambda: server.jobs.result(id))
    return TracksAnswer.model_validate(found)


@videos.get("/{id}/files/{name}", response_class=Response)
async def file(server: Server, id: str, name: str) -> Response:
    """Return a file of a result: the video with the objects drawn on it, a picture of each, COCO, VEval, MOT."""
    path = server.jobs.file(id, name)
    return FileResponse(path, media_type=FILES[name][1], filename=name, content_disposition_type="inline")


def _job(job: TrackJob) -> JobAnswer:
    kept = {key: value for key, value in asdict(job).items() if key in JobAnswer.model_fields}
    return JobAnswer.model_validate(kept)
