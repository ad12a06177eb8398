"""``litetext convert --to transformers``: the published usage example on the exported folder finds what we find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, Sam3ImageProcessor

from litetext import Segmenter
from litetext.encoders import Convention, save_encoder
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder
from ..encoders.conftest import small_config as encoder_config
from ..segment.conftest import IMAGE_SIZE, random_model

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam3")
    random_model("teacher").save_pretrained(folder)
    Sam3ImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("structure", ["masked", "teacher"])
def test_exported_folder_finds_what_we_find(
    structure: str, sam3: Path, litetext: Callable[..., Any], tmp_path: Path
) -> None:
    masked = Convention(16, 0, "everywhere", "slice")
    config = encoder_config("s1", masked) if structure == "masked" else encoder_config("teacher")
    save_encoder(random_encoder(config), Tokenizer(), tmp_path / "encoder")
    report = litetext(
        "convert", tmp_path / "encoder", tmp_path / "out", "--to", "transformers", "--model", sam3, "--json"
    )
    assert report.json["parity"]["max_abs"] <= 1e-4
    assert "the same" in report.err

    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(images=PHOTO, text="ear", return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    theirs = processor.post_process_instance_segmentation(outputs, threshold=0.0, target_sizes=[PHOTO.shape[:2]])[0]

    ours = Segmenter.from_pretrained(sam3, text=tmp_path / "encoder").segment(PHOTO, ["ear"], threshold=0.0)
    order, our_order = theirs["scores"].argsort().tolist(), np.argsort(ours.scores).tolist()
    np.testing.assert_allclose(ours.scores[our_order], theirs["scores"][order], atol=1e-4)
    np.testing.assert_allclose(ours.boxes[our_order], theirs["boxes"][order], atol=1e-2)
    assert (ours.masks[our_order] != (theirs["masks"][order].numpy() > 0)).mean() < 1e-3


def test_a_bare_encoder_needs_a_detector(refused: Callable[..., str], tmp_path: Path) -> None:
    save_encoder(random_encoder(encoder_config("s1")), Tokenizer(), tmp_path / "encoder")
    line = refused("convert", tmp_path / "encoder", tmp_path / "out", "--to", "transformers")
    assert "no detector here" in line and "--model" in line
