"""``litetext serve`` as a process: how it starts, what it refuses, and how it ends."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from ..cli.conftest import litetext, refused  # noqa: F401
from .processes import started


def test_a_server_answers_and_finishes_what_it_works_on(scene: Path) -> None:
    with started("--workers", 1) as server:
        port = int(server.url.rpartition(":")[2])
        assert httpx.get(f"{server.url}/readyz").json() == {"status": "ok"}
        answers: list[httpx.Response] = []

        def ask() -> None:
            files = {"image": ("a.png", scene.read_bytes())}
            data = {"phrases": ["owl", *(f"owl {number}" for number in range(40))]}
            answers.append(httpx.post(f"{server.url}/v1/segment", files=files, data=data, timeout=60))

        asking = threading.Thread(target=ask)
        asking.start()
        _wait_for_work(server.url)
        assert server.end(signal.SIGTERM) == 0
        asking.join()
        assert answers[0].status_code == 200 and answers[0].json()["instances"]
        with socket.socket() as again:  # the port is free
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))


def _wait_for_work(url: str) -> None:
    """Return once a request is worked on."""
    for _ in range(500):
        if "litetext_working 1.0" in httpx.get(f"{url}/metrics").text:
            return
        time.sleep(0.01)
    raise AssertionError("no request was worked on")


def test_what_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is in use" in refused("serve", "--port", port)
    (tmp_path / "file").write_text("")
    assert "give --state a folder" in refused("serve", "--state", tmp_path / "file")
    assert "nonsense" in refused("serve", "--port", 0, "--model", "nonsense")
    assert "API keys that are not empty" in refused("serve", "--port", 0, "--api-key", "")
    assert "cannot be listened on" in refused("serve", "--host", "192.0.2.1")
