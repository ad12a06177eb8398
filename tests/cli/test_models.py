"""``litetext models``: what ships, what is published, what the hub's cache holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from litetext.hub import _hub_name, local_path
from litetext.segment.known import known_models
from litetext.segment.published import PUBLISHED_CHECKPOINTS
from litetext.segment.sources import PUBLISHED, SHIPPED

from ..hub_server import Hub, hub_running
from ..segment.published import published_keys

Run = Callable[..., Any]
LARGE = bytes(range(256)) * 64
FILE = "Simon7108528/EfficientSAM3/sam3_litetext/sam3_litetext_mobileclip_s0_ctx16.pt"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with published models, a user's own, and others; its cache is empty at first."""
    sam3 = {"config.json": json.dumps({"model_type": "sam3_lite_text"}).encode(), "model.safetensors": LARGE}
    files = {
        "vil-uob/sam3-litetext-s0": sam3,
        "Simon7108528/EfficientSAM3": {FILE.split("/", 2)[2]: LARGE},
        "me/tuned": sam3,
        "me/student": {"config.json": b'{"format": "litetext-encoder"}', "model.safetensors": LARGE},
        "me/efficient-sam3-mine": {"mine.pt": LARGE},
        "someone/bert": {"config.json": b'{"model_type": "bert"}', "model.safetensors": LARGE},
        "someone/yolo": {"yolo.pt": LARGE},
        "someone/odd": {"config.json": b"[1]", "model.safetensors": LARGE},
    }
    with hub_running(Hub(files), tmp_path / "cache", monkeypatch) as running:
        yield running


def _rows(litetext: Run) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in litetext("models", "--json").json["models"]}


def test_what_ships_and_what_is_published_is_listed(litetext: Run, hub: Hub) -> None:
    rows = _rows(litetext)
    assert list(rows)[:4] == [*SHIPPED, "mini-student", "mini-teacher"]
    assert all(rows[name]["path"] and rows[name]["bytes"] > 1e6 for name in list(rows)[:4])
    assert {entry.name for entry in PUBLISHED_CHECKPOINTS} == set(list(rows)[4:])
    assert all(rows[entry.name]["path"] is None for entry in PUBLISHED_CHECKPOINTS)
    assert rows["facebook/sam3"]["gated"] and rows["facebook/sam3"]["needs"] == "sam3"
    assert rows[PUBLISHED]["installed"] is True
    assert hub.served == []


def test_every_published_name_is_one_that_commands_take() -> None:
    names = [entry.name for entry in PUBLISHED_CHECKPOINTS]
    assert len(set(names)) == len(names)
    for name in names:
        parsed = _hub_name(name)
        assert f"{parsed.id}/{parsed.path_in_repo}".removesuffix("/") == name


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("facebook/sam3/sam3.pt", "meta_sam3_video"),
        ("facebook/sam3.1/sam3.1_multiplex.pt", "meta_sam31_multiplex"),
        (
            "Simon7108528/EfficientSAM3/sam3p1_litetext/efficient_sam3p1_litetext_mobileclip_s0_ctx16.pt",
            "authors_sam31_litetext_s0",
        ),
    ],
)
def test_sizes_are_those_of_the_published_tensors(name: str, keys: str) -> None:
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in published_keys(keys).values())
    (entry,) = [entry for entry in PUBLISHED_CHECKPOINTS if entry.name == name]
    assert entry.gigabytes == pytest.approx(size / 1e9, abs=0.006)


def test_what_was_fetched_is_here(litetext: Run, hub: Hub) -> None:
    for name in (FILE, "vil-uob/sam3-litetext-s0", "me/tuned", "me/student", "me/efficient-sam3-mine"):
        local_path(name)
    for name in ("someone/bert", "someone/yolo", "someone/odd"):
        local_path(name)
    rows = _rows(litetext)
    assert rows[FILE]["path"].endswith("ctx16.pt") and rows[FILE]["bytes"] == len(LARGE)
    assert rows["vil-uob/sam3-litetext-s0"]["path"] is not None
    assert rows["vil-uob/sam3-litetext-s1"]["path"] is None
    others = [name for name, row in rows.items() if row["source"] == "cached"]
    assert others == ["me/efficient-sam3-mine/mine.pt", "me/student", "me/tuned"]
    assert rows["me/student"]["holds"] == "a text encoder of litetext"
    assert all(local_path(name) == Path(rows[name]["path"]) for name in others)


def test_a_broken_cache_is_no_reason_to_fail(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert {model.source for model in known_models()} == {"shipped", "published"}


def test_the_table_is_whole_in_a_file(litetext: Run, hub: Hub) -> None:
    local_path("me/tuned")
    result = litetext("models")
    assert result.code == 0
    assert all(f"\n {entry.name} " in result.out for entry in PUBLISHED_CHECKPOINTS)
    assert "SAM3 with its video tracker, in Meta's layout (SAM License, gated, needs sam3)" in result.out
    tuned = next(line for line in result.out.splitlines() if line.startswith(" me/tuned "))
    assert tuned.split() == ["me/tuned", "0.0", "MB", "yes"]
    assert f"--model {PUBLISHED}" in result.err and litetext("models", "--quiet").err == ""


def test_what_is_missing_is_told(litetext: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from litetext.cli import models

    monkeypatch.setattr(models, "find_spec", lambda package: None if package == "torch" else object())
    assert "pip install 'litetext[sam3]'" in litetext("models").err
    rows = _rows(litetext)
    assert rows["facebook/sam3"]["installed"] is False and rows["mini"]["installed"] is True
