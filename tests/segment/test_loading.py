"""What loads, what is refused, and what is never given memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import Sam3VideoConfig, Sam3VideoModel

from litetext import LitetextError, Segmenter, TextFeatures
from litetext.segment import checkpoint
from litetext.segment.sources import Parts

from .conftest import PROMPTS, WIDTH, Reference, save_reference


class Constant:
    """The smallest text encoder: a fixed vector for every prompt."""

    def __init__(self, width: int = WIDTH, numpy: bool = False) -> None:
        self.width = width
        self.numpy = numpy

    def encode(self, prompts: Any) -> TextFeatures:
        tokens = np.linspace(-1, 1, 4 * self.width, dtype=np.float32).reshape(1, 4, self.width)
        features = TextFeatures(tokens.repeat(len(prompts), 0), np.zeros((len(prompts), 4), bool))
        return features if self.numpy else features.to_torch()


@pytest.fixture
def folder(teacher: Reference, tmp_path: Path) -> Path:
    return Path(shutil.copytree(teacher.folder, tmp_path / "model"))


def _edit_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _assert_same_model(one: Path, other: Path, photo: NDArray[np.uint8]) -> None:
    """Both folders find the same; the last bits of a float depend on how the tensors lie in memory."""
    first, second = (
        Segmenter.from_pretrained(folder, device="cpu").segment(photo, PROMPTS[:3], threshold=0.0)
        for folder in (one, other)
    )
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-6)
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-4)
    assert (first.masks != second.masks).mean() < 1e-4


def test_a_video_model_gives_its_detector(teacher: Reference, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    config = teacher.model.config
    tracker = {"model_type": "sam3_tracker_video", "vision_config": config.vision_config.to_dict()}
    video = Sam3VideoModel(Sam3VideoConfig(detector_config=config.to_dict(), tracker_config=tracker))
    video.detector_model.load_state_dict(teacher.model.state_dict())
    video.save_pretrained(tmp_path)
    teacher.processor.save_pretrained(tmp_path)
    _assert_same_model(teacher.folder, tmp_path, photo)


def test_a_video_model_may_hold_a_litetext_detector(photo: NDArray[np.uint8], tmp_path: Path) -> None:
    reference = save_reference("s0", tmp_path / "image")
    config = reference.model.config
    tracker = {"model_type": "sam3_tracker_video", "vision_config": config.vision_config.to_dict()}
    video = Sam3VideoModel(Sam3VideoConfig(detector_config=config, tracker_config=tracker))
    video.detector_model.load_state_dict(reference.model.state_dict())
    video.save_pretrained(tmp_path / "video")
    reference.processor.save_pretrained(tmp_path / "video")
    _assert_same_model(tmp_path / "image", tmp_path / "video", photo)


def test_shards_load(teacher: Reference, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    teacher.model.save_pretrained(tmp_path, max_shard_size="200KB")
    teacher.processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    _assert_same_model(teacher.folder, tmp_path, photo)


def test_half_precision_weights_are_computed_in_float32(
    teacher: Reference, photo: NDArray[np.uint8], folder: Path
) -> None:
    _edit_weights(folder, _halve)
    half = Segmenter.from_pretrained(folder, device="cpu")
    assert half.backend.dtype == torch.float32
    wanted = Segmenter.from_pretrained(teacher.folder, device="cpu").segment(photo, PROMPTS[:3], threshold=0.0)
    np.testing.assert_allclose(half.segment(photo, PROMPTS[:3], threshold=0.0).scores, wanted.scores, atol=0.02)


def _halve(weights: dict[str, torch.Tensor]) -> None:
    for key, value in weights.items():
        weights[key] = value.half()


def test_litetext_layout_keeps_text_beside_the_segmenter(
    teacher: Reference, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    shutil.copytree(teacher.folder, tmp_path / "segmenter")
    _edit_weights(tmp_path / "segmenter", _drop_text)
    shutil.copytree(teacher.folder, tmp_path / "text" / "teacher")
    _assert_same_model(teacher.folder, tmp_path, photo)


def _drop_text(weights: dict[str, torch.Tensor]) -> None:
    for key in [key for key in weights if key.startswith("text_")]:
        del weights[key]


def test_the_text_tower_is_never_given_memory(teacher: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []
    plain = checkpoint.Sam3Model.__init__

    def spy(self: Any, config: Any) -> None:
        plain(self, config)
        devices.extend(parameter.device.type for parameter in self.text_encoder.parameters())

    monkeypatch.setattr(checkpoint.Sam3Model, "__init__", spy)
    segmenter = Segmenter.from_pretrained(teacher.folder, text=Constant(), device="cpu")
    assert set(devices) == {"meta"}
    assert not [name for name, _ in segmenter.backend.detector.named_parameters() if name.startswith("text_")]
    assert all(buffer.device.type == "cpu" for buffer in segmenter.backend.detector.buffers())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("detr_decoder.box_head.layer1.weight"), "lacks the keys: detr_decoder.box_head.layer1.weight"),
        (
            lambda w: w.update({"detr_decoder.extra.weight": torch.ones(2)}),
            "unexpected keys: detr_decoder.extra.weight",
        ),
        (
            lambda w: w.update({"dot_product_scoring.text_proj.bias": torch.ones(5)}),
            r"another shape .*: dot_product_scoring.text_proj.bias \(5,\) instead of \(32,\)",
        ),
    ],
    ids=["missing", "unexpected", "misshaped"],
)
def test_weights_that_do_not_fit_are_named(folder: Path, change: Any, message: str) -> None:
    _edit_weights(folder, change)
    with pytest.raises(LitetextError, match=message):
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")


def test_broken_folders_are_refused_with_the_file_named(folder: Path, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(LitetextError, match=message):
            Segmenter.from_pretrained(folder, text=Constant(), device="cpu")

    config = (folder / "config.json").read_text()
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused("model.safetensors is not a readable safetensors file: .*cut short")
    (folder / "model.safetensors").unlink()
    refused("holds no .*safetensors")
    (folder / "config.json").write_text("[" * 10_000)
    refused("config.json nests lists and objects more than 64 deep")
    (folder / "config.json").write_text(config[:100])
    refused("config.json")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    refused("'clip' model")
    (folder / "config.json").unlink()
    refused("no config.json")


def _deep_update(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, change in changes.items():
        values[key] = _deep_update(values.get(key, {}), change) if isinstance(change, dict) else change
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detr_encoder_config": {"hidden_size": 10**9}}, "key 'hidden_size' is 1000000000, where at most 1,000,000"),
        ({"detr_encoder_config": {"num_layers": 5_000}}, "key 'num_layers' is 5000, where at most 256 should stand"),
        ({"detr_encoder_config": {"hidden_size": 90_000}}, "describes [0-9,]* parameters and holds"),
        ({"detr_encoder_config": {"num_attention_heads": 0}}, r"cannot be read: .*\(ZeroDivisionError"),
        ({"detr_encoder_config": {"hidden_size": 32.5}}, "config.json|cannot be read"),
        ({"detr_encoder_config": {"hidden_size": -4}}, "config.json|cannot be read"),
        ({"detr_encoder_config": {"hidden_size": None}}, "config.json|cannot be read"),
        ({"vision_config": None}, "config.json|cannot be read|instead of"),
        ({"vision_config": {"backbone_config": {"image_size": 10_000}}}, "key 'image_size' is 10000"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}, "config.json is not a model's config"),
        ({"model_type": ["sam3"]}, "config.json"),
    ],
)
def test_absurd_configs_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    config = _deep_update(json.loads((folder / "config.json").read_text()), changes)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LitetextError, match=message) as caught:
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_mean": [0.5, 0.5]},
        {"image_mean": "grey"},
        {"image_std": [0, 0, 0]},
        {"rescale_factor": None},
        {"resample": 99},
        {"size": 5},
        {"size": {"height": 112}},
        {"do_resize": False},
        {"image_processor_type": 3, "size": None},
    ],
)
def test_absurd_image_processors_are_refused(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(LitetextError, match="preprocessor_config.json|image processor") as caught:
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_named(folder: Path, photo: NDArray[np.uint8]) -> None:
    _edit_weights(folder, lambda w: w["dot_product_scoring.text_proj.bias"].fill_(float("inf")))
    with pytest.raises(LitetextError, match="'dot_product_scoring.text_proj.bias' holds 32 numbers that are NaN"):
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")
    Segmenter.from_pretrained(folder, text=Constant(), device="cpu", allow_nan=True)
    _edit_weights(folder, lambda w: w.update({"dot_product_scoring.text_proj.bias": torch.ones(32, dtype=torch.int16)}))
    with pytest.raises(LitetextError, match="'dot_product_scoring.text_proj.bias' is stored as I16"):
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")


@pytest.mark.parametrize("name", [None, 3, ["mini"]])
def test_models_are_named_by_text(name: Any) -> None:
    with pytest.raises(LitetextError, match="a model is named by a text or a path"):
        Segmenter.from_pretrained(name)


def test_the_image_processor_must_agree_with_the_model(folder: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"height": 56, "width": 56}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(LitetextError, match="56x56.*112x112"):
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(LitetextError, match="no preprocessor_config.json"):
        Segmenter.from_pretrained(folder, text=Constant(), device="cpu")


def test_unknown_names_devices_and_dtypes_are_refused(teacher: Reference) -> None:
    with pytest.raises(LitetextError, match="unknown model 'sam'; give mini"):
        Segmenter.from_pretrained("sam")
    with pytest.raises(LitetextError, match="unknown device 'gpu'"):
        Segmenter.from_pretrained(teacher.folder, device="gpu")
    with pytest.raises(LitetextError, match="unknown dtype 'int8'"):
        Segmenter.from_pretrained(teacher.folder, device="cpu", dtype="int8")


def test_any_encoder_fits_and_a_wrong_width_is_refused(teacher: Reference, photo: NDArray[np.uint8]) -> None:
    found = [
        Segmenter.from_pretrained(teacher.folder, text=Constant(numpy=flag), device="cpu").segment(
            photo, "dog", threshold=0.0
        )
        for flag in (False, True)
    ]
    assert np.array_equal(found[0].scores, found[1].scores)
    wrong = Segmenter.from_pretrained(teacher.folder, text=Constant(width=16), device="cpu")
    with pytest.raises(LitetextError, match="16 numbers a token, but this detector reads 32"):
        wrong.segment(photo, "dog")


def test_bfloat16_stays_close(teacher: Reference, photo: NDArray[np.uint8]) -> None:
    segmenter = Segmenter.from_pretrained(teacher.folder, text=Constant(), device="cpu", dtype="bfloat16")
    assert segmenter.backend.dtype == torch.bfloat16
    kernels = [one for one in segmenter.backend.detector.parameters() if one.ndim == 4 and one.shape[-1] > 1]
    assert kernels and all(one.is_contiguous(memory_format=torch.channels_last) for one in kernels)
    found = segmenter.segment(photo, ["dog", "cat"], [None, [[5, 5, 40, 40]]], threshold=0.0)
    assert found.scores.dtype == np.float32
    assert len(found) == 14


_FREEZE = """
import sys
import torch
from pathlib import Path
from litetext import Segmenter, TextFeatures

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

