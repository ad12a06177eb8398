"""Pictures that are resized on the device are the CPU's within one level; what is tested here runs on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext import Segmenter
from litetext.data import samples
from litetext.images import read_image
from litetext.segment.resampling import resized_photo
from litetext.segment.upload import device_pixels, resized, uploaded

CPU = torch.device("cpu")
SIDES = st.integers(1, 90)


@given(height=SIDES, width=SIDES, size=st.integers(2, 64), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_pictures_are_the_cpus_within_one_level(height: int, width: int, size: int, seed: int) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    ours = resized(uploaded(photo, CPU), (size, size)).permute(1, 2, 0).numpy().astype(int)
    theirs = resized_photo(photo, (size, size)).astype(int)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("model", ["mini", "photo"])
def test_the_encoder_reads_the_same(model: str) -> None:
    backend = Segmenter.from_pretrained(model, device="cpu", backend="torch").backend
    photo = read_image(samples()[1].image)[:200, :150]
    ours, theirs = device_pixels(backend.processor, photo, CPU), backend.pixels(photo)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    level = 1 / 255 / min(backend.processor.image_std)
    assert float((ours - theirs).abs().max()) <= 1.01 * level
    assert float((ours - theirs).abs().mean()) < 0.25 * level
