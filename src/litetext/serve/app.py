"""The application: routes, the gate before them, and how mistakes are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from .. import __version__
from .api import router
from .gate import Gate
from .keys import ApiKeys
from .page import audits, pages
from .refusals import refusal_answer
from .serving import Serving
from .settings import ServerSettings
from .tools import label_studio_backend, roboflow, xanylabeling, xanylabeling_video
from .video_api import videos

_DESCRIPTION = "Masks, boxes and scores of everything that phrases name in an image. Coordinates are pixels."


def create_app(settings: ServerSettings | None = None, serving: Serving | None = None) -> FastAPI:
    """Return the application, its model loaded.

    Args:
        settings: by default those of the shipped model.
        serving: what answers; by default it is made by the settings, and closed when the application ends.

    Raises:
        LitetextError: a model that cannot be loaded.
    """
    server = serving if serving is not None else Serving(settings if settings is not None else ServerSettings())
    app = FastAPI(
        title="litetext",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_closing(server),
        docs_url=None,  # the pages that show OpenAPI come from other machines
        redoc_url=None,
    )
    app.state.serving = server
    app.include_router(router)
    app.include_router(videos)
    app.include_router(audits)
    app.include_router(pages)
    for module in (xanylabeling, xanylabeling_video, label_studio_backend, roboflow):
        app.include_router(module.tool)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    given = server.settings
    app.add_middleware(
        Gate,
        keys=ApiKeys(given.api_keys),
        limits=given.limits,
        origins=given.origins,
        metrics=server.metrics,
        seconds_left=lambda: server.worker.seconds_left,
    )
    if given.origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(given.origins), allow_methods=["*"], allow_headers=["*"])
    return app


def _closing(server: Serving) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        server.close()

    return lifespan


async def _refused(request: Request, error: Any) -> Response:
    return refusal_answer(error.status_code, str(error.detail), getattr(error, "limit", None), error.headers)


async def _invalid(request: Request, error: Any) -> Response:
    """What pydantic found, in one sentence that repeats nothing of what was sent."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return refusal_answer(422, f"{place[:80].encode(errors='replace').decode()}: {first['msg']}")
