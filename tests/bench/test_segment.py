"""``litetext bench segment``: every stage is timed, in the backend that was asked for."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from litetext import LitetextError, cli
from litetext.bench import segment as bench
from litetext.bench.segment import SegmentTask, Stage, bench_segment, counted_gflops, phrases_for, print_measured
from litetext.segment.compiled import CompiledDetector

NAMES = ["vision", "detector", "pixels", "text"]


def _printed(capsys: pytest.CaptureFixture[str], **task: Any) -> dict[str, Any]:
    """What the measuring process prints."""
    print_measured(json.dumps(asdict(SegmentTask("mini", ("dog", "owl"), rounds=1, threads=1, **task))))
    return json.loads(capsys.readouterr().out)


def test_fused_attention_is_counted() -> None:
    places = torch.zeros(1, 8, 64, 32)
    with torch.inference_mode():
        found = counted_gflops(lambda: torch.nn.functional.scaled_dot_product_attention(places, places, places))
    assert found == pytest.approx(2 * 2 * 64 * 64 * 8 * 32 / 1e9)


@pytest.mark.slow
def test_every_stage_is_timed_and_counted_in_torch(capsys: pytest.CaptureFixture[str]) -> None:
    found = _printed(capsys, backend="torch", device="cpu", image_size=64)
    stages = [Stage(**stage) for stage in found["stages"]]
    assert [stage.name for stage in stages] == NAMES
    assert (found["image_size"], found["prompts"], found["threads"]) == (64, 2, 1)
    assert all(stage.ms > 0 for stage in stages) and found["matmul_gflops"] > 0 and found["peak_mb"] > 100
    vision = stages[0]
    # 64 places of width 128, six layers: four projections and a feed-forward of 512 each, and the pyramid on top
    places = 2 * 64 * 6 * (4 * 128 * 128 + 2 * 128 * 512) / 1e9
    assert vision.gflops is not None and places < vision.gflops < 3 * places
    assert vision.share == pytest.approx(vision.gflops / vision.ms * 1e3 / found["matmul_gflops"])


@pytest.mark.slow
@pytest.mark.compiles
def test_compiled_stages_are_counted_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _printed(capsys, backend="torch", device="cpu", image_size=64)
    of = CompiledDetector.of
    monkeypatch.setattr(CompiledDetector, "of", lambda detector: of(detector, "eager"))  # inductor takes a minute
    compiled = _printed(capsys, device="cpu", image_size=64, compile=True)
    assert [one["gflops"] for one in compiled["stages"]] == [one["gflops"] for one in plain["stages"]]


def test_memory_is_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(device=torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 if device == card.device else 0)
    assert bench._peak_bytes(card) == 7
    assert bench._peak_bytes(None) > 1e8


def test_graphs_are_timed_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: Any) -> str:
        with pytest.raises(SystemExit) as exited:
            cli.main(["bench", "segment", "--rounds", "1", *map(str, arguments)])
        assert not exited.value.code
        return capsys.readouterr().out

    found = json.loads(run("--backend", "onnx", "--prompts", 3, "--json"))
    assert [stage["name"] for stage in found["stages"]] == NAMES
    assert found["backend"].startswith("OnnxBackend") and found["prompts"] == 3
    assert found["stages"][0]["gflops"] is None and found["matmul_gflops"] is None


def test_what_cannot_be_loaded_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "multiple of 8" in _printed(capsys, image_size=100, device="cpu")["error"]
    with pytest.raises(LitetextError, match="one prompt or more"):
        bench_segment(SegmentTask("mini", ()))


def test_too_few_phrases_are_asked_again() -> None:
    assert phrases_for(["a", "b"], 3) == ("a", "b", "a")
