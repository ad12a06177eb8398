"""A server with the shipped model, asked without a network; and images to ask it about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from litetext.data import samples
from litetext.serve import ServerSettings, create_app
from litetext.serve.model import Models
from litetext.serve.serving import Serving


@pytest.fixture(scope="session")
def models() -> Models:
    """The shipped model, with its student and with its teacher."""
    return Models.load(ServerSettings(texts=("mini-student", "mini-teacher")))


@pytest.fixture(scope="session")
def mini() -> Models:
    return Models.load(ServerSettings())


@pytest.fixture
def serve(mini: Models) -> Iterator[Callable[..., TestClient]]:
    """Start a server with some settings."""
    open_clients: list[TestClient] = []

    def start(models: Models = mini, **settings: Any) -> TestClient:
        given = ServerSettings(**settings)
        fresh = Models(models.segmenters, models.sources, type(models.cache)(given.cache_megabytes), given.max_side)
        client = TestClient(create_app(serving=Serving(given, fresh)), raise_server_exceptions=False)
        open_clients.append(client.__enter__())
        return client

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


@pytest.fixture(scope="session")
def scene() -> Path:
    """A shipped scene with an owl and a purple owl in it."""
    return samples()[1].image


@pytest.fixture(scope="session")
def phrases() -> tuple[str, ...]:
    return samples()[1].phrases


def refusal(answer: Any, status: int) -> str:
    """The one sentence of a refused request."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "limit"} and "\n" not in error["message"], error
    assert "Traceback" not in answer.text and "site-packages" not in answer.text
    return str(error["message"])
