"""``litetext info | embed | parity | convert``: the answers, and one line for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from litetext.data import resolve, samples
from litetext.encoders import load_encoder, read_checkpoint, save_encoder, write_checkpoint
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config

GOLD = {
    "images": [
        {
            "id": 0,
            "file_name": samples()[0].image.name,
            "text_input": "owl",
            "height": 256,
            "width": 256,
            "is_instance_exhaustive": True,
        }
    ],
    "annotations": [],
    "categories": [{"id": 1, "name": "owl"}],
}

Run = Callable[..., Any]
PROMPTS = ["white dog", "", "a red car"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "s1"
    save_encoder(random_encoder(small_config("s1")), Tokenizer(), folder)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.json").write_text(json.dumps({"prompts": PROMPTS}))
    return tmp_path / "prompts.json"


def test_info_knows_presets_without_weights(litetext: Run) -> None:
    facts = litetext("info", "s0", "--json").json
    assert facts["variant"] == "s0" and facts["layout"] == "preset" and facts["context_length"] == 16
    assert (facts["parameters"], facts["live_parameters"]) == (42_541_312, 42_279_168)
    assert facts["convention"] == {"context_length": 16, "pad_id": 0, "mask_padding": "none", "positions": "slice"}
    assert "42,541,312" in litetext("info", "s0").out


def test_teacher_is_the_encoder_of_sam3_and_nothing_else(
    litetext: Run, refused: Run, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert litetext("info", "teacher", "--json").json["parameters"] == 353_724_672
    assert 4_000_000 < litetext("info", "mini-teacher", "--json").json["parameters"] < 4_500_000
    report = litetext("embed", "mini-teacher", prompts, "--out", "f.safetensors", "--json").json
    assert report["tokens"] == [3, 32, 64]
    image = samples()[0].image
    for command in (
        ("embed", "teacher", prompts, "--out", "g.safetensors"),
        ("parity", "teacher"),
        ("convert", "teacher", "e", "--to", "litetext"),
        ("bank", "build", prompts, "--text", "teacher", "--out", "b.safetensors"),
        ("distill", "--teacher", "teacher", "--student", "xxs", "--prompts", prompts, "--out", "run"),
        ("audit", prompts, "--encoder", "teacher"),
        ("segment", image, "-p", "car", "--text", "teacher"),
        ("mini", "evaluate", "--text", "teacher", "--pairs", "4"),
    ):
        said = refused(*command)
        assert "teacher is the shape of an encoder, without weights" in said and "mini-teacher" in said, command
    assert {path.name for path in tmp_path.iterdir()} == {"f.safetensors", prompts.name}


def test_info_reads_checkpoints(litetext: Run, checkpoint: Path) -> None:
    facts = litetext("info", checkpoint, "--json").json
    module = load_encoder(checkpoint).module
    assert facts["layout"] == "litetext" and facts["bytes"] == 4 * facts["parameters"]
    assert facts["live_parameters"] == sum(p.numel() for p in module.parameters())


def test_info_reads_exports_banks_and_whole_models(litetext: Run, refused: Run, prompts: Path, tmp_path: Path) -> None:
    assert litetext("export", "mini", tmp_path / "device", "--precision", "int8", "--weight-bits", 7).code == 0
    facts = litetext("info", tmp_path / "device", "--json").json
    wanted = litetext("info", "mini-student", "--json").json
    same = ("variant", "parameters", "live_parameters", "context_length", "convention", "encoder")
    assert {key: facts[key] for key in same} == {key: wanted[key] for key in same}
    assert (facts["layout"], facts["precision"], facts["weight_bits"]) == ("onnx", "int8", 7)
    assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "device").glob("model.onnx*"))
    bank = tmp_path / "bank.safetensors"
    assert litetext("bank", "build", prompts, "--text", tmp_path / "device", "--out", bank).code == 0
    facts = litetext("info", bank, "--json").json
    assert facts == {
        "layout": "concept bank", "concepts": 2, "embedded_by": str(tmp_path / "device"), "bytes": bank.stat().st_size,
        "context_length": 16, "output_dim": 64,
    }  # fmt: skip
    assert "concept bank" in litetext("info", bank).out
    assert litetext("info", resolve("mini"), "--json").json == {**wanted}
    for source in (tmp_path / "device", bank):
        assert "--context says how a checkpoint is read" in refused("info", source, "--context", 8)


def test_empty_lines_are_no_concepts(litetext: Run, refused: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("owl\n\n  \nred car\n\n")
    (tmp_path / "empty.txt").write_text("\n \n")
    bank = tmp_path / "bank.safetensors"
    build = ("bank", "build", tmp_path / "lines.txt", "--text", "mini", "--out", bank, "--json")
    written = litetext(*build).json
    assert (written["phrases"], written["concepts"]) == (2, 2)
    assert load_encoder(bank).concepts() == ["owl", "red car"]  # type: ignore[attr-defined]
    given = ("bank", "build", tmp_path / "empty.txt", "--text", "mini", "--out", tmp_path / "none.safetensors")
    assert "empty.txt holds no prompts" in refused(*given)


def test_info_names_what_would_do(refused: Run) -> None:
    assert "'s9'" in refused("info", "s9") or "s9: no such file" in refused("info", "s9")


def test_embed_writes_rows_in_order(litetext: Run, checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    report = litetext("embed", checkpoint, prompts, "--out", tmp_path / "f.safetensors", "--json").json
    assert report["tokens"] == [3, 16, 32]
    written = load_file(tmp_path / "f.safetensors")
    features = load_encoder(checkpoint).encode(PROMPTS)
    assert torch.equal(written["tokens"], features.tokens) and torch.equal(written["mask"], features.mask)
    assert written["tokens"].dtype == torch.float32 and written["mask"].dtype == torch.bool


def test_embed_takes_text_files_and_ids(litetext: Run, checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    save_file({"ids": torch.from_numpy(Tokenizer()(PROMPTS, 8))}, tmp_path / "ids.safetensors")
    litetext("embed", checkpoint, tmp_path / "prompts.txt", "--context", 8, "--out", tmp_path / "a.safetensors")
    litetext("embed", checkpoint, "--ids", f"{tmp_path}/ids.safetensors:ids", "--out", tmp_path / "b.safetensors")
    a, b = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert a["tokens"].shape == (3, 8, 32) and torch.equal(a["tokens"], b["tokens"])


def test_embed_beyond_the_table_needs_interpolation(
    litetext: Run, refused: Run, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    arguments = ("embed", checkpoint, prompts, "--out", tmp_path / "f.safetensors", "--context", 32)
    assert "position table (16 rows)" in refused(*arguments)
    assert not (tmp_path / "f.safetensors").exists()
    assert litetext(*arguments, "--positions", "interpolate", "--json").json["tokens"] == [3, 32, 32]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["PROMPTS", "--positions", "guess"], "unknown --positions 'guess'; choose one of: interpolate, slice"),
        ([], "give either a file of PROMPTS or --ids"),
        (["missing.txt"], "missing.txt: no such file"),
        (["--ids", "ids"], "--ids 'ids' must read F.safetensors:KEY"),
        (["--ids", "missing.safetensors:k"], "missing.safetensors: no such file"),
    ],
)
def test_embed_refuses(
    refused: Run, checkpoint: Path, prompts: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [str(prompts) if a == "PROMPTS" else a for a in arguments]
    assert message in refused("embed", checkpoint, *given, "--out", tmp_path / "f.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", '{"words": [1]}', "expected a list under prompts, phrases"),
        ("p.json", '{"phrases": []}', "holds no prompts"),
        ("p.csv", "a,b\n1,2\n", "which column holds the phrase?"),
        ("p.yaml", "- dog\n", "cannot read phrases from .yaml"),
        ("p.json", '["dog"', "not valid JSON"),
        ("p.txt", b"\xff\xfe", "not UTF-8"),
        ("p.txt", "", "holds no prompts"),
    ],
)
def test_prompt_lists_are_checked(
    refused: Run, checkpoint: Path, tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused("embed", checkpoint, tmp_path / name, "--out", tmp_path / "f.safetensors")


def test_weights_that_are_no_numbers_need_leave(litetext: Run, refused: Run, prompts: Path, tmp_path: Path) -> None:
    read = read_checkpoint("mini")
    bias = read.state["projector.bias"].clone()
    bias[3] = float("nan")
    nan, run = tmp_path / "nan", tmp_path / "run"
    write_checkpoint(replace(read, state={**read.state, "projector.bias": bias}), nan)
    (gold := tmp_path / "gold.json").write_text(json.dumps(GOLD))
    scene = samples()[0].image
    quick = ("--steps", 1, "--prompts", prompts, "--student", "xxs", "--context", 16)
    # those that compare the result, or need it finite, go on to say so
    for code, command in (
        (0, ("embed", nan, prompts, "--out", tmp_path / "f.safetensors")),
        (2, ("bank", "build", prompts, "--text", nan, "--out", tmp_path / "bank.safetensors")),
        (0, ("parity", nan, "--json")),
        (0, ("convert", nan, tmp_path / "b", "--to", "litetext")),
        (0, ("segment", scene, "-p", "owl", "--text", nan, "--json")),
        (0, ("evaluate", "--gt", gold, "--images", scene.parent, "--model", "mini", "--text", nan, "--no-cache")),
        (0, ("mini", "evaluate", "--text", nan, "--pairs", 2)),
        (0, ("bench", "text", "--row", "s0-16", "--encoder", nan, "--batch", 1, "--rounds", 1, "--no-memory")),
        (2, ("export", nan, tmp_path / "e")),
        (2, ("audit", prompts, "--encoder", nan, "--out", tmp_path / "audit")),
        (2, ("distill", "--teacher", nan, "--out", run, *quick)),
    ):
        assert "'projector.bias' holds 1 numbers that are NaN or infinite" in refused(*command)
        result = litetext(*command, "--allow-nan")
        assert result.code == code and "Traceback" not in result.err and "--allow-nan" not in result.err, result
        if "--json" in command:
            assert result.json
    written = load_file(tmp_path / "f.safetensors")
    assert written["tokens"][~written["mask"]][:, 3].isnan().all()


def test_features_computed_in_fewer_bits(litetext: Run, refused: Run, prompts: Path, tmp_path: Path) -> None:
    litetext("embed", "mini", prompts, "--out", tmp_path / "32.safetensors")
    litetext("embed", "mini", prompts, "--out", tmp_path / "16.safetensors", "--dtype", "bfloat16")
    full, half = (load_file(tmp_path / f"{bits}.safetensors")["tokens"] for bits in (32, 16))
    assert half.dtype == full.dtype == torch.float32 and 0 < (half - full).abs().max() < 0.5
    assert "give float32, bfloat16 or float16" in refused(
        "embed", "mini", prompts, "--out", tmp_path / "8.safetensors", "--dtype", "int8"
    )


def test_parity_reports_the_gap(litetext: Run, checkpoint: Path, prompts: Path) -> None:
    report = litetext("parity", checkpoint, prompts, "--json").json["text_convention"]
    assert report["prompts"] == 3 and report["min_cosine"] <= report["mean_cosine"] < 0.999
    assert report["worst_prompt"] in PROMPTS and report["second"]["pad_id"] == 49407
    assert "token cosine over 163 prompts" in litetext("parity", checkpoint).out


def test_convert_round_trip(litetext: Run, checkpoint: Path, tmp_path: Path) -> None:
    assert litetext("convert", checkpoint, tmp_path / "a.pt", "--to", "authors").code == 0
    report = litetext("convert", tmp_path / "a.pt", tmp_path / "b", "--to", "litetext", "--heads", 4, "--json").json
    assert report["layout"] == "litetext"
    before, after = load_encoder(checkpoint).encode(PROMPTS), load_encoder(tmp_path / "b").encode(PROMPTS)
    assert torch.equal(before.tokens, after.tokens)


def test_convert_refuses(refused: Run, checkpoint: Path, tmp_path: Path) -> None:
    assert "choose one of: authors, litetext, meta, transformers" in refused(
        "convert", checkpoint, tmp_path / "x", "--to", "onyx"
    )
    assert "there is no detector here" in refused(
        "convert", checkpoint, tmp_path / "x", "--to", "transformers", "--model", tmp_path
    )
    (tmp_path / "file").write_text("")
    assert "give the path of a folder" in refused("convert", checkpoint, tmp_path / "file", "--to", "litetext")


def test_usage_errors_are_one_line(refused: Run, litetext: Run) -> None:
    assert "No such command" in refused("segmentt")
    assert "Missing" in refused("embed", "x")
    assert litetext("--version").out.startswith("litetext 0.")


def test_convert_prunes_the_vocabulary_and_says_what_it_does(
    litetext: Run, refused: Run, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    arguments = ("convert", checkpoint, tmp_path / "p", "--to", "litetext", "--json", "--overwrite", "--vocabulary")
    report = litetext(*arguments, prompts).json["vocabulary"]
    assert report["prompts"] == 163 and 0 < report["touched"] < 163 and report["min_cosine"] < 1
    assert load_encoder(tmp_path / "p").config.vocab_size == report["rows"]
    assert litetext(*arguments, 600).json["vocabulary"]["rows"] == 600
    report = litetext(*arguments, f"{prompts}:516", "--prompts", prompts).json["vocabulary"]
    assert report["rows"] == 516 and report["touched"] >= 1
    assert "rows 20 is outside" in refused(*arguments, 20)
    assert "nowhere.txt: no such file" in refused(*arguments, "nowhere.txt")
