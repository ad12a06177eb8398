"""The call itself: images and prompts of every shape, results tied to their prompts, refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from litetext import Instances, LitetextError, Segmenter
from litetext.segment import decode, torch_backend

from .conftest import PROMPTS, Reference


def _same(one: Instances, other: Instances) -> None:
    assert one.prompts == other.prompts
    assert np.array_equal(one.prompt_index, other.prompt_index)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    assert (one.masks != other.masks).mean() < 1e-5


def test_several_images_with_different_prompts(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    other = np.ascontiguousarray(photo[::-1, 10:])
    prompts = [list(PROMPTS[:2]), list(PROMPTS[1:6])]
    together = segmenter.segment([photo, other], prompts, threshold=0.0)
    assert [found.size for found in together] == [(70, 90), (70, 80)]
    for found, image, asked in zip(together, (photo, other), prompts, strict=True):
        _same(found, segmenter.segment(image, asked, threshold=0.0))


def test_a_flat_list_is_asked_of_every_image(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    found = segmenter.segment([photo, photo], ["dog", "cat"], threshold=0.0)
    assert [one.prompts for one in found] == [("dog", "cat")] * 2
    _same(found[0], found[1])
    assert segmenter.segment([], ["dog"]) == []


def test_the_image_is_encoded_once(
    segmenter: Segmenter, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _counted_runs(monkeypatch)
    segmenter.segment([photo, photo], PROMPTS, threshold=0.0)
    assert runs == [1, 1]


def _counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every run of the vision encoder from now on."""
    runs: list[int] = []
    plain = decode.encode_images
    monkeypatch.setattr(
        decode,
        "encode_images",
        lambda detector, pixels, **options: runs.append(len(pixels)) or plain(detector, pixels, **options),
    )
    return runs


