"""Clients that send their headers, or read their answers, slowly; asked over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from litetext.serve import Limits
from litetext.serve.connections import timed_connections

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Application:
    """Answers every request with some bytes, and remembers how many answers it could end."""

    def __init__(self, length: int = 2, seconds: float = 0) -> None:
        self.length, self.seconds, self.ended = length, seconds, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(self.seconds)
        headers = [(b"content-length", str(self.length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for start in range(0, self.length, 1 << 16):
            part = b"." * min(1 << 16, self.length - start)
            await send({"type": "http.response.body", "body": part, "more_body": start + len(part) < self.length})
        self.ended += 1


@contextlib.asynccontextmanager
async def _connected(application: Application, limits: Limits) -> AsyncIterator[Peer]:
    """A client's side of a connection to an application."""
    config = uvicorn.Config(application, log_level="critical", http=timed_connections(limits))
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: config.http_protocol_class(config, state, {}),  # type: ignore[call-arg]
        "127.0.0.1",
        0,
    )
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()
    finally:
        server.close()


def _run(
    client: Callable[[Peer], Awaitable[None]], limits: Limits, application: Application | None = None
) -> Application:
    """Let a client talk to an application for at most 20 s."""
    asked = application if application is not None else Application()

    async def talk() -> None:
        async with _connected(asked, limits) as peer:
            await asyncio.wait_for(client(peer), 20)

    asyncio.run(talk())
    return asked


async def _drip(writer: asyncio.StreamWriter) -> None:
    """Send one header more every 20 ms, until the other side has closed."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"X-A: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


@pytest.mark.parametrize("requests_before", [0, 2])
def test_headers_that_drip_in_are_given_up(requests_before: int) -> None:
    async def client(peer: Peer) -> None:
        reader, writer = peer
        for _ in range(requests_before):
            writer.write(HEAD + b"\r\n")
            assert (await _answer(reader))[1] == b".."
        writer.write(HEAD)
        begun = time.monotonic()
        dripping = asyncio.ensure_future(_drip(writer))
        head, body = await _answer(reader)
        assert time.monotonic() - begun >= 0.25
        assert head.startswith(b"HTTP/1.1 408 ") and b"connection: close" in head.lower()
        assert json.loads(body)["error"] == {
            "code": "too_slow",
            "message": "the request's headers did not arrive within 0.3 seconds, which is the limit",
            "limit": 0.3,
        }
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""  # the connection is closed
        dripping.cancel()

    assert _run(client, Limits(header_seconds=0.3)).ended == requests_before


def test_a_connection_that_says_nothing_is_closed_without_an_answer() -> None:
    async def client(peer: Peer) -> None:
        assert await peer[0].read() == b""

    assert _run(client, Limits(header_seconds=0.2)).ended == 0


def test_a_body_that_drips_in_after_its_answer_ends_the_connection() -> None:
    async def client(peer: Peer) -> None:
        reader, writer = peer
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        assert (await _answer(reader))[1] == b".."
        dripping = asyncio.ensure_future(_drip(writer))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        dripping.cancel()

    assert _run(client, Limits(header_seconds=0.2)).ended == 1


def test_an_answer_may_take_longer_than_headers() -> None:
    async def client(peer: Peer) -> None:
        reader, writer = peer
        writer.write(HEAD)
        await asyncio.sleep(0.1)  # the headers come in two parts, in time
        writer.write(b"\r\n" + HEAD + b"\r\n")  # and the next request with the second
        for _ in range(2):
            assert (await _answer(reader))[1] == b".."

    assert _run(client, Limits(header_seconds=0.3), Application(seconds=0.5)).ended == 2


def test_an_answer_that_is_not_read_is_given_up() -> None:
    async def client(peer: Peer) -> None:
        reader, writer = peer
        writer.write(HEAD + b"\r\n")
        await asyncio.sleep(1)  # the buffers are full, the deadline is over
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _answer(reader)

    assert _run(client, Limits(seconds=0.2), Application(length=50_000_000)).ended == 1


def test_an_answer_that_is_read_slowly_but_steadily_arrives() -> None:
    async def client(peer: Peer) -> None:
        reader, writer = peer
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        left = 20_000_000
        while left:
            left -= len(await reader.read(1 << 18))
            await asyncio.sleep(0.01)  # 0.8 s in all, more than the limit

    assert _run(client, Limits(seconds=0.5), Application(length=20_000_000)).ended == 1