class Heavy:
    def __init__(self):
        self.layers = [torch.rand(256, 256) for _ in range(800)]  # 200 MiB in blocks that malloc keeps
    def encode(self, prompts):
        return TextFeatures(torch.ones(len(prompts), 4, 32), torch.zeros(len(prompts), 4, dtype=torch.bool))

segmenter = Segmenter.from_pretrained(sys.argv[1], text=Heavy(), device="cpu")
before = resident()
segmenter = segmenter.freeze(["dog"])
segmenter.text.encode(["dog"])
print(before - resident())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory as Linux tells it")
def test_freeze_returns_the_encoders_memory(teacher: Reference) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FREEZE, str(teacher.folder)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 190, "of 200 MiB"


def test_freeze_keeps_results_and_refuses_other_prompts(teacher: Reference, photo: NDArray[np.uint8]) -> None:
    segmenter = Segmenter.from_pretrained(teacher.folder, device="cpu")
    before = segmenter.segment(photo, PROMPTS[:3], threshold=0.0)
    frozen = segmenter.freeze([*PROMPTS[:5], "visual"])
    after = frozen.segment(photo, PROMPTS[:3], threshold=0.0)
    assert np.array_equal(before.masks, after.masks)
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-5)
    assert frozen.segment(photo, boxes=[[5, 5, 40, 40]]).prompts == ("visual",)
    with pytest.raises(LitetextError, match="frozen without the prompt 'zebra'"):
        frozen.segment(photo, ["zebra"])
    assert segmenter.segment(photo, ["zebra"]).prompts == ("zebra",), "the segmenter itself stays as it was"


def test_a_mini_carries_its_teacher_under_one_name(teacher: Reference, tmp_path: Path) -> None:
    for name in ("student", "teacher"):
        shutil.copytree(teacher.folder, tmp_path / "text" / name)
    parts = Parts(tmp_path / "segmenter", tmp_path / "text" / "student")
    assert parts.encoder("mini-teacher") == tmp_path / "text" / "teacher"
    assert parts.encoder("mini-student") == tmp_path / "text" / "student"
    assert parts.encoder("teacher") == "teacher"
