"""``litetext bench text``: one document, the keys that the issue of table 8 names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from litetext.encoders import export_onnx, read_checkpoint, save_encoder
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config

KEYS = {"name", "L", "batch", "threads", "texts_per_s", "vs_teacher", "vs_s0_eager", "parameters", "live_parameters",
        "gflops", "bytes", "peak_mb", "min_cosine"}  # fmt: skip


def test_json_rows(litetext: Callable[..., Any]) -> None:
    arguments = ("--row", "s0-16", "--batch", 1, "--rounds", 1, "--threads", 1)
    (row,) = litetext("bench", "text", *arguments, "--json").json["rows"]
    assert row.keys() == KEYS
    assert (row["name"], row["L"], row["batch"], row["threads"]) == ("s0", 16, 1, 1)
    assert row["peak_mb"] > 170  # its float32 weights alone
    assert row["min_cosine"] is None


def test_exported_encoders_are_rows_measured_without_torch(litetext: Callable[..., Any], tmp_path: Path) -> None:
    tokenizer = Tokenizer().prune_vocabulary(600)
    save_encoder(random_encoder(small_config("s1", vocab_size=600)), tokenizer, tmp_path / "torch")
    export_onnx(read_checkpoint(tmp_path / "torch"), tmp_path / "onnx", ["dog"], precision="int8", weight_bits=7)
    rows = ("--row", "s0-16", "--encoder", tmp_path / "onnx", "--reference", tmp_path / "torch")
    found = litetext("bench", "text", *rows, "--batch", 2, "--rounds", 1, "--threads", 1, "--json").json["rows"]
    assert found[0]["min_cosine"] is None and 0.9 < found[1]["min_cosine"] < 1
    assert found[1]["peak_mb"] < 200 < found[0]["peak_mb"]  # torch alone takes more


def test_refusals(refused: Callable[..., str]) -> None:
    assert "row 'nope'" in refused("bench", "text", "--row", "nope")
    assert "no such file" in refused("bench", "text", "--prompts", "nowhere.txt")
    assert "give --encoder too" in refused("bench", "text", "--row", "s0-16", "--reference", "mini")
