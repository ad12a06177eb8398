"""``litetext parity``: stage by stage against transformers, an export, another model, a recording."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litetext.data import ROOT, samples
from litetext.encoders import open_checkpoint
from litetext.segment.transformers_folder import write_transformers
from litetext.segment.whole_model import open_model

from ..segment.conftest import save_reference

Run = Callable[..., Any]
STAGES = ["ids", "text tokens", "image features", "logits", "presence", "boxes", "masks", "detections"]
LOW = ("--threshold", "0.05")

pytestmark = pytest.mark.skipif(not (ROOT / "mini").is_dir(), reason="mini's weights are not in this checkout")


def _stages(report: Any) -> dict[str, Any]:
    return {stage["stage"]: stage for stage in report["stages"]["stages"]}


def test_two_conventions_of_the_same_weights(litetext: Run) -> None:
    result = litetext("parity", "mini", "--as", "meta,transformers", *LOW, "--json")
    stages = _stages(result.json)
    assert list(stages) == STAGES
    assert [stages[name]["max"] for name in ("ids", "text tokens")] == [0, 0]
    assert stages["boxes"]["max"] > 0.01 and stages["logits"]["exceeds"]
    assert result.code == 3 and result.json["stages"]["first_exceeding"] in ("image features", "logits")
    assert result.json["stages"]["implementation"] == "mini as transformers"
    assert result.json["text_convention"]["prompts"] == 163


def test_the_table_names_the_first_stage_that_is_off(litetext: Run) -> None:
    result = litetext("parity", "mini", "--as", "meta,transformers", "-p", "penguin", "--tolerance", "0.01")
    assert result.code == 3
    assert "first stage beyond the tolerance: " in result.out and "token cosine over 163 prompts" in result.out


def test_mini_is_what_transformers_computes(litetext: Run) -> None:
    result = litetext("parity", "mini", "--against", "transformers", *LOW, "--json")
    stages = _stages(result.json)
    assert result.code == 0 and result.json["stages"]["first_exceeding"] is None
    assert list(stages) == STAGES and stages["masks"]["max"] < 1e-3
    found, wanted = result.json["stages"]["detections"]
    assert found == wanted > 0


def test_how_far_bfloat16_is_off(litetext: Run) -> None:
    done = litetext("parity", "mini", "--against", "transformers", "--dtype", "bfloat16", "--device", "cpu", "--json")
    assert done.code == 3 and done.json["stages"]["first_exceeding"] == "image features"


@pytest.mark.parametrize("structure", ["teacher", "s1"])
def test_a_folder_with_its_own_text_encoder(litetext: Run, tmp_path: Path, structure: str) -> None:
    save_reference(structure, tmp_path / "source")
    text = open_checkpoint(tmp_path / "source")
    write_transformers(open_model(tmp_path / "source"), text, tmp_path / "model", ["dog"])
    asked = ["-p", "white dog", "-p", "cup of tea", "--threshold", "0", "--json"]
    result = litetext("parity", tmp_path / "model", "--against", "transformers", *asked)
    assert result.code == 0, result.out
    assert list(_stages(result.json)) == STAGES
    other = litetext("parity", tmp_path / "model", "--against", "transformers", "--as", "meta", *asked)
    assert other.code == 3 and other.json["stages"]["first_exceeding"] in ("image features", "logits")


def test_a_recording_stands_for_the_implementation(litetext: Run, refused: Run, tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    photo = samples()[1].image
    recorded = litetext("parity", "mini", "--record", folder, "--image", photo, "-p", "penguin", *LOW, "--json")
    assert recorded.code == 0 and recorded.json == {"recording": str(folder)}
    settings = json.loads((folder / "recording.json").read_text())
    assert settings["prompts"] == ["penguin"] and settings["implementation"] == "mini"
    names = set(load_file(folder / "stages.safetensors"))
    readme = (folder / "README.md").read_text()
    assert {"ids", "text_tokens", "0.photo", "0.features.2", "0.mask_logits", "0.detection_masks"} <= names
    assert all(name in readme for name in names if not name.startswith("0.features"))
    same = litetext("parity", "mini", "--against", folder, "--json")
    assert same.code == 0 and all(stage["max"] < 1e-5 for stage in same.json["stages"]["stages"])
    assert "leave out --image" in refused("parity", "mini", "--against", folder, "-p", "dog")
    assert "--overwrite" in refused("parity", "mini", "--record", folder)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from litetext.cli import main

    folder = tmp_path_factory.mktemp("recordings") / "mini"
    with pytest.raises(SystemExit):
        main(["parity", "mini", "--record", str(folder), "-p", "penguin", "-p", "red car", *LOW])
    return folder


@pytest.mark.parametrize(
    ("tensor", "stage"),
    [
        ("text_tokens", "text tokens"),
        ("0.features.1", "image features"),
        ("0.presence_logits", "presence"),
        ("0.boxes", "boxes"),
        ("0.mask_logits", "masks"),
    ],
)
def test_the_first_stage_of_a_port_that_is_off_is_named(
    litetext: Run, recording: Path, tmp_path: Path, tensor: str, stage: str
) -> None:
    shutil.copytree(recording, tmp_path / "port")
    tensors = load_file(tmp_path / "port" / "stages.safetensors")
    tensors[tensor] = tensors[tensor] + np.float32(0.5 * max(1.0, np.abs(tensors[tensor]).max()))
    save_file(tensors, tmp_path / "port" / "stages.safetensors")
    result = litetext("parity", "mini", "--against", tmp_path / "port", "--json")
    assert result.code == 3 and result.json["stages"]["first_exceeding"] == stage


def test_numbers_that_are_none_are_off(litetext: Run, recording: Path, tmp_path: Path) -> None:
    shutil.copytree(recording, tmp_path / "port")
    tensors = load_file(tmp_path / "port" / "stages.safetensors")
    tensors["0.logits"][0, 0] = np.nan
    save_file(tensors, tmp_path / "port" / "stages.safetensors")
    result = litetext("parity", "mini", "--against", tmp_path / "port", "--json")
    assert result.code == 3 and result.json["stages"]["first_exceeding"] == "logits"
    assert _stages(result.json)["logits"]["max"] is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop("0.boxes"), "'0.boxes' is missing"),
        (lambda tensors: tensors.update({"0.logits": tensors["0.logits"][:1]}), "holds 1 rows for 2 prompts"),
        (lambda tensors: tensors.update({"0.features.0": np.zeros((1, 2, 2), np.float32)}), "of different models"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(
    refused: Run, recording: Path, tmp_path: Path, edit: Any, message: str
) -> None:
    shutil.copytree(recording, tmp_path / "port")
    tensors = load_file(tmp_path / "port" / "stages.safetensors")
    edit(tensors)
    save_file(tensors, tmp_path / "port" / "stages.safetensors")
    assert message in refused("parity", "mini", "--against", tmp_path / "port")
    (tmp_path / "port" / "stages.safetensors").write_bytes(b"short")
    assert "is not a readable safetensors file" in refused("parity", "mini", "--against", tmp_path / "port")
    (tmp_path / "port" / "recording.json").write_text('{"format": "other"}')
    assert "not of a recording of version 1" in refused("parity", "mini", "--against", tmp_path / "port")


def test_refusals(refused: Run, tmp_path: Path) -> None:
    assert "unknown detector convention 'sam'" in refused("parity", "mini", "--as", "sam,meta")
    assert "one convention or two" in refused("parity", "mini", "--as", "meta,meta,meta")
    assert "give one convention beside --against" in refused(
        "parity", "mini", "--as", "meta,transformers", "--against", "mini"
    )
    assert "--prompt is of the comparison of whole models" in refused("parity", "mini", "-p", "dog")
    assert "--as is of the comparison of whole models" in refused("parity", "mini", "--as", "meta")
    assert "unknown model 'sam4'" in refused("parity", "mini", "--against", "sam4")
    for option in ("--heads", "--context", "--positions"):
        assert f"{option} is of an encoder alone" in refused("parity", "mini", "--against", "mini", option, 5)


@pytest.mark.slow
def test_an_export_of_mini_is_mini(litetext: Run) -> None:
    result = litetext("parity", "mini", "--against", "onnx", *LOW, "--json")
    assert result.code == 0, result.json
    assert result.json["stages"]["reference"] == "onnx" and list(_stages(result.json)) == STAGES
