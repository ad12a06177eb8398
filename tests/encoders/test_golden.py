"""The published implementations' numbers, reproduced to 1e-5."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from litetext.encoders import TextTransformer, load_encoder, read_checkpoint
from litetext.encoders.layouts import FULL_CHECKPOINT_PREFIX

HERE = Path(__file__).parent / "golden"
BESIDE = Path(__file__).parents[3] / "shared" / "golden" / "text"
ROOTS = [HERE, *([BESIDE] if BESIDE.is_dir() else [])]
HEADS = {"s0": 4, "s1": 4, "l": 5, "ve": 4}


def _variants() -> list[tuple[Path, str, str, int]]:
    modes = ("exact", "slice77", "interp77", "interp16up")
    found = []
    for root, name, mode, length in itertools.product(ROOTS, ("s0", "s1", "l"), modes, (8, 16, 32)):
        if mode != "interp16up" or (name == "s0" and length == 32):
            found.append((root, name, mode, length))
    return found


def _student(root: Path, name: str, mode: str, length: int) -> TextTransformer:
    read = read_checkpoint(root / name / "weights_table77.safetensors", heads=HEADS[name])
    state = dict(read.state)
    rows = {"exact": length, "interp16up": 16}.get(mode)
    if rows:
        state["position_embedding"] = load_file(root / name / "pos_tables_exact.safetensors")[f"table.T{rows}"][0, 0]
    positions = "interpolate" if mode.startswith("interp") else "slice"
    convention = replace(read.config.convention, context_length=length, positions=positions)
    config = replace(read.config, position_rows=len(state["position_embedding"]), convention=convention)
    return replace(read, config=config, state=state).module()


def _ids(root: Path, length: int) -> Tensor:
    return load_file(root / "ids.safetensors")[f"compact.T{length}"]


@pytest.mark.parametrize(("root", "name", "mode", "length"), _variants(), ids=lambda v: getattr(v, "name", str(v)))
@torch.inference_mode()
def test_students_at_every_table_and_context(root: Path, name: str, mode: str, length: int) -> None:
    expected = load_file(root / name / "expected.safetensors")
    ids = _ids(root, length)[expected[f"{mode}.prompts"]]
    module = _student(root, name, mode, length)
    tokens, mask = module(ids)
    reference = expected[f"{mode}.T{length}.memory"].transpose(0, 1)
    assert (tokens - reference).abs().max() <= 1e-5
    assert torch.equal(mask, expected[f"{mode}.T{length}.mask"])
    assert (module.folded()(ids)[0] - tokens).abs().max() <= 2e-5


@pytest.mark.parametrize("length", [8, 16, 32])
def test_teacher_at_every_context(length: int) -> None:
    expected = load_file(HERE / "ve" / "expected.safetensors")
    encoder = load_encoder(HERE / "ve" / "weights.safetensors", heads=HEADS["ve"], context_length=length)
    features = encoder.encode_ids(_ids(HERE, length))
    assert (features.tokens - expected[f"T{length}.memory"].transpose(0, 1)).abs().max() <= 1e-5
    assert torch.equal(features.mask, expected[f"T{length}.mask"])


@pytest.mark.skipif(not BESIDE.is_dir(), reason="the full golden set does not lie beside this checkout")
@torch.inference_mode()
def test_full_checkpoint_and_full_vocabulary() -> None:
    expected = load_file(BESIDE / "s0" / "expected.safetensors")
    encoder = load_encoder(BESIDE / "s0" / "checkpoint_table16.pt", heads=4)
    assert (
        encoder.encode_ids(_ids(BESIDE, 16)).tokens - expected["exact.T16.memory"].transpose(0, 1)
    ).abs().max() <= 2e-5
    import json

    expected = load_file(BESIDE / "full_vocab" / "expected.safetensors")
    prompts = json.loads((BESIDE / "prompts.json").read_text())["prompts"]
    encoder = load_encoder(BESIDE / "full_vocab" / "weights_table16_fp16.safetensors", heads=2)
    features = encoder.encode(prompts)
    assert (features.tokens - expected["exact.T16.memory"].transpose(0, 1)).abs().max() <= 2e-5
    assert torch.equal(features.mask, expected["exact.T16.mask"].reshape(24, 16))


@pytest.mark.parametrize("rows", [8, 16, 32])
def test_a_file_runs_at_the_context_of_its_position_table(rows: int, tmp_path: Path) -> None:
    """A student of 32 rows was trained at 32 tokens; read at 16, every feature of it is another."""
    state = load_file(HERE / "s0" / "weights_table77.safetensors")
    table = load_file(HERE / "s0" / "pos_tables_exact.safetensors")[f"table.T{rows}"]
    state["encoder.positional_embedding.pos_embed.pos_embed"] = table
    path = tmp_path / f"sam3_litetext_mobileclip_s0_ctx{rows}.pt"
    torch.save({"model": {FULL_CHECKPOINT_PREFIX + key: tensor for key, tensor in state.items()}}, path)
    expected = load_file(HERE / "s0" / "expected.safetensors")
    encoder = load_encoder(path, heads=HEADS["s0"])
    features = encoder.encode_ids(_ids(HERE, rows)[expected["exact.prompts"]])
    assert (features.tokens - expected[f"exact.T{rows}.memory"].transpose(0, 1)).abs().max() <= 1e-5
