"""The example that mounts a gradio page beside `litetext serve`'s routes, in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from .processes import SOURCE, environment_with, server_of

PROJECT = SOURCE.parent


@pytest.mark.slow
def test_a_gradio_page_in_the_same_process(browser: Any, tmp_path: Path) -> None:
    python = environment_with(tmp_path / "environment", "gradio>=6", f"{PROJECT}[serve]") / "python"
    with server_of([str(python), str(PROJECT / "examples" / "gradio_page.py"), "--port", "0"]) as running:
        page = browser.new_page()
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(httpx.URL(request.url).netloc.decode()))
        page.goto(running.url)
        page.get_by_text("owl, bicycle").click()  # an example
        page.get_by_role("button", name="Segment").click()
        page.get_by_text("owl", exact=True).first.wait_for()  # below the masks
        page.close()
        base = httpx.URL(running.url).copy_with(path="/")
        assert hosts <= {base.netloc.decode(), ""}  # data: and blob: have no host
        assert httpx.get(base.join("/v1/models")).json()["models"][0]["name"] == "mini"
