"""Other input sizes than a model's own: what transformers gives from a config of that size."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import Sam3ImageProcessor, Sam3Model

from litetext import LitetextError, Segmenter, cli
from litetext.data import resolve, samples

from .conftest import IMAGE_SIZE, PROMPTS, Reference

SIZES = (56, 70, 168)  # one window, windows that are padded, more than the model's own


def _at_size(reference: Reference, image_size: int) -> Reference:
    """The same weights in a transformers model whose config says another size."""
    config = copy.deepcopy(reference.model.config)
    config.image_size = image_size
    model = Sam3Model.from_pretrained(reference.folder, config=config).eval()
    processor = Sam3ImageProcessor(size={"height": image_size, "width": image_size})
    return Reference(reference.folder, model, processor)


@pytest.mark.parametrize("image_size", SIZES)
def test_a_size_gives_what_transformers_gives_from_a_config_of_it(
    teacher: Reference, photo: NDArray[np.uint8], image_size: int
) -> None:
    segmenter = Segmenter.from_pretrained(teacher.folder, device="cpu", image_size=image_size)
    assert segmenter.backend.image_size == image_size
    backend, other = segmenter.backend, _at_size(teacher, image_size)
    state = segmenter.encode_image(photo).state
    found = backend.detect(state, backend.prepare_text(segmenter.text.encode(PROMPTS[:2])))
    for row, prompt in enumerate(PROMPTS[:2]):
        wanted = other.forward(photo, prompt)
        np.testing.assert_allclose(found.logits[row], wanted.pred_logits[0], atol=1e-4)
        np.testing.assert_allclose(found.boxes[row], wanted.pred_boxes[0], atol=1e-5)
        masks = backend.decode_masks(state, found, row, np.arange(found.logits.shape[1]))
        scale = float(wanted.pred_masks.abs().max())
        np.testing.assert_allclose(masks / scale, wanted.pred_masks[0] / scale, atol=1e-5)


def test_example_boxes_too(teacher: Reference, photo: NDArray[np.uint8]) -> None:
    segmenter = Segmenter.from_pretrained(teacher.folder, device="cpu", image_size=70)
    other = _at_size(teacher, 70)
    box = [[10.0, 12.0, 40.0, 50.0]]
    found = segmenter.segment(photo, ["dog"], boxes=box, threshold=0.0)
    wanted = other.detections(photo, other.forward(photo, "dog", box, [1]), threshold=0.0)
    np.testing.assert_allclose(found.scores, wanted["scores"], atol=1e-5)


def test_the_own_size_changes_nothing(teacher: Reference, segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    same = Segmenter.from_pretrained(teacher.folder, device="cpu", image_size=IMAGE_SIZE)
    one, other = (each.segment(photo, PROMPTS[:2], threshold=0.0) for each in (same, segmenter))
    assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize(
    ("image_size", "said"),
    [
        (100, "must be a multiple of 14 from 28 to 4088 for this model (its own is 112), got 100; the nearest are 98"),
        (14, "multiple of 14 from 28"),
        (5600, "to 4088"),
        (56.0, "got 56.0"),
        (True, "got True"),
    ],
)
def test_sizes_that_are_no_whole_number_of_patches_are_refused(teacher: Reference, image_size: Any, said: str) -> None:
    with pytest.raises(LitetextError, match=re.escape(said)):
        Segmenter.from_pretrained(teacher.folder, device="cpu", image_size=image_size)


def _resized_folder(name: str, image_size: int, folder: Path) -> Path:
    """A shipped model whose files say another size."""
    shutil.copytree(resolve(name), folder)
    for file in ("config.json", "preprocessor_config.json"):
        path = folder / "segmenter" / file
        values = json.loads(path.read_text())
        if file == "config.json":
            values["vision_config"]["backbone_config"]["image_size"] = image_size
        else:
            values["size"] = {"height": image_size, "width": image_size}
        path.write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(("name", "image_size"), [("mini", 96), ("photo", 208)])
def test_the_shipped_models_too(name: str, image_size: int, tmp_path: Path) -> None:
    sample = samples()[0]
    ours = Segmenter.from_pretrained(name, device="cpu", image_size=image_size)
    folder = _resized_folder(name, image_size, tmp_path / "model")
    theirs = Segmenter.from_pretrained(folder, device="cpu", backend="torch")
    one, other = (each.segment(sample.image, ["white dog", "owl"], threshold=0.0) for each in (ours, theirs))
    assert np.array_equal(one.scores, other.scores)


def test_graphs_are_of_one_size() -> None:
    with pytest.raises(LitetextError, match="at the size"):
        Segmenter.from_pretrained("mini", backend="onnx", image_size=96)
    assert Segmenter.from_pretrained("mini", backend="onnx").backend.image_size == 128


def test_the_command_takes_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    def run(size: str) -> tuple[int, str, str]:
        arguments = ["segment", str(samples()[0].image), "-p", "white dog", "--json", "--image-size", size]
        with pytest.raises(SystemExit) as exited:
            cli.main(arguments)
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out, captured.err

    code, out, err = run("104")
    assert code == 0, err
    assert json.loads(out)[0]["prompt"] == "white dog"
    code, out, err = run("100")
    assert (code, out) == (2, "")
    assert "multiple of 8" in err
