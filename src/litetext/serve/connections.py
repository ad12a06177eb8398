"""Connections that are closed where a client sends a request's headers, or reads its answer, too slowly.

What is slow after the headers, a body, is the gate's to refuse (`litetext.serve.gate`): it has a request to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .refusals import refusal_answer
from .settings import Limits


class TimedConnection(H11Protocol):
    """A connection of uvicorn's with two deadlines, which sending or reading a little at a time does not move.

    One runs while no request is answered: from the first byte (of a connection: from its start) until the headers are
    there. The other runs while the client leaves so much of an answer unread that the server has to wait.
    """

    limits = Limits()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._headers = _Deadline(self.loop, self.limits.header_seconds, self._give_up_headers)
        self._reading = _Deadline(self.loop, self.limits.seconds, self._give_up_reading)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request's headers."""
        super().connection_made(transport)
        self._headers.run()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; the deadline stays where it is until the headers are complete."""
        super().data_received(data)
        if self._is_answering:
            self._headers.stop()
        else:
            self._headers.run()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._reading.run()

    def resume_writing(self) -> None:
        """Go on, as the client has read."""
        super().resume_writing()
        self._reading.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        super().connection_lost(exc)
        self._headers.stop()
        self._reading.stop()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _give_up_headers(self) -> None:
        """Answer half a request with 408; a connection that said nothing, or was answered before, is closed."""
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._send_too_slow()
        self.transport.close()

    def _give_up_reading(self) -> None:
        self.transport.abort()  # to close it would wait for what is unread

    def _send_too_slow(self) -> None:
        seconds = self.limits.header_seconds
        late = f"the request's headers did not arrive within {seconds:g} seconds, which is the limit"
        answer = refusal_answer(408, late, seconds)
        head = h11.Response(status_code=408, headers=[*answer.raw_headers, (b"connection", b"close")])
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))


def timed_connections(limits: Limits) -> type[TimedConnection]:
    """Return the connections of a server with these limits, for uvicorn's setting ``http``."""

    class Connection(TimedConnection):
        pass

    Connection.limits = limits
    return Connection


class _Deadline:
    """Calls back some seconds after it was let run, unless it is stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], None]) -> None:
        self._loop, self._seconds, self._call = loop, seconds, call
        self._timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Let it run; where it runs, it is not moved."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._call)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
