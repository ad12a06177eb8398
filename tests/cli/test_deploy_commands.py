"""``litetext export | bank``: from a checkpoint to encoders that need no torch, and one line for every mistake."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from litetext.encoders import AUTHORS, load_encoder, save_encoder
from litetext.outputs import RECORD
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config

Run = Callable[..., Any]
PROMPTS = ["white dog", "a red car", "White dog", "man in blue jacket"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "s1"
    tokenizer = Tokenizer().prune_vocabulary(2000)
    save_encoder(random_encoder(small_config("s1", AUTHORS, vocab_size=2000)), tokenizer, folder)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.json").write_text(json.dumps({"prompts": PROMPTS}))
    return tmp_path / "prompts.json"


def test_export_then_bank_then_embed(
    litetext: Run, refused: Run, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    report = litetext("export", checkpoint, tmp_path / "e", "--to", "onnx", "--prompts", prompts, "--json").json
    assert report["precision"] == "fp32" and not report["trim"] and report["trimming"] is None
    assert report["difference"]["prompts"] == 4 and report["difference"]["min_cosine"] > 0.9999
    names = {RECORD, "README.md", "config.json", "model.onnx", "model.onnx.data", "tokenizer.json"}
    assert {file.name for file in (tmp_path / "e").iterdir()} == names
    bank = tmp_path / "bank.safetensors"
    report = litetext("bank", "build", prompts, "--text", tmp_path / "e", "--out", bank, "--json").json
    assert (report["phrases"], report["concepts"]) == (4, 3)
    litetext("embed", bank, prompts, "--out", tmp_path / "f.safetensors")
    features = load_encoder(checkpoint).encode(PROMPTS)
    written = load_file(tmp_path / "f.safetensors")
    real = ~features.mask.numpy()
    assert np.abs(written["tokens"] - features.tokens.numpy())[real].max() < 0.02
    (tmp_path / "others.txt").write_text("zebra\n")
    assert "does not know 'zebra'" in refused(
        "embed", bank, tmp_path / "others.txt", "--out", tmp_path / "g.safetensors"
    )


def test_export_says_what_trimming_does(litetext: Run, checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    said = litetext("export", checkpoint, tmp_path / "e", "--prompts", prompts, "--trim", "--precision", "int8")
    assert said.code == 0 and said.out == "" and "cosine to untrimmed" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tflite"], "choose one of: onnx"),
        (["--precision", "int4"], "choose one of: fp16, fp32, int8"),
        (["--opset", "7"], "give 20 to 23"),
        (["--vocabulary", "600000"], "rows 600000 is outside 514.."),
        (["--tolerance", "0"], "not written: in fp32"),
        (["--prompts", "nowhere.txt"], "nowhere.txt: no such file"),
    ],
)
def test_export_refuses(refused: Run, checkpoint: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused("export", checkpoint, tmp_path / "e", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_bank_refuses(refused: Run, checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    build = ("bank", "build", prompts, "--text")
    assert "ending in .safetensors" in refused(*build, checkpoint, "--out", tmp_path / "bank")
    assert "no such file or folder" in refused(*build, tmp_path / "none", "--out", tmp_path / "b.safetensors")
    assert "Missing" in refused("bank", "build", prompts)


@pytest.mark.parametrize("command", ["export", "bank"])
def test_a_disk_that_cannot_be_written_is_one_line(
    refused: Run, checkpoint: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def read_only(*arguments: object, dir: str | os.PathLike[str], **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(dir))

    for name in ("mkdtemp", "mkstemp"):  # a superuser may write wherever permissions alone forbid it
        monkeypatch.setattr(tempfile, name, read_only)
    arguments = {
        "export": ("export", checkpoint, tmp_path / "e", "--prompts", prompts),
        "bank": ("bank", "build", prompts, "--text", checkpoint, "--out", tmp_path / "bank.safetensors"),
    }[command]
    assert f"{arguments[-1] if command == 'bank' else tmp_path / 'e'} cannot be written: read-only" in refused(
        *arguments
    )
    assert list(tmp_path.iterdir()) == [prompts]
