"""Malformed uploads are refused with 4xx, and the server answers on."""

from __future__ import annotations

import io
import random
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from litetext import LitetextError
from litetext.images import read_image
from litetext.serve import Limits

from .processes import started

COUNT = 300
JSON = {"content-type": "application/json"}


BODIES = (
    b"", b"null", b"[]", b"{", b"[" * 200_000, b'{"phrases": [NaN]}', b'{"phrases": 1e999}', b'{"a": ' * 50_000,
    b"\xff\xfe", b'{"phrases": ["\\ud800"]}', b'{"tasks": [{"data": {"image": NaN}}], "label_config": "<View/>"}',
)  # fmt: skip


def _files(scene: Path) -> Iterator[bytes]:
    """Whole images of every format."""
    image = Image.open(scene).convert("RGB").resize((64, 64))
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        yield buffer.getvalue()


def _spoiled(content: bytes, chance: random.Random) -> bytes:
    """A file that is cut, or some of whose bytes were changed."""
    spoiled = bytearray(content)
    if chance.random() < 0.3:
        return bytes(spoiled[: chance.randrange(len(spoiled))])
    for _ in range(chance.choice([1, 4, 40])):
        spoiled[chance.randrange(min(len(spoiled), chance.choice([40, len(spoiled)])))] = chance.randrange(256)
    return bytes(spoiled)


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a megabyte or less whose header says that it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def _segment(image: bytes, **fields: Any) -> dict[str, Any]:
    return {"url": "/v1/segment", "files": {"image": ("a", image)}, "data": {"phrases": ["owl"], **fields}}


def _uploads(scene: Path) -> Iterator[dict[str, Any]]:
    """Requests, one after the other; those of images that can still be read say so."""
    chance = random.Random(7)
    files = list(_files(scene))
    whole = scene.read_bytes()
    numbers = ["nan", "inf", "-inf", "1e999", "-1", "2", "x", "", "0x1", "１"]
    yield from (_segment(whole, threshold=number) for number in numbers if number)
    yield from (_segment(whole, boxes=f"[[{number}, 1, 9, 9]]") for number in ("NaN", "Infinity", "1e999", "9" * 400))
    yield from (_segment(_bomb(*size)) for size in ((100_000, 100_000), (2**31 - 1, 2), (60_000, 60_000), (9000, 9000)))
    urls = ("/v1/embed", "/v1/predict", "/predict", "/sam3/concept_segment", "/v1/audit")
    yield from ({"url": url, "content": body, "headers": JSON} for url in urls for body in BODIES)
    for kind in ("multipart/form-data", "multipart/form-data; boundary=b", "text/plain"):
        yield {"url": "/v1/segment", "content": b"--b\r\n\r\n", "headers": {"content-type": kind}}
    for video in (whole, b"\0\0\0\x20ftypisom" + b"\0" * 99, b"#EXTM3U\n"):
        yield {"url": "/v1/track", "files": {"video": ("v", video)}, "data": {"phrases": ["owl"]}}
    while True:
        yield _segment(_spoiled(chance.choice(files), chance), phrases=[chance.choice(["owl", "", "\0", "a" * 600])])


def _can_be_read(upload: dict[str, Any]) -> bool:
    """Whether an image is whole enough for Pillow after all, so that there is nothing to refuse."""
    try:
        read_image(upload["files"]["image"][1])
    except (KeyError, LitetextError):
        return False
    return True


@pytest.mark.slow
def test_malformed_uploads_are_refused(serve: Callable[..., TestClient], scene: Path) -> None:
    client = serve(limits=Limits(megabytes=8))
    refused = 0
    for upload in _uploads(scene):
        answer = client.post(**upload)
        assert 400 <= answer.status_code < 500 or (answer.status_code == 200 and _can_be_read(upload)), (
            answer.status_code, answer.text[:300], str(upload)[:300])  # fmt: skip
        refused += answer.status_code != 200
        if refused == COUNT:
            break
    assert client.post(**_segment(scene.read_bytes())).status_code == 200
    assert client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_a_body_that_never_ends_is_given_up(scene: Path) -> None:
    head = (
        b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 100000\r\n\r\n--b\r\n"
    )
    with started("--max-seconds", 1) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(head)
            begun, answer = time.monotonic(), b""
            slow.settimeout(30)
            while b"\r\n" not in answer:
                slow.sendall(b"x")
                answer += slow.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408") and time.monotonic() - begun < 20
