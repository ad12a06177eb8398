"""`litetext.client`: what it returns is what the segmenter returns; it asks again where the server says when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from litetext import LitetextError
from litetext.client import AsyncClient, Client, ServerError
from litetext.serve.model import Models


class _Through(httpx.BaseTransport):
    """To a server in this process."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._client.request(
            request.method, str(request.url.raw_path.decode()), content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


class _Scripted(httpx.BaseTransport):
    """Answers with one after the other of some statuses, or fails to connect where it is 0."""

    def __init__(self, *statuses: int, retry_after: str | None = None) -> None:
        self.left = list(statuses)
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        status = self.left.pop(0)
        if not status:
            raise httpx.ConnectError("refused", request=request)
        body = {"models": [{"name": "mini"}]} if status == 200 else {
            "error": {"code": "too_many", "message": "too much at once", "limit": 4}}  # fmt: skip
        return httpx.Response(status, headers=self.headers, json=body)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def test_instances_are_those_of_the_segmenter(client: TestClient, mini: Models, scene: Path) -> None:
    with Client("http://testserver", transport=_Through(client)) as asked:
        found = asked.segment(scene, ["owl", "whale"], threshold=0.3)
        wanted = mini.segmenters["mini"].segment(scene, ["owl", "whale"], threshold=0.3)
        assert found.prompts == wanted.prompts and found.labels == wanted.labels and len(found)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        assert np.diag(found.masks.iou(wanted.masks)).min() > 0.999
        again = asked.segment(scene.read_bytes(), "owl", threshold=0.3)
        assert found.plot().size and again.counts == {"owl": len(wanted["owl"])}
        by_box = asked.segment(scene, boxes=wanted["owl"].boxes[:1], box_labels=[1])
        assert by_box.prompts == ("visual",)
        features = asked.embed(["owl", "the purple owl"])
        assert features[0].tokens.shape[1] < features[1].tokens.shape[1] and features[0].dim == 64
        assert asked.models() == ["mini"]
        with pytest.raises(ServerError, match="no model 'x' is served") as refused:
            asked.segment(scene, "owl", model="x")
        assert (refused.value.status, refused.value.code) == (422, "invalid")
        with pytest.raises(LitetextError, match="cannot be read"):
            asked.segment("nothing.png", "owl")


def test_requests_are_sent_again_when_the_server_says(pauses: list[float]) -> None:
    assert Client("http://a", transport=_Scripted(429, 503, 200, retry_after="7")).models() == ["mini"]
    assert pauses == [7.0, 7.0]
    pauses.clear()
    assert Client("http://a", transport=_Scripted(503, 0, 0, 200)).models() == ["mini"]
    assert pauses == [0.5, 1.0, 2.0]
    pauses.clear()
    assert Client("http://a", transport=_Scripted(429, 200, retry_after="9999999")).models() == ["mini"]
    assert pauses == [60.0]


def test_and_no_more_often_than_asked(pauses: list[float], tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="too much at once") as refused:
        Client("http://a", retries=2, transport=_Scripted(429, 429, 429)).models()
    assert refused.value.limit == 4 and len(pauses) == 2
    with pytest.raises(LitetextError, match="is litetext serve running there"):
        Client("http://a", retries=1, transport=_Scripted(0, 0)).models()
    with pytest.raises(ServerError):
        Client("http://a", transport=_Scripted(404)).models()


def test_another_server_is_told_apart() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(404, text="<html>"))
    with pytest.raises(ServerError, match="not as litetext serve does"):
        Client("http://a", transport=transport).models()


def test_from_asyncio(serve: Callable[..., TestClient], scene: Path) -> None:
    server = serve(api_keys=("k",))

    async def ask() -> tuple[Any, ...]:
        transport = httpx.ASGITransport(app=server.app)
        async with AsyncClient("http://testserver", "k", transport=transport) as client:
            several = await asyncio.gather(*(client.segment(scene, "owl") for _ in range(3)))
            return several, await client.models(), await client.embed(["owl"])

    several, models, features = asyncio.run(ask())
    assert len({len(found) for found in several}) == 1 and models == ["mini"] and features[0].dim == 64
