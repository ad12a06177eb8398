"""A hub at 127.0.0.1: the endpoints that fetching a model uses, and the ways in which they fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "c" * 40


@dataclass
class Hub:
    """What the server has, how it fails, and what it was asked for.

    Attributes:
        files: repository -> path -> content; those over 1,000 bytes are LFS files.
        revisions: that exist beside ``main``.
        gated: repositories whose files are refused.
        breaks_after: bytes after which a download ends; the next tries of it are answered 503 while this is set.
        corrupts: whether the last byte of every large file is another.
        served: path and first byte of each download.
    """

    files: dict[str, dict[str, bytes]]
    revisions: tuple[str, ...] = ("main", COMMIT)
    gated: tuple[str, ...] = ()
    breaks_after: int | None = None
    corrupts: bool = False
    served: list[tuple[str, int]] = field(default_factory=list)


@contextmanager
def hub_running(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve ``hub`` in the place of the Hugging Face hub, its cache in ``cache``."""
    from huggingface_hub import constants, file_download

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    for module in (constants, file_download):  # older versions look in the second
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "datasets":
            parts = parts[1:]
        if parts[:2] == ["api", "models"]:
            self._information("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        else:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)

    def _information(self, repository: str, revision: str) -> None:
        hub = self.served
        if repository not in hub.files:
            return self._refuse(404, "RepoNotFound")
        if revision not in hub.revisions:
            return self._refuse(404, "RevisionNotFound")
        siblings = []
        for path, content in hub.files[repository].items():
            lfs = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
            about = {"rfilename": path, "size": len(content), "blobId": "b" * 40}
            siblings.append(about | ({"lfs": lfs} if len(content) > 1000 else {}))
        text = json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
        self._send(200, {"Content-Type": "application/json"}, text, len(text))

    def _file(self, repository: str, revision: str, path: str, body: bool) -> None:
        hub = self.served
        if repository in hub.gated:
            return self._refuse(403, "GatedRepo")
        if repository not in hub.files or path not in hub.files[repository]:
            return self._refuse(404, "EntryNotFound" if repository in hub.files else "RepoNotFound")
        content = hub.files[repository][path]
        etag = hashlib.sha256(content).hexdigest() if len(content) > 1000 else hashlib.sha1(content).hexdigest()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if body:
            hub.served.append((path, start))
        sent = content[start:]
        if len(content) > 1000 and body:
            if hub.breaks_after is not None and start >= hub.breaks_after:
                return self._refuse(503, "")
            if hub.breaks_after is not None:
                sent = content[start : hub.breaks_after]
            if hub.corrupts:
                sent = sent[:-1] + bytes([sent[-1] ^ 1])
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        self._send(206 if start else 200, headers, sent if body else b"", len(content) - start)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, {"X-Error-Code": code}, b"", 0)

    def _send(self, status: int, headers: dict[str, str], body: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
