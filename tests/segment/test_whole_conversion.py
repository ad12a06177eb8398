"""Whole models from layout to layout: every published key has its place, and no number changes on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoProcessor,
    Sam3ImageProcessor,
    Sam3LiteTextModel,
    Sam3Model,
    Sam3Processor,
    Sam3VideoModel,
    Sam3VideoProcessor,
)

from litetext import LitetextError, Segmenter, load_encoder
from litetext.data import resolve
from litetext.encoders import open_checkpoint, read_checkpoint, write_authors, write_checkpoint
from litetext.encoders.encoder_file import EncoderFile
from litetext.encoders.layouts import find_layout
from litetext.encoders.tensorfile import LazyTensor, open_tensors
from litetext.segment.convention import META
from litetext.segment.litetext_folder import write_litetext
from litetext.segment.meta_writer import meta_tensors, write_meta
from litetext.segment.sources import holds_detector
from litetext.segment.student_trunks import ARCHITECTURES
from litetext.segment.tracker_layout import once
from litetext.segment.transformers_folder import _model_config, _text_state, write_transformers
from litetext.segment.whole_model import WholeModel, open_model
from litetext.tokenizer import Tokenizer
from litetext.track.loading import has_tracker

from ..track.conftest import video_model
from .conftest import IMAGE_SIZE
from .published import Keys, efficient_sam3, efficient_sam31, file_of, published_keys

pytestmark = pytest.mark.slow

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
WORDS = ["white dog", "cup of tea"]

Shapes = dict[str, tuple[tuple[int, ...], str]]


def _shapes(tensors: Mapping[str, LazyTensor]) -> Shapes:
    return {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}


def _opened(monkeypatch: pytest.MonkeyPatch, keys: Keys) -> tuple[WholeModel, EncoderFile]:
    """A published file, opened without its gigabytes."""
    from litetext.segment import whole_model

    file = file_of(keys)
    monkeypatch.setattr(whole_model, "open_tensors", lambda path: file)
    monkeypatch.setattr(whole_model, "is_checkpoint_file", lambda path: True)
    layout, prefix = find_layout(file, file.source)
    config = layout.infer(file, prefix, None, file.source)
    text = EncoderFile(config, Tokenizer(), layout.name, file.source, 0, layout.read(file, prefix, config))
    return open_model(Path("sam3.pt")), text


def _at_detector(keys: Keys) -> Keys:
    """The keys as a file has them whose detector stands at ``detector.``."""
    beside = ("detector.", "tracker.")
    return {key if key.startswith(beside) else f"detector.{key}": value for key, value in keys.items()}


FULL_SIZE = {
    "meta_sam3_video": lambda: published_keys("meta_sam3_video"),
    "meta_sam3_image": lambda: published_keys("meta_sam3_image"),
    "meta_sam3_image_interactive": lambda: published_keys("meta_sam3_image_interactive"),
    "meta_sam31_multiplex": lambda: published_keys("meta_sam31_multiplex"),
    "authors_sam31_litetext_s0": lambda: published_keys("authors_sam31_litetext_s0"),
    **{name: lambda name=name: efficient_sam3(name) for name in ARCHITECTURES},
    **{f"{name}, 3.1": lambda name=name: efficient_sam31(name) for name in ARCHITECTURES},
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_published_file_comes_back_with_exactly_its_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = FULL_SIZE[name]()
    model, text = _opened(monkeypatch, keys)
    back, made_up = meta_tensors(model, text)
    published = file_of(_at_detector(keys))
    assert _shapes(back) == _shapes({key: published.lazy(key) for key in published})
    assert made_up == []


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("meta_sam3_image", "transformers_sam3"),
        ("meta_sam3_video", "transformers_sam3_video"),
        ("authors_sam31_litetext_s0", "transformers_sam3_litetext_s0"),
    ],
)
def test_a_published_file_has_exactly_the_keys_of_transformers(
    source: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, text = _opened(monkeypatch, published_keys(source))
    prefix = "" if model.video is None else "detector_model."
    written = dict(model.detector) | _text_state(text)
    found = {prefix + name: tensor.shape for name, tensor in written.items()}
    found |= {name: tensor.shape for name, tensor in model.tracker.items()}
    assert found == {key: shape for key, (shape, _) in published_keys(wanted).items()}


@pytest.mark.parametrize("name", ["transformers_sam3", "transformers_sam3_video", "transformers_sam3_litetext_l"])
def test_transformers_keys_come_back_with_exactly_those_of_metas_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model from transformers has every key that Meta's classes have; what it cannot give is zeros."""
    keys = published_keys(name)
    prefix = "detector_model." if any(key.startswith("detector_model.") for key in keys) else ""
    file = file_of({key.removeprefix(prefix): value for key, value in keys.items()})
    layout, _ = find_layout(file, name)
    config = layout.infer(file, "", None, name)
    text = EncoderFile(config, Tokenizer(), layout.name, name, 0, layout.read(file, "", config))
    as_meta, _ = _opened(monkeypatch, published_keys("meta_sam3_image"))
    own = [key for key in file if not key.startswith(("text_", "tracker_"))]
    tracker = {key: file.lazy(key) for key in file if key.startswith("tracker_")}
    model = replace(as_meta, detector={key: file.lazy(key) for key in own}, tracker=tracker, unported={})
    back, made_up = meta_tensors(model, text)
    whole = published_keys("meta_sam3_video" if tracker else "meta_sam3_image")
    wanted = {key for key in _at_detector(whole) if ".language_backbone." not in key}
    assert {key for key in back if ".language_backbone." not in key} == wanted
    assert len(made_up) == 6 and all("geometry_encoder.points_" in key for key in made_up)


