"""Exported encoders: the numbers of torch, without torch; real tokens alone where that is exact."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litetext.encoders import (
    Checkpoint,
    Convention,
    OnnxTextEncoder,
    TorchTextEncoder,
    build_bank,
    export_onnx,
    load_encoder,
    runtime,
)
from litetext.encoders.modules import after_first_eot
from litetext.encoders.trimming import equal_length_groups, padding_mask, real_lengths, trims_exactly
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer

from .conftest import STRUCTURES, random_encoder, small_config

TOKENIZER = Tokenizer().prune_vocabulary(900)
LONG = "the very long armadillo of the north western seaside street lamp post by night"
PROMPTS = ["white dog", "", "a red car", LONG, "!; x", "black <end_of_text> cat", "white dog"]


def checkpoint_of(structure: str, masking: Any, **changes: Any) -> Checkpoint:
    changes = {"vocab_size": TOKENIZER.vocab_size} | changes
    config = small_config(structure, Convention(16, 0, masking), **changes)
    return Checkpoint(config, random_encoder(config).state_dict(), TOKENIZER, "litetext", "memory")


def real_tokens(checkpoint: Checkpoint, prompts: list[str]) -> np.ndarray:
    ids = TOKENIZER(prompts, 16)
    return np.arange(16) < real_lengths(ids, checkpoint.config)[:, None]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "s0"
    export_onnx(checkpoint_of("s0", "everywhere"), folder, PROMPTS)
    return folder


@pytest.mark.parametrize("masking", ["none", "attention", "everywhere"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_exports_and_trimmed_torch_equal_padded_torch(structure: str, masking: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(structure, masking)
    padded = TorchTextEncoder(checkpoint.module(), TOKENIZER, trim=False).encode(PROMPTS).numpy()
    trimmed = TorchTextEncoder(checkpoint.module(), TOKENIZER).encode(PROMPTS).numpy()
    export = export_onnx(checkpoint, tmp_path / "e", PROMPTS)
    found = OnnxTextEncoder(tmp_path / "e", threads=1).encode(PROMPTS)
    real = real_tokens(checkpoint, PROMPTS)
    assert export.trim == trims_exactly(checkpoint.config)
    for features in (trimmed, found):
        assert np.array_equal(features.mask, padded.mask)
        assert np.abs(features.tokens - padded.tokens)[real].max() < 1e-5
        assert not export.trim or not features.tokens[~real].any()


@pytest.mark.parametrize(("precision", "error"), [("fp16", 2e-3), ("int8", 0.1)])
def test_smaller_precisions_are_smaller_and_near(precision: Any, error: float, tmp_path: Path, exported: Path) -> None:
    export = export_onnx(checkpoint_of("s0", "everywhere"), tmp_path / "e", PROMPTS, precision=precision, weight_bits=7)
    assert 1e-5 < export.difference.error_worst < error
    whole = sum((exported / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert export.bytes < 0.62 * whole
    found = load_encoder(tmp_path / "e").encode(PROMPTS).numpy()
    assert np.abs(found.tokens - load_encoder(exported).encode(PROMPTS).tokens).max() > 1e-5


def test_the_published_convention_is_trimmed_only_when_asked(tmp_path: Path) -> None:
    checkpoint = checkpoint_of("s1", "none")
    export = export_onnx(checkpoint, tmp_path / "e", PROMPTS, trim=True)
    assert export.trim and export.trimming is not None and export.trimming.min_cosine < 0.999
    assert export.difference.error_worst < 1e-4  # against torch, trimmed too
    assert "Trimmed against its convention" in (tmp_path / "e" / "README.md").read_text()


def test_one_encoder_serves_threads_and_batches_alike(exported: Path) -> None:
    encoder = OnnxTextEncoder(exported, threads=1)
    whole = encoder.encode(PROMPTS * 3).tokens
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda prompt: encoder.encode([prompt]).tokens[0], PROMPTS * 3))
    assert np.abs(whole - np.stack(alone)).max() < 1e-5
    assert encoder.encode([]).tokens.shape == (0, 16, 32)


def test_the_runs_of_a_batch_overlap_where_there_are_threads(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_and_long = [PROMPTS[0], LONG]  # two lengths, so two runs
    expected = OnnxTextEncoder(exported, threads=1).encode(short_and_long).tokens
    run_session, both_run = runtime.run_session, Barrier(2, timeout=20)

    def meeting(*arguments: Any) -> list[Any]:
        both_run.wait()
        return run_session(*arguments)

    monkeypatch.setattr(runtime, "run_session", meeting)
    assert np.array_equal(OnnxTextEncoder(exported, threads=2).encode(short_and_long).tokens, expected)


def test_threads_sleep_while_they_wait(exported: Path) -> None:
    options = runtime.open_session(exported / "model.onnx", None).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_torch_is_never_imported(exported: Path, tmp_path: Path) -> None:
    build_bank(PROMPTS, OnnxTextEncoder(exported), tmp_path / "bank.safetensors", encoder_name="s0")
    code = f"""
        import sys
        sys.modules["torch"] = sys.modules["transformers"] = sys.modules["onnx"] = None
        from litetext import load_encoder
        for place in ({str(exported)!r}, {str(tmp_path / "bank.safetensors")!r}):
            print(load_encoder(place).encode(["white dog", "a red car"]).tokens.shape)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["(2, 16, 32)"] * 2, done.stderr


