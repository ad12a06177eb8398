"""What is refused: before it costs anything, with the limit in the answer, and with nothing of the inside."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from litetext.serve import Limits

from .conftest import refusal


def _post(client: TestClient, content: bytes, **fields: Any) -> Any:
    headers = fields.pop("headers", {})
    data = {"phrases": ["owl"], **fields}
    return client.post("/v1/segment", files={"image": ("a.png", content)}, data=data, headers=headers)


def _bomb() -> bytes:
    """A PNG of a few bytes whose header says 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def _png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_limits_are_named(serve: Callable[..., TestClient], scene: Path) -> None:
    client = serve(limits=Limits(megabytes=1, megapixels=1, phrases=2, boxes=2, characters=20))
    picture = scene.read_bytes()
    assert "larger than 1 MiB" in refusal(_post(client, b"x" * (2 << 20)), 413)
    assert "the limit is 1 megapixels" in refusal(_post(client, _png(1200, 1000)), 413)
    assert "the limit is 1 megapixels" in refusal(_post(client, _bomb()), 413)
    assert "3 phrases are asked, the limit is 2" in refusal(_post(client, picture, phrases=["a", "b", "c"]), 422)
    assert "21 characters is asked, the limit is 20" in refusal(_post(client, picture, phrases=["a" * 21]), 422)
    boxes = json.dumps([[1, 1, 9, 9]] * 3)
    assert "3 boxes are given, the limit is 2" in refusal(_post(client, picture, boxes=boxes), 422)
    marks = [{"type": "rectangle", "data": [1, 1, 9, 9], "label": 1}] * 3
    image = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    body = {"model": "mini", "image": image, "params": {"text_prompt": "", "marks": marks}}
    assert "3 boxes are given, the limit is 2" in refusal(client.post("/v1/predict", json=body), 422)
    example = {"name": "a", "boxes": boxes}
    answer = client.post("/v1/concepts", files={"image": ("a.png", picture)}, data=example)
    assert "3 boxes are given, the limit is 2" in refusal(answer, 422)


def test_a_body_without_a_length_is_counted(serve: Callable[..., TestClient]) -> None:
    client = serve(limits=Limits(megabytes=1))
    parts = (b"x" * 65536 for _ in range(40))
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert "larger than 1 MiB" in refusal(client.post("/v1/segment", content=parts, headers=headers), 413)


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"phrases": [""]}, 422, "empty"),
        ({"phrases": []}, 422, "nothing to find"),
        ({"phrases": ["a\0b"]}, 422, "no text"),
        ({"threshold": "nan"}, 422, "threshold"),
        ({"threshold": "1.5"}, 422, "threshold"),
        ({"format": "exe"}, 422, "format"),
        ({"boxes": "[[1, 2"}, 422, "boxes"),
        ({"boxes": "{}"}, 422, "must be a JSON list"),
        ({"boxes": "[" * 5000}, 422, "boxes"),
        ({"boxes": "[[NaN, 1, 2, 3]]"}, 422, "boxes"),
        ({"boxes": '[["a", 1, 2, 3]]'}, 422, "boxes"),
        ({"boxes": "[[1, 2, 3]]"}, 422, "must be [n, 4]"),
        ({"boxes": "[[5, 5, 1, 1]]"}, 422, "x1 < x2"),
        ({"boxes": "[[9000, 9000, 9001, 9001]]"}, 422, "outside the image"),
        ({"boxes": "[[1, 1, 9, 9]]", "box_labels": "[2]"}, 422, "box label"),
        ({"boxes": "[[1, 1, 9, 9]]", "box_labels": "[{}]"}, 422, "box"),
        ({"boxes": "[[1, 1, 9, 9]]", "phrases": ["a", "b"]}, 422, "one thing at a time"),
        ({"concepts": ["nothing"]}, 404, "no concept 'nothing'"),
        ({"model": "../../etc/passwd"}, 422, "no model"),
    ],
)
def test_wrong_values(client: TestClient, scene: Path, fields: dict[str, Any], status: int, said: str) -> None:
    assert said in refusal(_post(client, scene.read_bytes(), **fields), status)


_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"


@pytest.mark.parametrize("content", [b"", b"hello", _POSTSCRIPT, b"\x89PNG\r\n\x1a\n"])
def test_no_image(client: TestClient, content: bytes) -> None:
    assert "PNG, JPEG" in refusal(_post(client, content), 415)


def test_a_file_that_is_cut_short(client: TestClient, scene: Path) -> None:
    assert "cut short" in refusal(_post(client, scene.read_bytes()[:2000]), 415)