@pytest.mark.parametrize("name", ["authors_sam31_litetext_s0", "repvit-m1.1", "efficientvit-b0, 3.1"])
def test_transformers_classes_fit_what_has_no_counterpart_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM 3.1 has no fourth level, fine-tuned EfficientSAM3s no geometry encoder and all another image encoder."""
    model, text = _opened(monkeypatch, FULL_SIZE[name]())
    config = _model_config(text.config, model, dict(model.detector) | _text_state(text))
    assert config.architectures == ["Sam3LiteTextModel"]
    assert config.detector_convention == model.convention.to_dict()
    assert model.convention == (META.without_geometry() if name == "repvit-m1.1" else META)


@dataclass(frozen=True)
class Models:
    """A random video model as transformers saves it, the same in Meta's layout, and where to write others."""

    ported: Path
    published: Path
    folder: Path


@pytest.fixture(scope="module", params=["teacher", "s0"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("whole")
    model = video_model(request.param)
    frequencies = model.tracker_model.shared_image_embedding.positional_embedding  # of which Meta's files have one
    model.tracker_model.prompt_encoder.shared_embedding.positional_embedding.data = frequencies.data.clone()
    model.save_pretrained(folder / "ported")
    Sam3ImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder / "ported")
    made_up = write_meta(*_both(folder / "ported"), folder / "made.pt")
    assert len(made_up) == 6
    tensors = torch.load(folder / "made.pt", weights_only=True)["model"]
    for key in made_up:
        tensors[key] = torch.randn_like(tensors[key])
    tensors[POSITIONS][:, :1] = torch.randn_like(tensors[POSITIONS][:, :1])
    torch.save({"model": tensors}, folder / "sam3.pt")
    return Models(folder / "ported", folder / "sam3.pt", folder)


POSITIONS = "detector.backbone.vision_backbone.trunk.pos_embed"


def _both(path: Path) -> tuple[WholeModel, EncoderFile]:
    return open_model(path), open_checkpoint(path)


def _contents(path: Path) -> dict[str, Tensor]:
    file = open_tensors(path)
    return {key: file.get(key) for key in file}


def _assert_equal(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    odd = [key for key in wanted if found[key].dtype != wanted[key].dtype or not torch.equal(found[key], wanted[key])]
    assert odd == []


def test_transformers_weights_are_the_same_after_meta_and_back(models: Models, tmp_path: Path) -> None:
    write_transformers(*_both(models.published), tmp_path / "back", WORDS)
    found, wanted = _contents(tmp_path / "back"), _contents(models.ported)
    _assert_equal(found, {once(key): value for key, value in wanted.items()})


@pytest.mark.parametrize("by_way_of", ["transformers", "litetext", "safetensors"])
def test_a_published_file_is_the_same_after_another_layout_and_back(
    models: Models, by_way_of: str, tmp_path: Path
) -> None:
    if by_way_of == "transformers":
        write_transformers(*_both(models.published), tmp_path / "other", WORDS)
    elif by_way_of == "litetext":
        write_litetext(*_both(models.published), tmp_path / "other")
    else:
        write_meta(*_both(models.published), tmp_path / "other.safetensors")
    other = tmp_path / ("other.safetensors" if by_way_of == "safetensors" else "other")
    assert write_meta(*_both(other), tmp_path / "back.pt") == []
    _assert_equal(_contents(tmp_path / "back.pt"), _contents(models.published))


def test_auto_classes_open_what_is_written(models: Models, tmp_path: Path) -> None:
    write_transformers(*_both(models.published), tmp_path / "out", WORDS)
    video = AutoModel.from_pretrained(tmp_path / "out")
    assert isinstance(video, Sam3VideoModel)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path / "out"), Sam3VideoProcessor)
    wanted = {once(key): value for key, value in _contents(models.ported).items()}
    _assert_equal({once(key): value for key, value in video.state_dict().items()}, wanted)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["Sam3VideoModel"] and config["dtype"] == "float32"
    assert config["detector_config"]["detector_convention"]["name"] == "meta"
    detector_class = Sam3Model if "Sam3Model" in config["detector_config"]["architectures"] else Sam3LiteTextModel
    detector = detector_class.from_pretrained(tmp_path / "out")
    _assert_equal(detector.state_dict(), video.detector_model.state_dict())
    inputs = Sam3Processor.from_pretrained(tmp_path / "out")(images=PHOTO, text="ear", return_tensors="pt")
    assert inputs["pixel_values"].shape[-1] == IMAGE_SIZE and inputs["input_ids"].shape == (1, 32)
    with torch.inference_mode():
        assert detector(**inputs).pred_boxes.shape[-1] == 4