def test_a_second_prompt_costs_no_run_of_the_vision_encoder(
    segmenter: Segmenter, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _counted_runs(monkeypatch)
    features = segmenter.encode_image(photo)
    found = [segmenter.detect(features, prompt, threshold=0.0) for prompt in ("dog", "cat")]
    assert runs == [1]
    for prompt, one in zip(("dog", "cat"), found, strict=True):
        _same(one, segmenter.segment(photo, prompt, threshold=0.0))
        assert one.image is photo


def test_images_of_other_sizes_run_together(
    segmenter: Segmenter, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [photo, np.ascontiguousarray(photo[::-1, 10:]), photo[:, ::-1]]
    alone = [segmenter.segment(image, ["dog", "cat"], threshold=0.0) for image in images]
    runs = _counted_runs(monkeypatch)
    together = segmenter.segment(images, ["dog", "cat"], threshold=0.0, image_batch=2)
    assert runs == [2, 1]
    for one, other in zip(alone, together, strict=True):
        _same(one, other)
    features = segmenter.encode_images(images, image_batch=3)
    assert runs == [2, 1, 3]
    _same(segmenter.detect(features[1], ["dog", "cat"], threshold=0.0), alone[1])
    with pytest.raises(LitetextError, match="image_batch"):
        segmenter.segment(images, "dog", image_batch=0)


def test_features_fit_every_segmenter_of_the_same_backend_and_no_other(
    segmenter: Segmenter, teacher: Reference, photo: NDArray[np.uint8]
) -> None:
    features = segmenter.encode_image(photo)
    found = [one.detect(features, "dog", threshold=0.0) for one in (segmenter, segmenter.freeze(["dog"]))]
    _same(*found)
    with pytest.raises(LitetextError, match="of another model"):
        Segmenter.from_pretrained(teacher.folder, device="cpu").detect(features, "dog")
    with pytest.raises(LitetextError, match="threshold"):
        segmenter.detect(features, "dog", threshold=2)


@settings(max_examples=12, deadline=None)
@given(batch_size=st.integers(1, 9), order=st.permutations(range(6)), boxed=st.sets(st.integers(0, 5)))
def test_batching_and_order_change_nothing(
    segmenter: Segmenter, photo: NDArray[np.uint8], batch_size: int, order: list[int], boxed: set[int]
) -> None:
    boxes = [[[5.0, 5.0, 40.0, 40.0]] if index in boxed else None for index in range(6)]
    straight = segmenter.segment(photo, PROMPTS[:6], boxes, threshold=0.0)
    shuffled = segmenter.segment(
        photo, [PROMPTS[i] for i in order], [boxes[i] for i in order], threshold=0.0, batch_size=batch_size
    )
    for prompt in PROMPTS[:6]:
        np.testing.assert_allclose(straight[prompt].scores, shuffled[prompt].scores, atol=1e-5)
    for row, index in enumerate(order):
        assert abs(shuffled.presence[row] - straight.presence[index]) < 1e-5


def test_masks_of_several_prompts_are_those_of_each(
    segmenter: Segmenter, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = segmenter.backend
    (state,) = backend.encode_images([photo])
    found = backend.detect(state, backend.prepare_text(segmenter.text.encode(PROMPTS[:5])))
    queries = {row: np.arange(row, 7 - row) for row in (3, 0, 1)}
    alone = [backend.decode_masks(state, found, row, chosen) for row, chosen in queries.items()]
    together = list(backend.decode_masks_together(state, found, queries))
    monkeypatch.setattr(torch_backend, "_ENTRIES_TOGETHER", 2 * state.maps[0].numel())
    in_pairs = list(backend.decode_masks_together(state, found, queries))
    for one, other, third in zip(alone, together, in_pairs, strict=True):
        scale = max(1.0, float(np.abs(one).max()))  # random weights draw logits of up to some tens
        np.testing.assert_allclose(other, one, atol=1e-5 * scale, rtol=0)
        np.testing.assert_allclose(third, one, atol=1e-5 * scale, rtol=0)


def test_thresholds_are_one_or_one_each(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    features = segmenter.encode_image(photo)
    every = segmenter.detect(features, PROMPTS[:2], threshold=0.0)
    middle = float(np.median(every[PROMPTS[0]].scores))
    found = segmenter.detect(features, PROMPTS[:2], threshold=[middle, 0.0])
    again = segmenter.detect(features, PROMPTS[:2], threshold=np.array([middle, 0.0]))
    assert again.scores.tolist() == found.scores.tolist()
    _same(found, every[np.flatnonzero((every.scores >= middle) | (every.prompt_index == 1))])
    with pytest.raises(LitetextError, match="one for each of the 2 prompts, not 3"):
        segmenter.detect(features, PROMPTS[:2], threshold=[0.5] * 3)
    with pytest.raises(LitetextError, match=r"0\.\.1"):
        segmenter.detect(features, PROMPTS[:2], threshold=[0.5, 2.0])


def test_a_score_equal_to_the_threshold_counts(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    scores = segmenter.segment(photo, "dog", threshold=0.0).scores
    found = segmenter.segment(photo, "dog", threshold=float(scores[2]))
    assert len(found) == 3


def test_finding_nothing_is_a_result(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    found = segmenter.segment(photo, ["dog", "cat"], threshold=1.0)
    assert len(found) == 0
    assert found.masks.shape == (0, 70, 90)
    assert found.boxes.shape == (0, 4)
    assert (found.presence > 0).all()


def test_the_same_picture_in_any_form_gives_the_same(
    segmenter: Segmenter, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    wanted = segmenter.segment(photo, "dog", threshold=0.0)
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(photo), photo.astype(np.uint16) * 257):
        _same(wanted, segmenter.segment(image, "dog", threshold=0.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": "  "}, "is empty"),
        ({"prompts": []}, "list of prompts is empty"),
        ({"prompts": None}, "give prompts, boxes or both"),
        ({"prompts": [["dog"]]}, "must be text"),
        ({"prompts": {"animal": "whale"}}, "must be a list of noun phrases"),
        ({"prompts": {"dog"}}, "must be a list of noun phrases"),
        ({"prompts": 7}, "must be a list of noun phrases, got 7"),
        ({"prompts": "dog", "threshold": 1.5}, "0..1"),
        ({"prompts": "dog", "batch_size": 0}, "batch_size"),
        ({"prompts": ["dog", "cat"], "boxes": [[1, 2, 3, 4]]}, "each of the 2 prompts, got 1"),
        ({"prompts": "dog", "boxes": [[5, 5, 2, 9]]}, "x1 < x2"),
        ({"prompts": "dog", "boxes": [[100, 5, 200, 9]]}, "outside the image, which is 90x70"),
        ({"prompts": "dog", "boxes": [[5, -9, 20, 0]]}, "outside the image"),
        ({"prompts": "dog", "boxes": [[1, 2, 3]]}, r"\[n, 4\]"),
        ({"prompts": "dog", "boxes": [["a", "b", "c", "d"]]}, "not numbers"),
        ({"prompts": "dog", "boxes": [[1, 2, 3, 4]], "box_labels": [2]}, "1 or 0"),
        ({"prompts": "dog", "box_labels": [1]}, "no boxes"),
    ],
)
def test_bad_questions_are_refused(
    segmenter: Segmenter, photo: NDArray[np.uint8], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(LitetextError, match=message):
        segmenter.segment(photo, **arguments)


def test_lists_for_several_images_must_match(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    with pytest.raises(LitetextError, match="each of the 2 images, got 1"):
        segmenter.segment([photo, photo], [["dog"]])
    with pytest.raises(LitetextError, match="must be a list of noun phrases"):
        segmenter.segment([photo, photo], {"animal": "whale"})
    with pytest.raises(LitetextError, match="boxes must hold one entry"):
        segmenter.segment([photo, photo], "dog", boxes=[[[1, 2, 30, 40]]])


def test_frozen_prompts_return_memory_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def return_memory() -> None:
        calls.append(len(calls))
        assert len(calls) == 1
        frozen.text.encode(["dog"])  # as another thread may while this one is at it

    monkeypatch.setattr(segmenter.backend, "return_memory", return_memory)
    frozen = segmenter.freeze(["dog"])
    assert calls == []
    for _ in range(2):
        frozen.text.encode(["dog"])
    assert calls == [0]


def test_it_says_what_it_is(segmenter: Segmenter) -> None:
    assert re.fullmatch(
        r"Segmenter\(TorchBackend\([\d.]+ M parameters, float32, cpu, as transformers\), text=.*\)", repr(segmenter)
    )
    assert "text=_FrozenPrompts" not in repr(segmenter) and "70" in repr(segmenter.encode_image(np.zeros((70, 9, 3))))


@torch.inference_mode()
def test_what_no_prompt_changes_is_computed_once_and_exactly(segmenter: Segmenter, photo: NDArray[np.uint8]) -> None:
    backend = segmenter.backend
    pyramid = segmenter.encode_image(photo).state
    text = backend.prepare_text(segmenter.text.encode(PROMPTS[:3]))
    once = decode.detect(backend.detector, pyramid, text)
    each = decode.detect(backend.detector, replace(pyramid, attended=None), text)
    for name in ("logits", "presence", "boxes", "encoder_hidden_states"):
        torch.testing.assert_close(getattr(once, name), getattr(each, name), atol=1e-6, rtol=1e-5)
    backend.detector.detr_encoder.layers[0].self_attn.forward = None  # which detection needs no more
    try:
        decode.detect(backend.detector, pyramid, text)
    finally:
        del backend.detector.detr_encoder.layers[0].self_attn.forward
