"""Label Studio itself, in an environment of its own: it connects, asks for predictions, and stores them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .processes import environment_with, started

TOKEN = "0123456789012345678901234567890123456789"
CONFIG = (
    '<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image"><Label value="owl"/>'
    "</PolygonLabels></View>"
)


def _program(folder: Path) -> str:
    """Label Studio's program: the one that is named, or one that is installed now."""
    named = os.environ.get("LITETEXT_TEST_LABEL_STUDIO")
    if named:
        return named
    return str(environment_with(folder / "environment", "label-studio") / "label-studio")


@contextlib.contextmanager
def _studio(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
    }
    start = ["start", "--no-browser", "--username", "a@b.cd", "--password", "password", "--init"]
    command = [_program(folder), *start, "--port", str(port), "--data-dir", str(folder / "data")]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "LD_PRELOAD")}
    with subprocess.Popen(command, env=environment | settings, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _ready(url: str) -> httpx.Client:
    client = httpx.Client(base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=60)
    for _ in range(240):
        with contextlib.suppress(httpx.TransportError):
            if client.get("/api/projects").status_code == 200:
                return client
        time.sleep(1)
    raise AssertionError("Label Studio did not start")


def _eventually(ask: Any) -> Any:
    for _ in range(120):
        found = ask()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError("nothing came")


@pytest.mark.slow
def test_label_studio_stores_predictions(scene: Path, tmp_path: Path) -> None:
    with _studio(tmp_path) as url:
        client = _ready(url)
        with started("--label-studio", url, "--label-studio-token", TOKEN) as server:
            project = client.post("/api/projects", json={"title": "one", "label_config": CONFIG}).json()["id"]
            connected = client.post("/api/ml", json={"url": server.url, "project": project, "title": "litetext"})
            assert connected.status_code == 201, connected.text
            files = {"file": ("scene.png", scene.read_bytes(), "image/png")}
            assert client.post(f"/api/projects/{project}/import", files=files).status_code == 201

            def tasks() -> Any:
                found = client.get(f"/api/tasks?project={project}").json()
                return found["tasks"] if isinstance(found, dict) else found

            (task,) = _eventually(tasks)
            asked = {"selectedItems": {"all": True, "excluded": []}}
            client.post(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", json=asked)
            predictions = _eventually(lambda: client.get(f"/api/predictions?task={task['id']}").json())
    result = predictions[0]["result"]
    assert predictions[0]["model_version"] == "litetext mini" and len(result) >= 3
    assert {one["value"]["polygonlabels"][0] for one in result} == {"owl"}
    assert all(len(one["value"]["points"]) > 2 for one in result)
