"""Compiled functions: the same results, and nothing is compiled anew for another number of prompts or boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._dynamo.testing import CompileCounterWithBackend

from litetext import Instances, LitetextError, Segmenter
from litetext.segment.compiled import CompiledDetector

from .conftest import PROMPTS

pytestmark = [pytest.mark.slow, pytest.mark.compiles]
BOX = [[10, 20, 60, 55]]


@pytest.fixture
def counter() -> Iterator[CompileCounterWithBackend]:
    torch.compiler.reset()
    yield CompileCounterWithBackend("eager")
    torch.compiler.reset()


@pytest.fixture
def compiled(segmenter: Segmenter, counter: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    """A segmenter whose detector runs in functions of a compiler that counts what it is given and changes nothing."""
    monkeypatch.setattr(segmenter.backend, "compiled", CompiledDetector.of(segmenter.backend.detector, counter))
    return segmenter


def test_a_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LitetextError, match=r"needs a C\+\+ compiler"):
        Segmenter.from_pretrained("mini", device="cpu", compile=True)
    with pytest.raises(LitetextError, match="is an export"):
        Segmenter.from_pretrained("mini", backend="onnx", compile=True)


def _plain(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    monkeypatch.setattr(segmenter.backend, "compiled", None)
    return segmenter


def _assert_same(ours: Instances, theirs: Instances) -> None:
    assert len(ours) and np.array_equal(ours.prompt_index, theirs.prompt_index)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    np.testing.assert_allclose(ours.presence, theirs.presence, atol=1e-5)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
    assert (ours.masks != theirs.masks).mean() < 1e-4


def test_padding_changes_nothing(
    compiled: Segmenter, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [(PROMPTS[:3], None), (PROMPTS[:1], None), (["dog"], BOX)]
    ours = [compiled.segment(photo, prompts, boxes, threshold=0.0) for prompts, boxes in asked]
    plain = _plain(compiled, monkeypatch)
    for found, (prompts, boxes) in zip(ours, asked, strict=True):
        _assert_same(found, plain.segment(photo, prompts, boxes, threshold=0.0))


def test_several_images_run_together(
    compiled: Segmenter, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [photo, photo[::-1].copy(), photo[:, ::-1].copy()]
    ours = compiled.segment(images, PROMPTS[:2], threshold=0.0, image_batch=3)
    for found, theirs in zip(
        ours, _plain(compiled, monkeypatch).segment(images, PROMPTS[:2], threshold=0.0), strict=True
    ):
        _assert_same(found, theirs)


def test_another_number_of_prompts_compiles_nothing(
    compiled: Segmenter, photo: NDArray[np.uint8], counter: CompileCounterWithBackend
) -> None:
    features = compiled.encode_image(photo)
    assert counter.frame_count == 1  # the vision encoder, as one graph
    for count in (8, 4, 2, 1):
        compiled.detect(features, PROMPTS[:count], threshold=0.0)
    assert counter.frame_count == 5
    for count in (*range(1, 9), 13):
        compiled.detect(compiled.encode_image(photo), PROMPTS[:count], threshold=0.0)
    assert counter.frame_count == 5


def test_another_number_of_boxes_compiles_nothing(
    compiled: Segmenter, photo: NDArray[np.uint8], counter: CompileCounterWithBackend
) -> None:
    features = compiled.encode_image(photo)
    compiled.detect(features, ["dog"], BOX, threshold=0.0)
    before = counter.frame_count
    compiled.detect(features, ["dog"], [BOX[0], [5, 5, 30, 40]], threshold=0.0)
    assert counter.frame_count == before