def test_a_tracker_comes_along(models: Models, tmp_path: Path) -> None:
    write_litetext(*_both(models.published), tmp_path / "ours")
    write_transformers(*_both(tmp_path / "ours"), tmp_path / "theirs", WORDS)
    assert all(has_tracker(path) for path in (models.published, tmp_path / "ours", tmp_path / "theirs"))


def test_half_precision_stays_what_it_is_and_can_be_asked_for(models: Models, tmp_path: Path) -> None:
    (model, text), dtype = _both(models.published), torch.bfloat16
    write_meta(model.cast(dtype), text.cast(dtype), tmp_path / "half.pt")
    write_transformers(*_both(tmp_path / "half.pt"), tmp_path / "half", WORDS)
    write_litetext(*_both(tmp_path / "half"), tmp_path / "ours")
    for path in (tmp_path / "half.pt", tmp_path / "half", tmp_path / "ours" / "segmenter"):
        stored = {tensor.dtype for tensor in _contents(path).values() if tensor.is_floating_point()}
        assert stored == {dtype}
    assert AutoModel.from_pretrained(tmp_path / "half").dtype == dtype
    assert Segmenter.from_pretrained(tmp_path / "half", device="cpu").backend.dtype == torch.float32


def test_every_layout_finds_the_same(models: Models, tmp_path: Path) -> None:
    write_litetext(*_both(models.published), tmp_path / "ours")
    write_transformers(*_both(models.published), tmp_path / "theirs", WORDS)
    write_meta(*_both(tmp_path / "ours"), tmp_path / "back.safetensors")
    text = load_encoder(models.published)
    wanted, *others = (
        Segmenter.from_pretrained(path, text, "cpu").segment(PHOTO, WORDS, [None, [[5, 5, 60, 60]]], threshold=0.0)
        for path in (models.published, tmp_path / "ours", tmp_path / "theirs", tmp_path / "back.safetensors")
    )
    for found in others:
        assert np.array_equal(found.scores, wanted.scores) and np.array_equal(found.boxes, wanted.boxes)
        assert np.array_equal(np.asarray(found.masks), np.asarray(wanted.masks))


