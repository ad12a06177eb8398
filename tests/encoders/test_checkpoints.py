"""Checkpoints in and out: nothing lost, nothing loaded "mostly", nothing unpickled."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from litetext.encoders import (
    PRESETS,
    Convention,
    TorchTextEncoder,
    build,
    load_encoder,
    open_checkpoint,
    read_checkpoint,
    save_encoder,
    write_authors,
    write_checkpoint,
)
from litetext.encoders.layouts import FULL_CHECKPOINT_PREFIX, STUDENT, variant_of
from litetext.encoders.state_shapes import our_shapes
from litetext.encoders.tensorfile import TensorFile, lazily, read_all
from litetext.errors import LitetextError, LitetextWarning
from litetext.outputs import RECORD
from litetext.tokenizer import Tokenizer

from .conftest import STRUCTURES, random_encoder, small_config

GOLDEN = Path(__file__).parent / "golden"
PROMPTS = ["white dog", "man in blue jacket", ""]
TOKENIZER = Tokenizer()


@pytest.fixture
def golden_state() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "s0" / "weights_table77.safetensors")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_save_load_encode_is_bit_identical(structure: str, tmp_path: Path) -> None:
    convention = replace(small_config(structure).convention, context_length=12)
    module = random_encoder(small_config(structure, convention))
    before = TorchTextEncoder(module, TOKENIZER).encode(PROMPTS)
    save_encoder(module, TOKENIZER, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.config == module.config
    after = loaded.encode(PROMPTS)
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.mask, after.mask)
    assert {f.name for f in (tmp_path / "encoder").iterdir()} == {
        RECORD,
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_pruned_vocabulary_travels_with_the_weights(tmp_path: Path) -> None:
    pruned = TOKENIZER.prune_vocabulary(PROMPTS)
    module = random_encoder(small_config("s1", vocab_size=pruned.vocab_size))
    save_encoder(module, pruned, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.tokenizer.kept == pruned.kept
    assert torch.equal(loaded.encode(PROMPTS).tokens, TorchTextEncoder(module, pruned).encode(PROMPTS).tokens)


@pytest.mark.parametrize("name", ["s0", "s1", "l", "ve"])
def test_authors_to_ours_to_authors_is_the_identity(name: str, tmp_path: Path) -> None:
    source = GOLDEN / name / ("weights.safetensors" if name == "ve" else "weights_table77.safetensors")
    write_checkpoint(read_checkpoint(source, heads=4 if name != "l" else 5), tmp_path / "ours")
    write_authors(read_checkpoint(tmp_path / "ours"), tmp_path / "back.safetensors")
    before, after = load_file(source), load_file(tmp_path / "back.safetensors")
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert tensor.dtype == after[key].dtype and torch.equal(tensor, after[key]), key


def test_half_precision_files_keep_their_dtype(tmp_path: Path, golden_state: dict[str, torch.Tensor]) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in golden_state.items()}
    save_file(half, tmp_path / "half.safetensors")
    write_authors(read_checkpoint(tmp_path / "half.safetensors"), tmp_path / "back.safetensors")
    after = load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(half[k], after[k]) and half[k].dtype == after[k].dtype for k in half)


def test_a_full_sam3_file_is_searched_for_its_encoder(tmp_path: Path, golden_state: dict[str, torch.Tensor]) -> None:
    full = {FULL_CHECKPOINT_PREFIX + k: v for k, v in golden_state.items()} | {"tracker.temporal": torch.ones(3)}
    torch.save({"model": full}, tmp_path / "sam3.pt")
    read = read_checkpoint(tmp_path / "sam3.pt", heads=4)
    assert read.layout == "authors" and read.config.position_rows == 77
    assert read.config.convention == Convention(16, 0, "none", "slice")
    write_authors(read, tmp_path / "text.pt")
    written = torch.load(tmp_path / "text.pt", weights_only=True)["model"]
    assert written.keys() == full.keys() - {"tracker.temporal"}


def test_heads_come_from_the_width_or_are_asked_for(tmp_path: Path) -> None:
    assert read_checkpoint(GOLDEN / "s0" / "weights_table77.safetensors").config.heads == 1
    with pytest.raises(LitetextError, match="width 80 is not a multiple of 64.*--heads"):
        read_checkpoint(GOLDEN / "l" / "weights_table77.safetensors")


def test_presets_are_recognised_by_their_blocks() -> None:
    from litetext.encoders import PRESETS

    for name, config in PRESETS.items():
        assert variant_of(replace(config, variant="custom", vocab_size=8000)) == name


def _file(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file(state, tmp_path / "broken.safetensors")
    return tmp_path / "broken.safetensors"


@pytest.mark.parametrize(
    "key",
    ["encoder.transformer.0.token_mixer.layer_scale", "encoder.final_layer_norm.bias", "projector.weight",
     "encoder.transformer.3.pre_norm_mha.1.qkv_proj.bias", "encoder.transformer.5.convffn.fc2.weight"],
)  # fmt: skip
def test_every_missing_or_misshaped_key_is_named(
    key: str, tmp_path: Path, golden_state: dict[str, torch.Tensor]
) -> None:
    tensor = golden_state.pop(key)
    with pytest.raises(LitetextError, match=f"{key}.*missing"):
        read_checkpoint(_file(tmp_path, golden_state), heads=4)
    golden_state[key] = torch.zeros(*tensor.shape, 2)
    with pytest.raises(LitetextError, match=f"{key}.*shape"):
        read_checkpoint(_file(tmp_path, golden_state), heads=4)


def test_unexpected_keys_are_named_and_unrelated_ones_ignored(
    tmp_path: Path, golden_state: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(LitetextError, match="unexpected key 'encoder.extra'"):
        read_checkpoint(_file(tmp_path, golden_state | {"encoder.extra": torch.ones(1)}), heads=4)
    full = {FULL_CHECKPOINT_PREFIX + k: v for k, v in golden_state.items()} | {"detector.other": torch.ones(1)}
    assert read_checkpoint(_file(tmp_path, full), heads=4).config.repmixer
    full[FULL_CHECKPOINT_PREFIX + "extra"] = torch.ones(1)
    with pytest.raises(LitetextError, match="unexpected key"):
        read_checkpoint(_file(tmp_path, full), heads=4)


def test_files_without_or_with_two_encoders_are_refused(tmp_path: Path, golden_state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(LitetextError, match=r"no text encoder in it.*encoder\.embedding_layer\.weight"):
        read_checkpoint(_file(tmp_path, {"a": torch.ones(1)}))
    two = golden_state | {"b." + k: v.clone() for k, v in golden_state.items()}
    with pytest.raises(LitetextError, match="more than one text encoder"):
        read_checkpoint(_file(tmp_path, two))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {"encoder": Path("x")}}, tmp_path / "evil.pt")
    with pytest.raises(LitetextError, match="evil.pt holds a Python object, pathlib.PosixPath, beside its tensors"):
        read_checkpoint(tmp_path / "evil.pt")


class _Reduced:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran code",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_named_and_not_run(tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": _Reduced()}, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(LitetextError, match=r"evil.pt holds a Python object, print, beside") as caught:
        read_checkpoint(tmp_path / "evil.pt")
    assert "\n" not in str(caught.value) and "ran code" not in capsys.readouterr().out


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", b"\0" * 50_000_000)


ODD_PICKLES: dict[str, tuple[Any, str]] = {
    "integer keys": ({3: torch.ones(2)}, "a tensor is called 3, where a text should stand"),
    "none": ({"a": 3}, "holds no tensors"),
    "list": ([torch.ones(2)], "holds a list, not a dictionary of tensors"),
    "sparse": ({"a": torch.eye(3).to_sparse()}, "'a' is sparse"),
    "repeated": ({"a": torch.ones(1).expand(1 << 40)}, "'a' has shape (1099511627776,), more than is stored"),
}


@pytest.mark.parametrize("name", ODD_PICKLES)
def test_odd_pickles_are_named(tmp_path: Path, name: str) -> None:
    content, message = ODD_PICKLES[name]
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(LitetextError, match=re.escape(message)):
        read_checkpoint(tmp_path / "odd.pt")


def test_archives_that_unpack_to_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    _zip_bomb(tmp_path / "bomb.pt")
    with pytest.raises(LitetextError, match=r"bomb.pt would unpack to 50,000,\d{3} bytes from"):
        read_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    module = random_encoder(small_config("s1"))
    with torch.no_grad():
        module.projector.weight[0, :2] = value
    save_encoder(module.half(), TOKENIZER, tmp_path / "e")
    with pytest.raises(LitetextError, match="e: 'projector.weight' holds 2 numbers that are NaN or infinite, of 1,024"):
        load_encoder(tmp_path / "e")
    assert not load_encoder(tmp_path / "e", allow_nan=True).encode(["dog"]).tokens.isfinite().all()
    assert open_checkpoint(tmp_path / "e").bytes == read_checkpoint(tmp_path / "e", allow_nan=True).bytes()


def test_large_finite_weights_pass(tmp_path: Path) -> None:
    module = random_encoder(small_config("s1"))
    with torch.no_grad():
        module.projector.weight.fill_(3e38)
    save_encoder(module, TOKENIZER, tmp_path / "e")
    assert read_checkpoint(tmp_path / "e").state["projector.weight"].max() > 2e38


@pytest.mark.parametrize("layout", ["litetext", "authors"])
def test_weights_of_another_kind_are_named(tmp_path: Path, layout: str) -> None:
    save_encoder(random_encoder(small_config("s0")), TOKENIZER, tmp_path / "e")
    path = tmp_path / "e" / "model.safetensors"
    if layout == "authors":
        path = tmp_path / "a.safetensors"
        write_authors(read_checkpoint(tmp_path / "e"), path)
    state = load_file(path)
    for key, dtype, wanted in (("projector.weight", torch.int16, "floating-point"), ("projector.bias", None, "")):
        save_file(state | {key: state[key].to(dtype or torch.float64)}, path)
        if dtype is None:
            assert read_checkpoint(path, heads=4).state[key].dtype == torch.float64
            continue
        with pytest.raises(LitetextError, match=f"key '{key}' is stored as I16, expected {wanted} numbers"):
            read_checkpoint(path, heads=4)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("unused", [0, 24])
def test_shapes_are_those_of_the_module(name: str, unused: int) -> None:
    config = replace(PRESETS[name], layers=3, unused_projection=unused, repmixer_kernel=7)
    module = build(config, device="meta")
    assert our_shapes(config) == [(key, tuple(tensor.shape)) for key, tensor in module.state_dict().items()]


def test_files_are_told_without_torch(tmp_path: Path) -> None:
    save_encoder(random_encoder(small_config("s0")), TOKENIZER, tmp_path / "e")
    write_authors(read_checkpoint(tmp_path / "e"), tmp_path / "a.safetensors")
    code = """
        import sys
        sys.modules["torch"] = sys.modules["transformers"] = None
        from litetext.cli import main
        main(["info", *sys.argv[1:], "--json"])
    """
    for arguments in ([tmp_path / "e"], [tmp_path / "a.safetensors", "--heads", "4"], ["mini"]):
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and json.loads(done.stdout)["bytes"] > 0, done.stderr


def test_the_context_of_large_files_is_told_from_their_header(tmp_path: Path) -> None:
    config = replace(PRESETS["teacher"], layers=2)
    shapes = dict(our_shapes(config)) | {"token_embedding.weight": (49408, 1024)}
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 8 * math.prod(shape)
        header[name] = {"dtype": "F64", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(tmp_path / "model.safetensors", 8 + len(text) + at)  # a hole: takes no room on the disk
    values = {"format": "litetext-encoder", "version": 1, "encoder": config.to_dict(), "vocabulary": None}
    (tmp_path / "config.json").write_text(json.dumps(values))
    start = time.perf_counter()
    file = open_checkpoint(tmp_path)
    assert file.bytes == at > 500_000_000 and file.config == config
    assert time.perf_counter() - start < 1


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "convention": ({"encoder": {"convention": None}}, "'encoder.convention' is None"),
    "width": ({"encoder": {"width": 10**18}}, "'encoder.width' is 1000000000000000000, where a whole number"),
    "layers": ({"encoder": {"layers": 2.5}}, "'encoder.layers' is 2.5, where a whole number"),
    "list": ({"encoder": [1]}, "'encoder' is"),
    "text": ({"vocabulary": "abc"}, "'vocabulary': a pruned vocabulary is a list of CLIP ids; got 'abc'"),
    "texts": ({"vocabulary": ["a"]}, "a list of CLIP ids; it holds 'a'"),
    "number": ({"vocabulary": 5}, "a list of CLIP ids; got 5"),
    "nulls": ({"vocabulary": [None]}, "a list of CLIP ids; it holds None"),
    "version": ({"version": [1]}, "of version [1]"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_name_file_and_key(tmp_path: Path, name: str) -> None:
    changes, message = CONFIGS[name]
    save_encoder(random_encoder(small_config("s1")), TOKENIZER, tmp_path / "e")
    values = json.loads((tmp_path / "e" / "config.json").read_text())
    if isinstance(changes.get("encoder"), dict):
        changes = {"encoder": values["encoder"] | changes["encoder"]}
    (tmp_path / "e" / "config.json").write_text(json.dumps(values | changes))
    with pytest.raises(LitetextError, match=re.escape(message)) as caught:
        load_encoder(tmp_path / "e")
    assert str(tmp_path / "e") in str(caught.value)


@pytest.mark.parametrize("given", [None, 3, ["mini"]])
def test_encoders_are_named_by_text(given: Any) -> None:
    for load in (load_encoder, read_checkpoint):
        with pytest.raises(LitetextError, match="an encoder is named by a text or a path, got"):
            load(given)


@pytest.mark.parametrize("names", [{"a": 5}, {"a": ["x"]}, ["a"], {"a": "../b.safetensors"}, {"a": "/dev/null"}])
def test_indexes_that_name_no_shard(tmp_path: Path, names: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(LitetextError, match=r"index.json.*shard"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pt", "text.pt"])
def test_damaged_files_are_named(name: str, tmp_path: Path, golden_state: dict[str, torch.Tensor]) -> None:
    save_file(golden_state, tmp_path / "cut.safetensors")
    torch.save(golden_state, tmp_path / "cut.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    damaged = tmp_path / name
    damaged.write_bytes(damaged.read_bytes()[:-2000] if name.startswith("cut") else damaged.read_bytes())
    with pytest.raises(LitetextError, match=name):
        read_checkpoint(damaged)


def test_sharded_indexes_are_checked(tmp_path: Path, golden_state: dict[str, torch.Tensor]) -> None:
    keys = sorted(golden_state)
    halves = {"a.safetensors": keys[:50], "b.safetensors": keys[50:]}
    for name, part in halves.items():
        save_file({k: golden_state[k] for k in part}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {k: name for name, part in halves.items() for k in part}}))
    assert read_checkpoint(tmp_path, heads=4).state.keys() == dict(read_checkpoint(index, heads=4).state).keys()
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(LitetextError, match="names the shard 'b.safetensors'"):
        read_checkpoint(tmp_path, heads=4)


def test_a_folder_must_say_which_weights(tmp_path: Path, golden_state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(LitetextError, match="holds no weights"):
        read_checkpoint(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        save_file(golden_state, tmp_path / name)
    with pytest.raises(LitetextError, match="holds 2 .safetensors files"):
        read_checkpoint(tmp_path)


def test_names_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="shape of an encoder, without weights"):
        load_encoder("s0")
    with pytest.raises(LitetextError, match="no such file or folder"):
        load_encoder(tmp_path / "nothing.pt")


def test_our_own_folder_is_checked_too(tmp_path: Path) -> None:
    save_encoder(random_encoder(small_config("s1")), TOKENIZER, tmp_path / "e")
    state = load_file(tmp_path / "e" / "model.safetensors")
    del state["projector.bias"]
    save_file(state, tmp_path / "e" / "model.safetensors")
    with pytest.raises(LitetextError, match=r"projector\.bias.*missing"):
        load_encoder(tmp_path / "e")
    config = json.loads((tmp_path / "e" / "config.json").read_text())
    (tmp_path / "e" / "config.json").write_text(json.dumps(config | {"version": 9}))
    with pytest.raises(LitetextError, match="version 9"):
        load_encoder(tmp_path / "e")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    module = random_encoder(small_config("s1"))
    save_encoder(module, TOKENIZER, tmp_path / "e")
    folded = read_checkpoint(tmp_path / "e")
    with pytest.raises(LitetextError, match="unfolded"):
        write_checkpoint(replace(folded, state={"a": torch.ones(1)}), tmp_path / "e", overwrite=True)
    assert load_encoder(tmp_path / "e").config == module.config
    assert [p.name for p in tmp_path.iterdir()] == ["e"]


def test_authors_layout_needs_a_file_name_and_the_full_vocabulary(tmp_path: Path) -> None:
    pruned = TOKENIZER.prune_vocabulary(PROMPTS)
    save_encoder(random_encoder(small_config("s1", vocab_size=pruned.vocab_size)), pruned, tmp_path / "e")
    with pytest.raises(LitetextError, match="pruned vocabulary"):
        write_authors(read_checkpoint(tmp_path / "e"), tmp_path / "e.pt")
    save_encoder(random_encoder(small_config("s1")), TOKENIZER, tmp_path / "f")
    with pytest.raises(LitetextError, match=r"\.pt or \.safetensors"):
        write_authors(read_checkpoint(tmp_path / "f"), tmp_path / "folder")


def test_layout_tables_are_inverse_to_each_other() -> None:
    module = random_encoder(small_config("s0"))
    state = module.state_dict()
    theirs = TensorFile("theirs", STUDENT.write(lazily(state), module.config))
    back = read_all(STUDENT.read(theirs, "", module.config))
    assert back.keys() == state.keys() and all(torch.equal(back[k], state[k]) for k in state)


def _named(state: dict[str, torch.Tensor], rows: int, path: Path) -> Path:
    key = "encoder.positional_embedding.pos_embed.pos_embed"
    torch.save({"model": state | {key: state[key][:, :, :rows].clone()}}, path)
    return path


@pytest.mark.parametrize(("rows", "name"), [(16, "ctx32"), (32, "ctx16"), (77, "ctx128")])
def test_a_context_in_the_name_must_be_the_tables(
    golden_state: dict[str, torch.Tensor], tmp_path: Path, rows: int, name: str
) -> None:
    path = _named(golden_state, rows, tmp_path / f"student_{name}.pt")
    with pytest.raises(
        LitetextError, match=f"says a context of {name[3:]}, its position table has {rows} rows.*--context"
    ):
        read_checkpoint(path)
    assert read_checkpoint(path, context_length=12, positions="slice").config.convention.context_length == 12


def test_a_table_that_is_cut_is_pointed_out_unless_the_caller_says_how(
    golden_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = _named(golden_state, 77, tmp_path / "student_ctx32.pt")
    with pytest.warns(
        LitetextWarning, match=r"77 rows for a context of 32; .*--positions slice.*--positions interpolate"
    ):
        assert read_checkpoint(path).config.convention.context_length == 32
    with warnings.catch_warnings(action="error", category=LitetextWarning):
        read_checkpoint(path, positions="interpolate")
        read_checkpoint(_named(golden_state, 32, tmp_path / "student.pt"))
