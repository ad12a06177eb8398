"""A server of `litetext serve`, asked from Python: `Client`, and `AsyncClient` for asyncio.

What a server refuses is raised as `ServerError` with the sentence that it says. Where it has too much to do (429, 503)
or is out of reach for a moment, requests are sent again: after the time that its Retry-After names, else after a pause
that doubles.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .encoders.features import TextFeatures
from .errors import LitetextError, extras_named
from .results import Instances, Masks

with extras_named("serve"):
    import httpx

FilePath = str | os.PathLike[str]
Boxes = Sequence[Sequence[float]]

_BUSY = (429, 503)
_LONGEST_PAUSE = 60.0  # seconds, whatever a server names
_ENDED = ("done", "failed", "cancelled")


class ServerError(LitetextError):
    """A request that a server refused, in its own words.

    Attributes:
        status: of HTTP.
        code: what the server calls it.
        limit: the limit that was passed, if it was one.
    """

    def __init__(self, status: int, code: str, message: str, limit: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.limit = status, code, limit


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, and what makes its answer into a value."""

    method: str
    path: str
    value: Callable[[httpx.Response], Any]
    options: dict[str, Any]


class Client:
    """A server, asked in turn; use it as a context, or `close` it.

    Args:
        url: of the server.
        api_key: that it asks for, if it asks.
        retries: how often a request is sent again.
        timeout: seconds that an answer may take.
        transport: of httpx, in place of the network.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        retries: int = 5,
        timeout: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(api_key), timeout=timeout, transport=transport)
        self._retries = retries

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def segment(
        self,
        image: FilePath | bytes,
        phrases: str | Sequence[str] = (),
        *,
        boxes: Boxes | None = None,
        box_labels: Sequence[int] | None = None,
        concepts: Sequence[str] = (),
        threshold: float = 0.5,
        model: str | None = None,
    ) -> Instances:
        """Return what is found in an image, see `litetext.Segmenter.segment`.

        Args:
            image: a file, or the bytes of one.
            phrases: to find.
            boxes: [n, 4] x1, y1, x2, y2 in pixels: examples, alone or beside one phrase.
            box_labels: [n] 1 for an example, 0 for a counterexample.
            concepts: names of concepts that the server keeps.
            threshold: lowest score that counts.
            model: one of `models`; by default the server's first.

        Raises:
            ServerError: what the server refuses.
        """
        found: Instances = self._ask(_segment(image, phrases, boxes, box_labels, concepts, threshold, model))
        return found

    def embed(self, phrases: Sequence[str], model: str | None = None) -> list[TextFeatures[Any]]:
        """Return the features of each phrase, tokens float32 [1, T, D] without padding.

        Raises:
            ServerError: what the server refuses.
        """
        found: list[TextFeatures[Any]] = self._ask(_embed(phrases, model))
        return found

    def models(self) -> list[str]:
        """Return the names of the models that are served."""
        found: list[str] = self._ask(_models())
        return found

    def track(self, video: FilePath, phrases: str | Sequence[str], **options: Any) -> str:
        """Send a video to be tracked, and return the name of the job; see `wait` and `tracks`.

        Args:
            video: a file.
            phrases: to follow.
            options: ``every``, ``max_side``, ``model``.

        Raises:
            ServerError: what the server refuses.
        """
        job: dict[str, Any] = self._ask(_track(video, phrases, options))
        return str(job["id"])

    def job(self, id: str) -> dict[str, Any]:
        """Return how far a job is: its ``state``, ``frames`` of ``total``, and ``error``."""
        found: dict[str, Any] = self._ask(_job(id))
        return found

    def wait(self, id: str, pause: float = 1.0) -> dict[str, Any]:
        """Return what a job found in its video, once it is done.

        Args:
            id: of the job.
            pause: seconds between two questions.

        Raises:
            ServerError: the job failed or was cancelled.
        """
        while self.job(id)["state"] not in _ENDED:
            time.sleep(pause)
        found: dict[str, Any] = self._ask(_tracks(id))
        return found

    def cancel(self, id: str) -> None:
        """Cancel a job; one that is over is forgotten."""
        self._ask(_cancel(id))

    def _ask(self, call: _Call) -> Any:
        for retry in range(self._retries + 1):
            try:
                answer = self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                _give_up_without(error, call, retry, self._retries, self._http.base_url)
                time.sleep(_pause(None, retry))
                continue
            if not _again(answer, retry, self._retries):
                return call.value(_checked(answer))
            time.sleep(_pause(answer, retry))
        raise AssertionError("the last try returns or raises")


class AsyncClient:
    """A server, asked from asyncio; use it as a context, or `close` it. Its arguments and methods are `Client`'s."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        retries: int = 5,
        timeout: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(api_key), timeout=timeout, transport=transport)
        self._retries = retries

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def segment(
        self,
        image: FilePath | bytes,
        phrases: str | Sequence[str] = (),
        *,
        boxes: Boxes | None = None,
        box_labels: Sequence[int] | None = None,
        concepts: Sequence[str] = (),
        threshold: float = 0.5,
        model: str | None = None,
    ) -> Instances:
        """Return what is found in an image, see `Client.segment`."""
        found: Instances = await self._ask(_segment(image, phrases, boxes, box_labels, concepts, threshold, model))
        return found

    async def embed(self, phrases: Sequence[str], model: str | None = None) -> list[TextFeatures[Any]]:
        """Return the features of each phrase, see `Client.embed`."""
        found: list[TextFeatures[Any]] = await self._ask(_embed(phrases, model))
        return found

    async def models(self) -> list[str]:
        """Return the names of the models that are served."""
        found: list[str] = await self._ask(_models())
        return found

    async def track(self, video: FilePath, phrases: str | Sequence[str], **options: Any) -> str:
        """Send a video to be tracked, see `Client.track`."""
        job: dict[str, Any] = await self._ask(_track(video, phrases, options))
        return str(job["id"])

    async def job(self, id: str) -> dict[str, Any]:
        """Return how far a job is, see `Client.job`."""
        found: dict[str, Any] = await self._ask(_job(id))
        return found

    async def wait(self, id: str, pause: float = 1.0) -> dict[str, Any]:
        """Return what a job found, once it is done, see `Client.wait`."""
        while (await self.job(id))["state"] not in _ENDED:
            await asyncio.sleep(pause)
        found: dict[str, Any] = await self._ask(_tracks(id))
        return found

    async def cancel(self, id: str) -> None:
        """Cancel a job; one that is over is forgotten."""
        await self._ask(_cancel(id))

    async def _ask(self, call: _Call) -> Any:
        for retry in range(self._retries + 1):
            try:
                answer = await self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                _give_up_without(error, call, retry, self._retries, self._http.base_url)
                await asyncio.sleep(_pause(None, retry))
                continue
            if not _again(answer, retry, self._retries):
                return call.value(_checked(answer))
            await asyncio.sleep(_pause(answer, retry))
        raise AssertionError("the last try returns or raises")


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"X-API-Key": api_key}


