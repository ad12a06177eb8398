"""Resampling in numpy: what torch gives, to the last bit where it counts in integers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from litetext.segment.resampling import masks_at, resized_photo

sides = st.integers(2, 70)  # torch itself fails on some pictures one pixel wide


@settings(max_examples=60)
@given(height=sides, width=sides, size=st.tuples(sides, sides), seed=st.integers(0, 99))
def test_photos_are_resized_as_torch_does(height: int, width: int, size: tuple[int, int], seed: int) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes = torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous()
    wanted = interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)[0].permute(1, 2, 0)
    assert np.array_equal(resized_photo(photo, size), wanted.numpy())


@settings(max_examples=60)
@given(size=st.tuples(sides, sides), low=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=st.integers(0, 99))
def test_masks_are_resized_as_torch_does(size: tuple[int, int], low: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    # squared, so that some have small islands and some nothing above a half at all
    probabilities = (random.random((4, *low)) ** random.uniform(1, 8, (4, 1, 1))).astype(np.float32)
    high = interpolate(torch.from_numpy(probabilities)[None], size, mode="bilinear", align_corners=False)[0].numpy()
    sure = np.abs(high - 0.5) > 1e-5  # closer than that, the order of a sum decides
    assert np.array_equal(masks_at(probabilities, size, 0.5).dense()[sure], (high > 0.5)[sure])


def test_large_masks_are_resized_strip_by_strip() -> None:
    rows, columns = np.mgrid[:48, :48]
    distances = np.stack([(rows - y) ** 2 + (columns - 20) ** 2 for y in (3, 24, 44)])
    low = (1 / (1 + np.exp((distances - 90).clip(max=80)))).astype(np.float32)
    high = interpolate(torch.from_numpy(low)[None], (700, 500), mode="bilinear", align_corners=False)[0].numpy()
    masks = masks_at(low, (700, 500), 0.5).dense()
    assert 0.05 < masks.mean() < 0.2
    sure = np.abs(high - 0.5) > 1e-5
    assert np.array_equal(masks[sure], (high > 0.5)[sure])


def test_no_masks_are_no_masks() -> None:
    assert masks_at(np.zeros((0, 8, 8), np.float32), (20, 30), 0.5).shape == (0, 20, 30)
    assert masks_at(np.full((1, 8, 8), 0.5, np.float32), (20, 30), 0.5).areas.tolist() == [0]