@given(
    lengths=st.lists(st.integers(2, 12), min_size=1, max_size=40),
    masking=st.sampled_from(["none", "everywhere"]),
    seed=st.integers(0, 99),
)
def test_ragged_batches_are_cut_whole(lengths: list[int], masking: Any, seed: int) -> None:
    config = small_config("s1", Convention(12, 0, masking), vocab_size=50)
    ids = np.zeros((len(lengths), 12), dtype=np.int64)
    draw = np.random.default_rng(seed)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = [48, *draw.integers(0, 48, length - 2), 49]
    assert real_lengths(ids, config).tolist() == lengths
    if masking == "everywhere":
        assert np.array_equal(padding_mask(ids, config), after_first_eot(torch.from_numpy(ids), 49).numpy())
    groups = list(equal_length_groups(np.array(lengths), 7))
    assert sorted(row for _, rows in groups for row in rows) == list(range(len(lengths)))
    assert all(len(rows) <= 7 and lengths[row] == length for length, rows in groups for row in rows)


def test_refused_exports_leave_what_was_there(exported: Path) -> None:
    before = (exported / "config.json").read_bytes()
    checkpoint = checkpoint_of("s0", "everywhere")
    for changes, message in (
        ({"precision": "int8", "tolerance": 1e-6}, "not written: in int8"),
        ({"precision": "int4"}, "precision 'int4'; choose one of: fp16, fp32, int8"),
        ({"opset": 12}, "opset 12 is not one"),
        ({"weight_bits": 4}, "weight_bits must be 7 or 8"),
    ):
        with pytest.raises(LitetextError, match=message):
            export_onnx(checkpoint, exported, PROMPTS, overwrite=True, **changes)  # type: ignore[arg-type]
    assert (exported / "config.json").read_bytes() == before
    assert [path.name for path in exported.parent.iterdir()] == ["s0"]


def _edited(exported: Path, folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    for file in exported.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v != "gone"}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is not an exported encoder"),
        ({"version": 2}, "version 2"),
        ({"trim": "gone"}, "key 'trim' is missing"),
        ({"vocabulary": list(range(510))}, "the vocabulary lacks id 510"),
        ({"vocabulary": None}, "900 rows, its vocabulary 49408"),
    ],
)
def test_configs_are_checked(changes: dict[str, Any], message: str, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match=message):
        load_encoder(_edited(exported, tmp_path / "e", **changes))


def test_corrupt_and_foreign_graphs_are_named(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _edited(exported, tmp_path / "e")
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LitetextError, match=r"model.onnx is not a readable ONNX model"):
        load_encoder(folder)
    (folder / "model.onnx").write_bytes(whole)
    (folder / "model.onnx.data").unlink()
    with pytest.raises(LitetextError, match=r"model.onnx is not a readable ONNX model"):
        load_encoder(folder)
    config = small_config("s0", output_dim=16, vocab_size=900).to_dict()
    with pytest.raises(LitetextError, match="not what config.json describes"):
        load_encoder(_edited(exported, tmp_path / "f", encoder=config))
    monkeypatch.setattr(runtime, "int8_weight_bits", lambda: 7)
    with pytest.raises(LitetextError, match="--weight-bits 7"):
        load_encoder(_edited(exported, tmp_path / "g", weight_bits=8))


def test_options_of_checkpoints_are_refused(exported: Path) -> None:
    with pytest.raises(LitetextError, match="exported encoder, whose context_length is fixed"):
        load_encoder(exported, context_length=8)
    with pytest.raises(LitetextError, match="threads must be 1 or more"):
        load_encoder(exported, threads=-1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_node_has_a_name_of_its_own(precision: Any, tmp_path: Path) -> None:
    """ONNX Runtime up to 1.21 refuses graphs whose nodes have none."""
    import onnx

    export_onnx(checkpoint_of("s0", "everywhere"), tmp_path / "exported", ["white dog"], precision=precision)
    graph = onnx.load(str(tmp_path / "exported" / "model.onnx"), load_external_data=False).graph
    names = [node.name for node in graph.node]
    assert all(names) and len(set(names)) == len(names)
