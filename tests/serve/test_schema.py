"""Requests drawn from the OpenAPI document find no answer of 5xx."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")

DRAWN = 20
"""Requests of each operation."""


def test_every_operation_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = {(method, path): one[method] for path, one in document["paths"].items() for method in one}
    assert {("post", "/v1/segment"), ("post", "/v1/track"), ("post", "/predict")} <= operations.keys()
    assert all(operation.get("description") and operation["tags"] for operation in operations.values())
    assert '"examples"' in client.get("/openapi.json").text


@pytest.mark.slow
def test_no_request_is_a_defect(client: TestClient) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=DRAWN, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call()
            assert answer.status_code < 500, answer.text

        ask()
