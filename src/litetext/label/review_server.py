"""The review page behind a small server on this machine, which saves decisions as they are made."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import LitetextError
from ..files import write_json
from ..json_files import parse_json, read_json
from .calibration import KIND

HOST = "127.0.0.1"
_MOST_BYTES = 64 << 20
_SECONDS = 30  # without a byte, after which a connection is given up


class ReviewServer(ThreadingHTTPServer):
    """Serves one page, and keeps what it sends in one file.

    Only pages of this very server may send: requests with another ``Host`` or ``Origin`` are refused.

    Args:
        page: from `litetext.label.review.write_page`.
        decisions: the file to write; one that is there is gone on with.
        job: the key of the job's model and phrases, of which the decisions must be.
        port: to listen on; 0 takes a free one, see `server_port`.

    Raises:
        LitetextError: the port is taken, or ``decisions`` is a file of something else.
    """

    daemon_threads = True

    def __init__(self, page: Path, decisions: Path, job: str, port: int = 0) -> None:
        self.page, self.decisions, self.job = page, decisions, job
        self.writing = Lock()
        if decisions.exists():
            self._check(read_json(decisions), str(decisions))
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise LitetextError(f"port {port} cannot be listened on ({error.strerror}); give --serve another") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def known(self) -> dict[str, Any]:
        """Return the decisions saved before."""
        found: dict[str, Any] = read_json(self.decisions) if self.decisions.exists() else {"decisions": []}
        return found

    def save(self, content: bytes) -> None:
        """Write what a page sent.

        Raises:
            LitetextError: it is no decisions of this job.
        """
        document = parse_json(content.decode(errors="replace"), "the request")
        self._check(document, "the request")
        with self.writing:
            write_json(self.decisions, document)

    def _check(self, document: Any, source: str) -> None:
        if not isinstance(document, dict) or document.get("kind") != KIND or document.get("job") != self.job:
            raise LitetextError(f"{source} holds no decisions of this job; move it away")


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = _SECONDS
    server_version, sys_version = "litetext", ""

    def do_GET(self) -> None:
        if not self._is_ours():
            self._answer(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page.read_bytes())
        elif self.path == "/decisions":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(self.server.known()).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        is_json = self.headers.get("Content-Type", "").partition(";")[0] == "application/json"
        if not self._is_ours() or not is_json or self.path != "/decisions":
            self._answer(HTTPStatus.FORBIDDEN)
        elif not length.isascii() or not length.isdigit() or int(length) > _MOST_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._save(self.rfile.read(int(length)))

    def _save(self, content: bytes) -> None:
        try:
            self.server.save(content)
        except LitetextError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, "text/plain; charset=utf-8", str(error).encode())
        else:
            self._answer(HTTPStatus.NO_CONTENT)

    def _is_ours(self) -> bool:
        """Whether a request came to this address, and from a page of it if from any."""
        hosts = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in hosts and (origin is None or origin.removeprefix("http://") in hosts)

    def _answer(self, status: HTTPStatus, kind: str = "text/plain", content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing: the terminal belongs to the command."""