def test_an_encoder_in_a_whole_folder_is_found_by_the_folder(models: Models, tmp_path: Path) -> None:
    write_litetext(*_both(models.published), tmp_path / "ours")
    inside, given = open_checkpoint(tmp_path / "ours"), open_checkpoint(models.published)
    assert (inside.config, inside.layout) == (given.config, "litetext")
    _assert_equal(inside.tensors(), given.tensors())


def test_without_a_geometry_encoder(models: Models, tmp_path: Path) -> None:
    tensors = {key: value for key, value in _contents(models.published).items() if ".geometry_encoder." not in key}
    torch.save({"model": tensors}, tmp_path / "alone.pt")
    write_transformers(*_both(tmp_path / "alone.pt"), tmp_path / "theirs", WORDS)
    assert "no geometry encoder" in (tmp_path / "theirs" / "README.md").read_text()
    assert isinstance(AutoModel.from_pretrained(tmp_path / "theirs"), Sam3VideoModel)
    assert open_model(tmp_path / "theirs").convention == META.without_geometry()
    assert write_meta(*_both(tmp_path / "theirs"), tmp_path / "back.pt") == []
    _assert_equal(_contents(tmp_path / "back.pt"), tensors)


def test_the_convention_goes_along(models: Models, tmp_path: Path) -> None:
    config = json.loads((models.ported / "config.json").read_text())
    assert open_model(models.ported).convention.name == config["detector_config"]["detector_convention"]
    write_litetext(*_both(models.ported), tmp_path / "ours")
    assert open_model(tmp_path / "ours").convention.name == "transformers"


def test_numbers_that_are_none_are_refused_as_they_are_written(models: Models, tmp_path: Path) -> None:
    tensors = _contents(models.published)
    name = "detector.dot_prod_scoring.prompt_proj.weight"
    tensors[name][0, 0] = float("nan")
    torch.save({"model": tensors}, tmp_path / "nan.pt")
    for write, destination in ((write_meta, "a.pt"), (write_litetext, "b")):
        with pytest.raises(LitetextError, match="holds 1 numbers that are NaN or infinite"):
            write(*_both(tmp_path / "nan.pt"), tmp_path / destination)
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]
    write_meta(*_both(tmp_path / "nan.pt"), tmp_path / "a.pt", allow_nan=True)
    assert _contents(tmp_path / "a.pt")[name].isnan().sum() == 1


def test_what_has_no_place_is_refused_by_name(models: Models, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="'vision_encoder.backbone.* has no name in Meta's layout; use --to"):
        write_meta(*_both(resolve("photo")), tmp_path / "photo.pt")
    with pytest.raises(LitetextError, match=r"give a name ending in \.pt or \.safetensors"):
        write_meta(*_both(models.published), tmp_path / "folder")
    tensors = _contents(models.published)
    torch.save({"model": {**tensors, "detector.extra.weight": torch.ones(2)}}, tmp_path / "extra.pt")
    with pytest.raises(LitetextError, match="unexpected key: detector.extra.weight"):
        open_model(tmp_path / "extra.pt")
    del tensors["tracker.no_mem_embed"]
    torch.save({"model": tensors}, tmp_path / "less.pt")
    with pytest.raises(LitetextError, match="the tracker in .* lacks key 'tracker_model.no_memory_embedding'"):
        write_transformers(*_both(tmp_path / "less.pt"), tmp_path / "out", WORDS)
    assert not (tmp_path / "out").exists()


def test_what_holds_a_detector(models: Models, tmp_path: Path) -> None:
    write_checkpoint(read_checkpoint(models.published), tmp_path / "text")
    write_authors(read_checkpoint(models.published), tmp_path / "text.pt")
    assert holds_detector(models.published) and holds_detector(models.ported) and holds_detector(resolve("mini"))
    assert not any(holds_detector(tmp_path / name) for name in ("text", "text.pt"))
    with pytest.raises(LitetextError, match="holds no detector"):
        open_model(tmp_path / "text.pt")
