"""``litetext convert`` of whole models, as a user goes about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoProcessor, Sam3LiteTextModel, Sam3Model, Sam3Processor

from litetext.data import resolve
from litetext.encoders import open_checkpoint
from litetext.encoders.tensorfile import open_tensors
from litetext.segment.meta_writer import write_meta
from litetext.segment.whole_model import open_model

from ..segment.conftest import save_reference

Run = Callable[..., Any]


@pytest.fixture(scope="module", params=["teacher", "s1"])
def sam3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in one file, as Meta or the authors of its student publish it."""
    folder = tmp_path_factory.mktemp("sam3")
    save_reference(request.param, folder / "ported", convention="meta")
    write_meta(open_model(folder / "ported"), open_checkpoint(folder / "ported"), folder / "sam3.pt")
    return folder / "sam3.pt"


def _dtypes(path: Path) -> set[str]:
    file = open_tensors(path)
    return {file.dtype(key) for key in file} - {"I64", "C64"}


def test_there_and_back_is_the_same_model(litetext: Run, sam3: Path, tmp_path: Path) -> None:
    theirs, ours, back = tmp_path / "theirs", tmp_path / "ours", tmp_path / "back.pt"
    report = litetext("convert", sam3, theirs, "--to", "transformers", "--json").json
    assert (report["whole"], report["layout"]) == (True, "transformers")
    model = AutoModel.from_pretrained(theirs)
    assert isinstance(model, Sam3Model | Sam3LiteTextModel)
    assert isinstance(AutoProcessor.from_pretrained(theirs), Sam3Processor)
    assert litetext("convert", theirs, ours, "--to", "litetext").code == 0
    assert litetext("convert", ours, back, "--to", "authors", "--json").json["zeros"] == []
    compared = litetext("parity", sam3, "--against", back, "--threshold", "0.05", "-p", "owl", "--json")
    assert compared.code == 0
    assert all(stage["max"] == 0 for stage in compared.json["stages"]["stages"])
    assert "written in the meta layout" in litetext("convert", theirs, tmp_path / "b.safetensors", "--to", "meta").err


def test_info_says_what_becomes_of_a_video_tracker(litetext: Run, sam3: Path, tmp_path: Path) -> None:
    assert "video_tracker" not in litetext("info", sam3, "--json").json
    tensors = torch.load(sam3, weights_only=True)["model"]
    for place, words in {"tracker.": "SAM3's memory tracker", "tracker.model.": "tracked by detection"}.items():
        torch.save({"model": tensors | {f"{place}maskmem_tpos_enc": torch.zeros(1)}}, tmp_path / "video.pt")
        assert words in litetext("info", tmp_path / "video.pt", "--json").json["video_tracker"]


def test_a_text_encoder_is_taken_out_and_put_in(litetext: Run, sam3: Path, tmp_path: Path) -> None:
    report = litetext("convert", sam3, tmp_path / "text", "--to", "litetext", "--encoder", "--json").json
    assert report["whole"] is False and (tmp_path / "text" / "config.json").is_file()
    ported = sam3.parent / "ported"
    other = litetext("convert", tmp_path / "text", tmp_path / "out.pt", "--to", "meta", "--model", ported)
    assert other.code == 0 and "6 tensors that SRC does not have are zeros: " in other.err
    assert open_model(tmp_path / "out.pt").convention == open_model(ported).convention


def test_dtype_is_kept_unless_said(litetext: Run, sam3: Path, tmp_path: Path) -> None:
    half, same = tmp_path / "half.safetensors", tmp_path / "same"
    assert litetext("convert", sam3, half, "--to", "meta", "--dtype", "bfloat16").code == 0
    assert litetext("convert", half, same, "--to", "transformers").code == 0
    assert _dtypes(half) == _dtypes(same) == {"BF16"} and _dtypes(sam3) == {"F32"}
    assert litetext("convert", half, tmp_path / "e", "--to", "litetext", "--encoder", "--dtype", "float32").code == 0
    assert _dtypes(tmp_path / "e") == {"F32"}


def test_an_earlier_model_is_replaced_only_when_asked(litetext: Run, refused: Run, sam3: Path, tmp_path: Path) -> None:
    for to, name in (("litetext", "ours"), ("meta", "sam3.pt"), ("transformers", "theirs")):
        command = ("convert", sam3, tmp_path / name, "--to", to)
        assert litetext(*command).code == 0
        assert "--overwrite" in refused(*command)
        assert litetext(*command, "--overwrite").code == 0
    assert "no encoder that litetext wrote" in refused(
        "convert", "mini", tmp_path / "ours", "--to", "litetext", "--overwrite"
    )
    (tmp_path / "ours" / "segmenter" / "mine.txt").write_text("mine")
    assert "mine.txt is not as litetext wrote it" in refused(
        "convert", sam3, tmp_path / "ours", "--to", "litetext", "--overwrite"
    )
    assert "is the input" in refused("convert", sam3, sam3, "--to", "meta", "--overwrite")


def test_what_cannot_be_is_refused(refused: Run, sam3: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "unknown layout 'onnx'; choose one of: authors, litetext, meta, transformers" in refused(
        "convert", sam3, out, "--to", "onnx"
    )
    assert "--encoder writes no detector" in refused("convert", sam3, out, "--to", "transformers", "--encoder")
    assert "--encoder writes no detector" in refused(
        "convert", sam3, out, "--to", "litetext", "--encoder", "--model", "mini"
    )
    assert "unknown dtype 'int8'; give float32, bfloat16 or float16" in refused(
        "convert", sam3, out, "--to", "litetext", "--dtype", "int8"
    )
    assert "has no name in Meta's layout" in refused("convert", "photo", tmp_path / "a.pt", "--to", "meta", "--whole")
    assert not out.exists()


def test_a_model_that_ships_goes_out_whole_when_asked(litetext: Run, tmp_path: Path) -> None:
    assert litetext("convert", "mini", tmp_path / "mini", "--to", "litetext", "--whole").code == 0
    shutil.copytree(resolve("mini"), tmp_path / "copy")
    assert litetext("convert", tmp_path / "copy", tmp_path / "again", "--to", "litetext").code == 0
    compared = litetext("parity", tmp_path / "mini", "--against", tmp_path / "again", "-p", "owl", "--json")
    assert compared.code == 0 and all(stage["max"] == 0 for stage in compared.json["stages"]["stages"])