def _again(answer: httpx.Response, retry: int, retries: int) -> bool:
    """Whether a request is to be sent again; at the last try its refusal is raised."""
    return answer.status_code in _BUSY and retry < retries


def _give_up_without(error: Exception, call: _Call, retry: int, retries: int, url: httpx.URL) -> None:
    """Raise what kept a request from its server, unless it is to be sent again; a video is not accepted twice."""
    connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    if retry == retries or (connected and call.path == "/v1/track"):
        reason = str(error) or type(error).__name__
        raise LitetextError(f"{url} cannot be asked ({reason}); is litetext serve running there?") from None


def _pause(answer: httpx.Response | None, retry: int) -> float:
    """Seconds to wait before a request is sent again."""
    named = "" if answer is None else answer.headers.get("retry-after", "")
    return min(float(named) if named.isdecimal() else 0.5 * 2**retry, _LONGEST_PAUSE)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        error = answer.json()["error"]
        raise ServerError(answer.status_code, error["code"], error["message"], error["limit"])
    except (ValueError, KeyError, TypeError) as problem:
        if isinstance(problem, ServerError):
            raise
        message = f"{answer.url} answers {answer.status_code}, and not as litetext serve does; check the address"
        raise ServerError(answer.status_code, "unknown", message) from None


def _file(path: FilePath | bytes) -> tuple[str, bytes]:
    if isinstance(path, bytes):
        return "image", path
    try:
        return Path(path).name, Path(path).read_bytes()
    except OSError as error:
        raise LitetextError(f"{path} cannot be read ({error.strerror}); give a file") from None


