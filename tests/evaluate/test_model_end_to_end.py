"""A small random SAM3 from words to scores through the command, and again after it was stopped half-way."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from litetext import Segmenter
from litetext.cli import main

from ..segment.conftest import PROMPTS, save_reference
from .world import HEIGHT, WIDTH, ground_truth, random_boxes


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    document = ground_truth(0, boxes={pair: random_boxes(rng, pair % 3) for pair in range(8)})
    for image, prompt in zip(document["images"], PROMPTS, strict=False):
        image["text_input"] = prompt
        noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / image["file_name"])
    (folder / "truth.json").write_text(json.dumps(document))
    save_reference("s0", folder / "sam3")
    return folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", *map(str, arguments)])
    output = capsys.readouterr()
    assert exit.value.code == 0, output.err
    return output


def test_the_image_size_is_chosen_by_a_budget(world, capsys):
    given = ["--gt", world / "truth.json", "--model", world / "sam3", "--images", world, "--no-cache", "--json"]
    result = run(capsys, *given, "--image-size", "auto:600000")
    size = Segmenter.from_pretrained(world / "sam3").backend.image_size
    assert f"litetext: image size {size}: an image with 2 prompts takes" in result.err
    assert json.loads(result.out)["pairs"] == 8
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", *map(str, given), "--video", "--image-size", "auto:500"])
    assert exit.value.code == 2 and "with --video give the size as a number" in capsys.readouterr().err


def test_a_model_is_predicted_scored_and_resumed(world, capsys, monkeypatch):
    saved = world / "predictions.json"
    given = ["--gt", world / "truth.json", "--model", world / "sam3", "--images", world, "--save-predictions", saved]
    document = json.loads(run(capsys, *given, "--json").out)
    assert document["pairs"] == 8

    segmenter = Segmenter.from_pretrained(world / "sam3")
    pairs = json.loads((world / "truth.json").read_text())["images"][:2]
    direct = segmenter.segment(world / pairs[0]["file_name"], [pair["text_input"] for pair in pairs], threshold=0.1)
    expected = direct.to_saco([pair["id"] for pair in pairs])
    found = [result for result in json.loads(saved.read_text()) if result["image_id"] in (0, 1)]
    assert [(one["image_id"], one["segmentation"]) for one in found] == [
        (one["image_id"], one["segmentation"]) for one in expected
    ]
    np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-6)
    assert all(0 <= one["presence"] <= 1 for one in found)

    whole = saved.read_text()
    saved.unlink()
    segment, seen = Segmenter.segment, []

    def dies_on_the_third(self, images, *arguments, **options):
        seen.append(images.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return segment(self, images, *arguments, **options)

    monkeypatch.setattr(Segmenter, "segment", dies_on_the_third)
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", *map(str, given)])
    assert exit.value.code == 130
    assert not saved.exists()
    assert json.loads(run(capsys, *given, "--json").out)["official"] == document["official"]
    assert seen == ["0.png", "1.png", "2.png", "2.png", "3.png"]
    assert saved.read_text() == whole


def test_predictions_stay_in_the_cache_unless_a_path_is_given(world, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(capsys, "--gt", world / "truth.json", "--model", world / "sam3", "--images", world)
    assert len(list((tmp_path / "litetext" / "predictions").glob("*.run.json"))) == 1


def test_a_model_trained_anew_is_predicted_anew(world, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = ["--gt", world / "truth.json", "--model", world / "sam3", "--images", world, "--json"]
    cached = [run(capsys, *given).err for _ in range(2)]
    weights = world / "sam3" / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    anew = run(capsys, *given).err
    assert cached[0] == cached[1] != anew


def test_other_images_are_predicted_anew(world, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = tmp_path / "images"
    images.mkdir()
    for path in world.glob("*.png"):
        (images / path.name).write_bytes(path.read_bytes())
    given = ["--gt", world / "truth.json", "--model", world / "sam3", "--json", "--images"]
    seen, segment = [], Segmenter.segment

    def counted(self, image, *arguments, **options):
        seen.append(image)
        return segment(self, image, *arguments, **options)

    monkeypatch.setattr(Segmenter, "segment", counted)
    first = run(capsys, *given, images)
    assert len(seen) == 4 and run(capsys, *given, images).out == first.out and len(seen) == 4
    run(capsys, *given, world)  # other files of the same names
    assert len(seen) == 8
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "0.png")
    run(capsys, *given, images)
    assert len(seen) == 12
    cached = sorted((tmp_path / "cache").rglob("*.json"))
    assert run(capsys, *given, images, "--no-cache").err == ""
    assert len(seen) == 16 and sorted((tmp_path / "cache").rglob("*.json")) == cached


def test_predictions_say_how_large_their_text_encoder_was(world, capsys, tmp_path):
    given = ["--gt", world / "truth.json", "--resamples", 10, "--json"]
    run(capsys, *given, "--model", world / "sam3", "--images", world, "--save-predictions", tmp_path / "s0.json")
    (tmp_path / "l.json").write_text((tmp_path / "s0.json").read_text())
    document = json.loads(run(capsys, *given, "--pred", tmp_path / "s0.json", "--pred", tmp_path / "l.json").out)
    recorded, unknown = document["retention"]
    assert 0 < recorded["parameters"] < 10_000_000 and unknown["parameters"] is unknown["compression"] is None
