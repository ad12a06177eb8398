"""Requests that are refused: a status, one sentence that says the limit or the mistake, and nothing of the inside."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

CODES = {
    400: "bad_request",
    401: "no_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "not_an_image",
    422: "invalid",
    429: "too_many",
    500: "internal",
    501: "not_installed",
    503: "not_ready",
}
"""What answers call each status."""


class RefusalError(HTTPException):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: one sentence for the caller.
        limit: the limit that was passed, if it was one.
        retry_after: seconds after which it may work.
    """

    def __init__(
        self, status: int, message: str, *, limit: float | None = None, retry_after: int | None = None
    ) -> None:
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
        super().__init__(status, message, headers)
        self.limit = limit


def refusal_answer(status: int, message: str, limit: float | None = None, headers: Any = None) -> JSONResponse:
    """Return the answer to a refused request: ``{"error": {"code", "message", "limit"}}``."""
    error = {"code": CODES.get(status, "error"), "message": " ".join(message.split()), "limit": limit}
    return JSONResponse({"error": error}, status, headers)
