"""What the base install does, on any versions; ``make test-oldest`` runs this on the lower bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from litetext import LitetextError, Segmenter, load_encoder
from litetext.cli import main
from litetext.encoders import ConceptBank
from litetext.prompts import read_corpus

from .exports import PHRASES

pytestmark = pytest.mark.slow

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that must succeed; return its standard output."""

    def command(*arguments: object) -> str:
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert not done.value.code, captured.err
        return captured.out

    return command


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-4), ("int8", 0.15)])
def test_exported_encoders_give_torchs_features(exports: Path, precision: str, error: float) -> None:
    wanted = np.load(exports / "torch.npz")
    found = load_encoder(exports / precision).encode(PHRASES)
    assert np.array_equal(found.mask, wanted["mask"])
    real = ~wanted["mask"]
    off = np.linalg.norm(found.tokens[real] - wanted["tokens"][real], axis=-1)
    assert (off / np.linalg.norm(wanted["tokens"][real], axis=-1)).max() < error


def test_a_whole_export_finds_in_an_array_what_torch_finds(exports: Path) -> None:
    wanted = np.load(exports / "torch.npz")
    found = Segmenter.from_pretrained(exports / "whole").segment(wanted["scene"], PHRASES)
    assert len(found) >= 2
    np.testing.assert_allclose(found.scores, wanted["scores"], atol=1e-3)
    np.testing.assert_allclose(np.asarray(found.masks).sum((1, 2)), wanted["areas"], atol=2)


def test_a_bank_is_built_and_read(run: Run, exports: Path, tmp_path: Path) -> None:
    (tmp_path / "concepts.txt").write_text("\n".join(PHRASES), encoding="utf-8")
    bank = tmp_path / "bank.safetensors"
    built = run("bank", "build", tmp_path / "concepts.txt", "--text", exports / "fp32", "--out", bank, "--json")
    assert json.loads(built)["concepts"] == len(PHRASES)
    known = ConceptBank(bank).encode(PHRASES)
    wanted = load_encoder(exports / "fp32").encode(PHRASES)
    length = known.tokens.shape[1]
    assert np.abs(known.tokens - wanted.tokens[:, :length])[~known.mask].max() < 1e-2
    with pytest.raises(LitetextError, match="whale"):
        ConceptBank(bank).encode(["whale"])


def test_features_are_embedded_from_the_shell(run: Run, exports: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps(PHRASES))
    written = tmp_path / "features.safetensors"
    said = run("embed", exports / "int8", tmp_path / "prompts.json", "--out", written, "--json")
    assert json.loads(said)["tokens"][0] == len(PHRASES)
    assert written.is_file()


def test_help_and_presets_need_nothing_more(run: Run) -> None:
    assert "segment" in run("--help")
    assert "--prompt" in run("segment", "--help")
    assert json.loads(run("info", "s0", "--json"))["parameters"] == 42_541_312


def test_phrases_are_read_from_text_and_tables(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("white dog\nred car\n")
    (tmp_path / "b.csv").write_text("id,phrase\n1,red car\n2,kite\n")
    assert read_corpus([tmp_path / "a.txt", tmp_path / "b.csv"]).phrases == ["white dog", "red car", "kite"]
