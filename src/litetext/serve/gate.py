"""What every request passes before it reaches a route (key, origin, size, queue, time), and what every answer carries.

Nothing of a request's body is read before its key was checked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .keys import ApiKeys
from .metrics import Metrics
from .refusals import RefusalError, refusal_answer
from .settings import Limits

_log = logging.getLogger("litetext.serve")

OPEN = ("/health", "/healthz", "/readyz")
"""What needs no key: it says whether the process is there, nothing else."""

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=()",
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-src 'self'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
}


class Gate:
    """The middleware around the routes.

    Args:
        app: the routes.
        keys: that open the server.
        limits: of requests.
        origins: web sites whose pages may send requests that change something.
        metrics: to count in.
        seconds_left: about how long the queue takes, for Retry-After.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys,
        limits: Limits,
        origins: tuple[str, ...],
        metrics: Metrics,
        seconds_left: Callable[[], float],
    ) -> None:
        self._app, self._keys, self._limits, self._origins = app, keys, limits, origins
        self._metrics, self._seconds_left = metrics, seconds_left
        self._working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        begun = time.monotonic()
        try:
            await self._passed(scope, receive, answer)
        except RefusalError as refusal:
            await _refuse(refusal, scope, receive, answer)
        except Exception:
            _log.exception("a request failed: %s %s", scope["method"], scope["path"])
            await _refuse(RefusalError(500, "something went wrong here; the server's log says what"),
                          scope, receive, answer)  # fmt: skip
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(answer.status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - begun)

    async def _passed(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN and not self._keys.allow(headers, scope.get("query_string", b"")):
            raise _no_key()
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, answer)
            return
        self._check_origin(headers)
        self._check_length(headers)
        if self._working >= self._limits.queue:
            raise RefusalError(
                429,
                f"{self._limits.queue} requests are worked on, which is the limit; ask again later",
                limit=self._limits.queue,
                retry_after=max(1, math.ceil(self._seconds_left())),
            )
        self._working += 1
        self._metrics.working.inc()
        try:
            await self._app(scope, _Body(receive, self._limits), answer)
        finally:
            self._working -= 1
            self._metrics.working.dec()

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what the page of another web site sends through its reader's browser."""
        origin = headers.get("origin")
        same = origin is None or _host_of(origin) == headers.get("host")
        if not same and origin not in self._origins:
            raise RefusalError(403, "pages of other sites may not ask this server; start it with --allow-origin")

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.megabytes << 20:
            raise _too_large(self._limits)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as half of an IPv6 address
        return None


class _Body:
    """A request's body as it comes in, counted and timed."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._read = 0
        self._deadline = time.monotonic() + limits.seconds
        self._whole = False

    async def __call__(self) -> Message:
        """Return the next part of it."""
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except asyncio.TimeoutError:
            seconds = self._limits.seconds
            late = f"the request's body did not arrive within {seconds:g} seconds, which is the limit"
            raise RefusalError(408, late, limit=seconds) from None
        self._read += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._read > self._limits.megabytes << 20:
            raise _too_large(self._limits)
        return message


class _Answer:
    """An answer as it goes out, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Send the next part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


async def _refuse(refusal: RefusalError, scope: Scope, receive: Receive, answer: _Answer) -> None:
    if not answer.status:  # else half an answer is on its way
        response = refusal_answer(refusal.status_code, refusal.detail, refusal.limit, refusal.headers)
        await response(scope, receive, answer)


def _no_key() -> RefusalError:
    refusal = RefusalError(401, "this server asks for a key: send it as X-API-Key or Authorization: Bearer")
    refusal.headers = {"WWW-Authenticate": 'Basic realm="litetext: any name, the key as password"'}
    return refusal


def _too_large(limits: Limits) -> RefusalError:
    return RefusalError(
        413, f"the request is larger than {limits.megabytes} MiB, which is the limit", limit=limits.megabytes
    )