def _several(phrases: str | Sequence[str]) -> list[str]:
    return [phrases] if isinstance(phrases, str) else list(phrases)


def _segment(
    image: FilePath | bytes,
    phrases: str | Sequence[str],
    boxes: Boxes | None,
    box_labels: Sequence[int] | None,
    concepts: Sequence[str],
    threshold: float,
    model: str | None,
) -> _Call:
    data: dict[str, Any] = {"phrases": _several(phrases), "concepts": list(concepts), "threshold": threshold}
    if boxes is not None:
        data["boxes"] = json.dumps(np.asarray(boxes, float).tolist())
    if box_labels is not None:
        data["box_labels"] = json.dumps([int(label) for label in box_labels])
    if model is not None:
        data["model"] = model
    kept = image if isinstance(image, bytes) else os.fspath(image)
    return _Call("POST", "/v1/segment", lambda answer: _instances(answer.json(), kept),
                 {"data": data, "files": {"image": _file(image)}})  # fmt: skip


def _instances(found: dict[str, Any], image: str | bytes) -> Instances:
    """What a server found, as the segmenter itself would return it."""
    size = found["height"], found["width"]
    rows = found["instances"]
    names = [one["phrase"] for one in found["phrases"]]
    return Instances(
        size=size,
        prompts=tuple(names),
        presence=np.array([one["presence"] for one in found["phrases"]], np.float32),
        boxes=np.array([one["box"] for one in rows], np.float32).reshape(-1, 4),
        masks=Masks.from_rle([one["mask"] for one in rows], size),
        scores=np.array([one["score"] for one in rows], np.float32),
        prompt_index=np.array([names.index(one["phrase"]) for one in rows], np.int64),
        image=image,
    )


def _embed(phrases: Sequence[str], model: str | None) -> _Call:
    def features(answer: httpx.Response) -> list[TextFeatures[Any]]:
        tokens = [np.array(one["tokens"], np.float32)[None] for one in answer.json()["features"]]
        return [TextFeatures(one, np.zeros(one.shape[:2], bool)) for one in tokens]

    return _Call("POST", "/v1/embed", features, {"json": {"phrases": _several(phrases), "model": model}})


def _models() -> _Call:
    return _Call("GET", "/v1/models", lambda answer: [one["name"] for one in answer.json()["models"]], {})


def _track(video: FilePath, phrases: str | Sequence[str], options: dict[str, Any]) -> _Call:
    data = {"phrases": _several(phrases), **{name: value for name, value in options.items() if value is not None}}
    return _Call("POST", "/v1/track", lambda answer: answer.json(), {"data": data, "files": {"video": _file(video)}})


def _job(id: str) -> _Call:
    return _Call("GET", f"/v1/track/{id}", lambda answer: answer.json(), {})


def _tracks(id: str) -> _Call:
    return _Call("GET", f"/v1/track/{id}/result", lambda answer: answer.json(), {})


def _cancel(id: str) -> _Call:
    return _Call("DELETE", f"/v1/track/{id}", lambda answer: None, {})
