"""Concepts: phrases and boxes with thresholds, kept over a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from litetext.data import samples
from litetext.encoders import ConceptBank, build_bank
from litetext.serve import Limits, ServerSettings
from litetext.serve.model import Models

from .conftest import refusal


def _keep(client: TestClient, image: Path | None = None, **fields: Any) -> Any:
    files = None if image is None else {"image": (image.name, image.read_bytes())}
    return client.post("/v1/concepts", files=files, data=fields)


def _found(client: TestClient, image: Path, **fields: Any) -> Any:
    return client.post("/v1/segment", files={"image": image.read_bytes()}, data=fields).json()["instances"]


def test_names_that_a_bank_does_not_tell_apart_are_one(serve: Callable[..., TestClient], tmp_path: Path) -> None:
    client = serve(state=tmp_path)
    assert _keep(client, name="Purple Owl", threshold=0.2).json()["name"] == "purple owl"
    assert _keep(client, name="purple owl", threshold=0.9).status_code == 201
    for server in (client, serve(state=tmp_path)):
        kept = server.get("/v1/concepts").json()["concepts"]
        assert [(one["name"], round(one["threshold"], 3)) for one in kept] == [("purple owl", 0.9)]
    assert client.delete("/v1/concepts/Purple Owl").status_code == 204


def test_a_bank_is_a_text_encoder_with_thresholds_of_its_own(
    serve: Callable[..., TestClient], mini: Models, scene: Path, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.safetensors"
    build_bank(["owl"], mini.segmenters["mini"].text, bank, encoder_name="mini", thresholds={"owl": 0.1})
    models = Models.load(ServerSettings(texts=(str(bank),)))
    (segmenter,) = models.segmenters.values()
    wanted = segmenter.segment(scene, "owl")
    assert wanted.scores.min() < 0.5
    found = _found(serve(models), scene, phrases=["owl"])
    assert sorted(one["score"] for one in found) == pytest.approx(sorted(wanted.scores.tolist()), abs=1e-3)


def test_concepts_are_kept_and_found(
    serve: Callable[..., TestClient], mini: Models, scene: Path, tmp_path: Path
) -> None:
    client = serve(state=tmp_path)
    segmenter = mini.segmenters["mini"]
    owl = segmenter.segment(scene, "owl")[0]
    assert _keep(client, name="owl", threshold=0.99).status_code == 201
    shown = _keep(client, scene, name="widget", boxes=json.dumps([owl.box.tolist()]))
    assert shown.json() == {"name": "widget", "kind": "example", "threshold": None}
    wanted = segmenter.segment(scene, [segmenter.concept(scene, [owl.box], "widget")])
    again = serve(state=tmp_path)
    for server in (client, again):
        assert [one["name"] for one in server.get("/v1/concepts").json()["concepts"]] == ["owl", "widget"]
        found = _found(server, scene, concepts=["widget", "owl"])
        assert [one["phrase"] for one in found if one["phrase"] == "widget"] == wanted.labels
        assert not [one for one in found if one["phrase"] == "owl"]  # below its own threshold
        assert _found(server, scene, phrases=["owl"])
    other = samples()[2].image
    assert isinstance(_found(again, other, concepts=["widget"], threshold=0.01), list)
    (tmp_path / "copy.safetensors").write_bytes(again.get("/v1/concepts.safetensors").content)
    assert ConceptBank(tmp_path / "copy.safetensors").concepts() == ["owl", "widget"]
    assert again.delete("/v1/concepts/widget").status_code == again.delete("/v1/concepts/owl").status_code == 204
    assert serve(state=tmp_path).get("/v1/concepts").json() == {"concepts": []}


def test_what_is_refused(serve: Callable[..., TestClient], scene: Path, tmp_path: Path) -> None:
    client = serve(limits=Limits(concepts=1))
    assert "no concept 'x'" in refusal(client.delete("/v1/concepts/x"), 404)
    assert "no concept is kept" in refusal(client.get("/v1/concepts.safetensors"), 404)
    assert "needs both an image and boxes" in refusal(_keep(client, scene, name="a"), 422)
    assert "at least one example box" in refusal(_keep(client, scene, name="a", boxes="[]"), 422)
    assert "outside the image" in refusal(_keep(client, scene, name="a", boxes="[[9000,9000,9999,9999]]"), 422)
    assert _keep(client, name="a").status_code == _keep(client, name="a", threshold=0.5).status_code == 201
    assert "1 concepts are kept, which is the limit" in refusal(_keep(client, name="b"), 422)
    assert [one["threshold"] for one in client.get("/v1/concepts").json()["concepts"]] == [0.5]
