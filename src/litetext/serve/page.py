"""The web page: its own files, the samples it offers, and reports of audits. It loads nothing from other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import FileResponse, RedirectResponse, Response

from ..data import samples as shipped_samples
from ..errors import LitetextError, extras_named
from .api import REFUSALS, Server
from .refusals import RefusalError
from .schemas import AuditAnswer, AuditRequest

FOLDER = Path(__file__).with_name("static")

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_REPORT_HEADERS = {
    "content-security-policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
    ),
    "x-frame-options": "SAMEORIGIN",
}
"""A report brings its style in itself, runs nothing, and is shown in the page's frame."""

pages = APIRouter(include_in_schema=False)
audits = APIRouter(responses=REFUSALS, tags=["text"])


@pages.get("/")
async def index() -> Response:
    """Return the page."""
    return FileResponse(FOLDER / "index.html", media_type=_TYPES["index.html"])


@pages.get("/favicon.ico")
async def icon() -> Response:
    """Lead browsers that ask for an icon by this name to it."""
    return RedirectResponse("static/icon.svg")


@pages.get("/static/{name}")
async def static(name: str) -> Response:
    """Return one of the page's files."""
    if name not in _TYPES:
        raise RefusalError(404, "the page has no such file")
    return FileResponse(FOLDER / name, media_type=_TYPES[name])


@pages.get("/samples")
async def samples() -> dict[str, Any]:
    """Return the shipped scenes and what to ask of them."""
    rows = [
        {"name": one.image.name, "url": f"samples/{one.image.name}", "phrases": one.phrases}
        for one in shipped_samples()[:8]
    ]
    return {"samples": rows}


@pages.get("/samples/{name}")
async def sample(name: str) -> Response:
    """Return a shipped scene."""
    for one in shipped_samples():
        if one.image.name == name:
            return FileResponse(one.image, media_type="image/png")
    raise RefusalError(404, "no such sample ships")


@audits.post("/v1/audit")
async def audit(server: Server, request: Annotated[AuditRequest, Body()]) -> AuditAnswer:
    """Study phrases as `litetext audit` does: what they need of a text encoder; the report is a page of its own."""
    phrases = server.phrases(request.phrases)
    page = await server.aside(lambda: _report(phrases))
    return AuditAnswer(report=f"v1/audit/{server.reports.put(page)}")


@audits.get("/v1/audit/{id}", response_class=Response)
async def report(server: Server, id: str) -> Response:
    """Return the report of an audit."""
    return Response(server.reports.get(id), media_type="text/html; charset=utf-8", headers=_REPORT_HEADERS)


def _report(phrases: list[str]) -> bytes:
    try:
        with extras_named("anatomy"):
            from ..anatomy.audit import audit as run_audit
            from ..anatomy.report import page
            from ..anatomy.sections import sections
    except LitetextError as error:
        raise RefusalError(501, f"on this server {error}") from None
    from ..prompts.corpus import corpus_of

    try:
        found = run_audit(corpus_of(phrases))
        return page(found, sections(found)).encode()
    except LitetextError as error:
        raise RefusalError(422, str(error)) from None
