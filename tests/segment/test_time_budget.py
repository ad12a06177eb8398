"""The input size by a time budget: the largest that fits, or a refusal that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litetext import LitetextError, Segmenter
from litetext.data import samples
from litetext.segment import time_budget
from litetext.segment.time_budget import fit_image_size

PROMPTS = ["an owl", "fire truck"]


@pytest.fixture
def mini() -> Segmenter:
    return Segmenter.from_pretrained("mini", device="cpu")


@pytest.fixture
def quadratic(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let an image take as many milliseconds as it has thousands of pixels; the sizes that are tried are kept."""
    tried: list[int] = []

    def milliseconds(backend: Any, _: Any) -> float:
        tried.append(backend.image_size)
        return backend.image_size**2 / 1000

    monkeypatch.setattr(time_budget, "_milliseconds", milliseconds)
    return tried


@pytest.mark.parametrize(
    ("budget", "wanted", "tried"),
    [(1000, 128, [40, 64, 88, 128]), (10, 88, [40, 64, 88, 128]), (5, 64, [40, 64, 88]), (2, 40, [40, 64])],
)
def test_the_largest_size_that_fits(
    mini: Segmenter, quadratic: list[int], budget: float, wanted: int, tried: list[int]
) -> None:
    fitted = fit_image_size(mini, budget, PROMPTS)
    assert fitted.image_size == mini.backend.image_size == wanted
    assert quadratic == tried == list(fitted.measured_ms)
    assert str(fitted).startswith(f"image size {wanted}: an image with 2 prompts takes")


@pytest.mark.usefixtures("quadratic")
def test_a_fitted_segmenter_is_one_of_that_size(mini: Segmenter) -> None:
    fit_image_size(mini, 10, PROMPTS)
    there = Segmenter.from_pretrained("mini", device="cpu", image_size=88)
    photo = samples()[1].image
    ours, theirs = (one.segment(photo, PROMPTS, threshold=0.1) for one in (mini, there))
    assert len(ours) and np.array_equal(ours.scores, theirs.scores) and ours.masks.counts == theirs.masks.counts


@pytest.mark.usefixtures("quadratic")
def test_no_size_fits(mini: Segmenter) -> None:
    with pytest.raises(LitetextError, match="at 40 pixels.* 2 ms of the 1 allowed; allow more, ask fewer prompts"):
        fit_image_size(mini, 1, PROMPTS)


def test_every_stage_is_measured(mini: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[str] = []
    for name in ("encode_images", "detect", "decode_masks_together"):
        plain = getattr(mini.backend, name)
        monkeypatch.setattr(
            mini.backend, name, lambda *a, name=name, plain=plain: stages.append(name) or plain(*a), raising=True
        )
    fitted = fit_image_size(mini, 1e9, PROMPTS, batch_size=1)
    assert all(ms > 0 for ms in fitted.measured_ms.values()) and len(fitted.measured_ms) == 4
    a_run = ["encode_images", *2 * ["detect", "decode_masks_together"]]
    assert stages == 4 * 3 * a_run


def test_an_export_has_one_size() -> None:
    graphs = Segmenter.from_pretrained("mini", backend="onnx")
    with pytest.raises(LitetextError, match="the size it was written for"):
        fit_image_size(graphs, 100, PROMPTS)