def test_other_bodies(client: TestClient) -> None:
    json_type = {"content-type": "application/json"}
    assert refusal(client.post("/v1/segment", json={"image": 1}), 422)
    for body in (b'{"phrases": [NaN]}', b'{"phrases": ["\\ud800"]}', b"[" * 100_000, b'{"phrases": ["a"], "more": 1}'):
        answer = client.post("/v1/embed", content=body, headers=json_type)
        assert refusal(answer, answer.status_code) and answer.status_code in (400, 422)
    assert refusal(client.get("/v1/segment"), 405)
    assert refusal(client.get("/../../etc/passwd"), 404)


def test_without_the_key_nothing_is_read(serve: Callable[..., TestClient], scene: Path) -> None:
    client = serve(api_keys=("secret", "other"))
    read = []

    def body() -> Any:
        read.append(1)
        yield b"x" * 10

    for path in ("/v1/segment", "/v1/embed", "/v1/concepts"):
        assert "asks for a key" in refusal(client.post(path, content=b"x"), 401)
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
        assert "asks for a key" in refusal(client.get(path), 401)
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert refusal(_post(client, scene.read_bytes(), headers={"X-API-Key": "secre"}), 401)
    for headers in ({"X-API-Key": "secret"}, {"Authorization": "Bearer other"}, {"Token": "secret"}):
        assert _post(client, scene.read_bytes(), headers=headers).status_code == 200
    assert client.get("/v1/models", auth=("anybody", "secret")).status_code == 200
    assert "secret" not in repr(vars(client.app.state.serving.metrics))  # type: ignore[attr-defined]


def test_the_body_is_not_touched_before_the_key_was_checked() -> None:
    import asyncio

    from litetext.serve.gate import Gate
    from litetext.serve.keys import ApiKeys
    from litetext.serve.metrics import Metrics

    async def receive() -> Any:
        pytest.fail("the body was read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    gate = Gate(lambda *_: pytest.fail("the route was reached"), ApiKeys(["k"]), Limits(), (), Metrics(), lambda: 1.0)  # type: ignore[arg-type]
    scope = {"type": "http", "method": "POST", "path": "/v1/segment", "headers": [(b"content-length", b"999999999999")]}
    asyncio.run(gate(scope, receive, send))
    assert sent[0]["status"] == 401


def test_a_full_queue(serve: Callable[..., TestClient], scene: Path) -> None:
    client = serve(limits=Limits(queue=1))
    gate = client.app.middleware_stack  # type: ignore[attr-defined]
    while type(gate).__name__ != "Gate":
        gate = gate.app
    gate._working = 1
    answer = _post(client, scene.read_bytes())
    assert "1 requests are worked on, which is the limit" in refusal(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    gate._working = 0
    assert _post(client, scene.read_bytes()).status_code == 200
    assert gate._working == 0


def test_a_request_that_waits_too_long(client: TestClient, scene: Path) -> None:
    worker = client.app.state.serving.worker  # type: ignore[attr-defined]
    worker._seconds = 0.0
    answer = _post(client, scene.read_bytes())
    assert "waited longer than" in refusal(answer, 429) and "retry-after" in answer.headers


def test_pages_of_other_sites(serve: Callable[..., TestClient], scene: Path) -> None:
    strange, own = {"Origin": "https://evil.example"}, {"Origin": "http://testserver"}
    client = serve()
    for headers in (strange, {"Origin": "http://[x"}):
        assert "other sites" in refusal(_post(client, scene.read_bytes(), headers=headers), 403)
    assert _post(client, scene.read_bytes(), headers=own).status_code == 200
    assert "access-control-allow-origin" not in client.get("/v1/models", headers=strange).headers
    allowing = serve(origins=("https://evil.example",))
    answer = _post(allowing, scene.read_bytes(), headers=strange)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://evil.example"


def test_a_defect_shows_no_stack(
    serve: Callable[..., TestClient], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    monkeypatch.setattr(client.app.state.serving.worker, "_answer", lambda asks: 1 / 0)  # type: ignore[attr-defined]
    answer = _post(client, scene.read_bytes())
    assert "log says what" in refusal(answer, 500) and "ZeroDivision" not in answer.text
    assert client.get("/readyz").status_code == 200  # the thread goes on


def test_every_answer_has_the_headers(client: TestClient, scene: Path) -> None:
    for answer in (
        client.get("/healthz"),
        client.get("/nothing"),
        _post(client, b""),
        _post(client, scene.read_bytes()),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
