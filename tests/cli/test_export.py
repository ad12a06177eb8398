"""``litetext export --whole``: the shipped model on a device without torch, and one line for every mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import pytest
from onnx.utils import Extractor

from litetext import Segmenter
from litetext.data import ROOT, samples

Run = Callable[..., Any]


@pytest.mark.skipif(not (ROOT / "mini").is_dir(), reason="mini's weights are not in this checkout")
def test_mini_finds_the_same_without_torch(litetext: Run, tmp_path: Path) -> None:
    command = "export", "mini", tmp_path / "device", "--whole", "--to", "onnx", "--image-size", "auto:60000", "--json"
    result = litetext(*command)
    report = result.json
    assert report["image_size"] == 128 and "litetext: image size 128: an image with 1 prompt takes" in result.err
    assert max(report["agreement"][key] for key in ("score", "presence", "box", "mask")) < 1e-3
    segmenters = [Segmenter.from_pretrained(one, device="cpu") for one in (tmp_path / "device", "mini")]
    assert report["convention"]["name"] == segmenters[0].backend.convention.name == "mini"
    count = 0
    for sample in samples():
        found, wanted = (one.segment(sample.image, sample.phrases, threshold=0.3) for one in segmenters)
        assert found.labels == wanted.labels
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3 * max(wanted.size))
        assert (found.masks != wanted.masks).mean() < 1e-4
        count += len(found)
    assert count > len(samples())
    _write_as_version_1(tmp_path / "device")
    old, new = Segmenter.from_pretrained(tmp_path / "device"), segmenters[0]
    found, wanted = (one.segment(samples()[0].image, samples()[0].phrases, threshold=0.1) for one in (old, new))
    assert found.labels == wanted.labels and len(found) > 3
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    assert (found.masks.dense() != wanted.masks.dense()).mean() < 1e-5


def _write_as_version_1(folder: Path) -> None:
    """Make an export what litetext 0.1.0 wrote: probabilities in place of logits, and no word on the convention.

    The graphs that ship beside mini's weights take and give what graphs did then, but for the first look at the image.
    """
    for path in (ROOT / "mini" / "segmenter").glob("*.onnx"):
        shutil.copy(path, folder)
    shutil.copy(ROOT / "mini" / "segmenter" / "model.safetensors", folder)
    config = json.loads((folder / "config.json").read_text())
    del config["detector_convention"]
    (folder / "config.json").write_text(json.dumps(config | {"version": 1}))
    node = onnx.helper.make_node
    for graph, nodes in (
        (
            "decoder",
            [
                node("Sigmoid", ["logits"], ["fit"]),
                node("Sigmoid", ["presence_logits"], ["presence"]),
                node("Reshape", ["presence", "column"], ["present"]),
                node("Mul", ["fit", "present"], ["scores"]),
            ],
        ),
        ("pixels", [node("Sigmoid", ["mask_logits"], ["masks"])]),
    ):
        model = _with_first_look(folder) if graph == "decoder" else onnx.load(folder / f"{graph}.onnx")
        model.graph.node.extend(nodes)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 1]), "column"))
        for output in model.graph.output:
            output.name = {"logits": "scores", "presence_logits": "presence", "mask_logits": "masks"}.get(
                output.name, output.name
            )
        onnx.save(model, folder / f"{graph}.onnx")


def _with_first_look(folder: Path) -> onnx.ModelProto:
    """Take the first look at the image out of the vision graph; return the decoder with it in front."""
    vision, decoder = (onnx.load(folder / f"{graph}.onnx") for graph in ("vision", "decoder"))
    *_, coarsest, attended = vision.graph.output
    look = onnx.compose.add_prefix(Extractor(vision).extract_model([coarsest.name], [attended.name]), "look_")
    vision.graph.output.remove(attended)
    onnx.save(vision, folder / "vision.onnx")
    merged = onnx.compose.merge_models(look, decoder, [(f"look_{attended.name}", attended.name)])
    for node in merged.graph.node:
        node.input[:] = ["features" if name == f"look_{coarsest.name}" else name for name in node.input]
    merged.graph.input[0].name = "features"
    return merged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tflite"], "choose one of: onnx"),
        (["--precision", "int4"], "choose one of: fp16, fp32, int8"),
        (["--opset", "7"], "give 20 to 23"),
        (["--prompts", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--text", "nowhere"], "nowhere: no such file or folder"),
        (["--graph-precision", "nncf-int8"], "give --calibrate PHOTOS"),
        (["--graph-precision", "nncf-int8", "--calibrate", "nowhere"], "nowhere"),
        (["--graph-precision", "nncf-int8", "--calibrate", "nowhere/*.jpg"], "nowhere/*.jpg names no image"),
        (["--image-size", "auto"], "auto:500; got 'auto'"),
        (["--image-size", "auto:0.001"], "at 40 pixels, the least that is tried, an image with 1 prompt takes"),
        (["--calibrate", "photo.jpg"], "--calibrate is of --graph-precision nncf-int8"),
    ],
)
def test_whole_refuses(refused: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused("export", "mini", tmp_path / "e", "--whole", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_other_refusals(refused: Run, tmp_path: Path) -> None:
    assert "give --whole too" in refused("export", "mini", tmp_path / "e", "--text", "mini")
    assert "unknown model 'sam4'" in refused("export", "sam4", tmp_path / "e", "--whole")
    (tmp_path / "file").write_text("in the way")
    assert "file is not a folder" in refused("export", "mini", tmp_path / "file" / "e", "--whole")
