"""Segmenter against transformers run plainly, prompt by prompt: the same numbers, the same masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from litetext import Instances, Segmenter
from litetext.segment import decode

from .conftest import PROMPTS, Reference, save_reference

BOXES = [[10.0, 12.0, 40.0, 50.0], [50.0, 5.0, 85.0, 60.0]]


def _threshold(reference: Reference, outputs: list[Any], share: float = 0.5) -> float:
    """A score that ``share`` of all queries reach, well away from any of them."""
    scores = torch.cat([(o.pred_logits.sigmoid() * o.presence_logits.sigmoid())[0] for o in outputs]).sort().values
    middle = int(len(scores) * (1 - share))
    gaps = scores[middle - 5 : middle + 5].diff()
    low = middle - 5 + int(gaps.argmax())
    return float((scores[low] + scores[low + 1]) / 2)


def _assert_same(found: Instances, wanted: list[dict[str, NDArray[Any]]]) -> None:
    assert np.array_equal(found.prompt_index, np.repeat(np.arange(len(wanted)), [len(w["scores"]) for w in wanted]))
    np.testing.assert_allclose(found.scores, np.concatenate([w["scores"] for w in wanted]), atol=1e-4)
    np.testing.assert_allclose(found.boxes, np.concatenate([w["boxes"] for w in wanted]), atol=1e-3)
    # transformers leaves the masks of an empty answer at the decoder's size
    masks = np.concatenate([w["masks"] for w in wanted if len(w["scores"])]).astype(bool)
    # A probability of exactly a half falls to either side by the last bit of a float: at most one pixel in 100,000.
    assert (found.masks != masks).mean() < 1e-5


def test_logits_boxes_and_mask_logits_equal_a_plain_forward(reference: Reference, photo: NDArray[np.uint8]) -> None:
    segmenter = Segmenter.from_pretrained(reference.folder, device="cpu")
    prompts = list(PROMPTS[:5])
    text = segmenter.text.encode(prompts).to_torch()
    pixels = reference.processor(images=photo, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        image = decode.encode_images(segmenter.backend.detector, pixels)
        found = decode.detect(segmenter.backend.detector, image, text)
        for row, prompt in enumerate(prompts):
            wanted = reference.forward(photo, prompt)
            masks = decode.mask_logits(segmenter.backend.detector, image, found, [row], torch.arange(7)[None])[0]
            torch.testing.assert_close(found.logits[row], wanted.pred_logits[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(found.presence[row], wanted.presence_logits[0, 0], atol=1e-4, rtol=0)
            torch.testing.assert_close(found.boxes[row], wanted.pred_boxes[0], atol=1e-5, rtol=0)
            scale = float(wanted.pred_masks.abs().max())  # these random weights draw mask logits of up to some tens
            torch.testing.assert_close(masks, wanted.pred_masks[0], atol=1e-4 * max(1.0, scale), rtol=0)


@pytest.mark.parametrize("count", [1, 50])
def test_detections_equal_transformers(reference: Reference, photo: NDArray[np.uint8], count: int) -> None:
    outputs = [reference.forward(photo, prompt) for prompt in PROMPTS[:count]]
    threshold = _threshold(reference, outputs) if count > 1 else 0.0
    wanted = [reference.detections(photo, output, threshold) for output in outputs]
    found = Segmenter.from_pretrained(reference.folder, device="cpu").segment(
        photo, PROMPTS[:count], threshold=threshold
    )
    _assert_same(found, wanted)
    assert 0 < np.mean(found.masks) < 1
    if count > 1:
        assert 50 < len(found) < 7 * count


@pytest.mark.parametrize("labels", [[1, 1], [1, 0]], ids=["examples", "counterexample"])
@pytest.mark.parametrize("prompt", [PROMPTS[3], None], ids=["with text", "boxes alone"])
def test_box_prompts_equal_transformers(
    reference: Reference, photo: NDArray[np.uint8], prompt: str | None, labels: list[int]
) -> None:
    output = reference.forward(photo, prompt or "visual", BOXES, labels)
    segmenter = Segmenter.from_pretrained(reference.folder, device="cpu")
    found = segmenter.segment(photo, prompt, BOXES, labels, threshold=0.0)
    _assert_same(found, [reference.detections(photo, output, 0.0)])
    assert found.prompts == (prompt or "visual",)
    without = reference.forward(photo, prompt or "visual")
    assert (output.pred_logits - without.pred_logits).abs().max() > 1e-2, "the boxes must matter in this test"


def test_prompts_with_and_without_boxes_mix(segmenter: Segmenter, teacher: Reference, photo: NDArray[np.uint8]) -> None:
    prompts = list(PROMPTS[:4])
    boxes = [None, BOXES, BOXES[:1], None]
    labels = [None, [0, 1], None, None]
    found = segmenter.segment(photo, prompts, boxes, labels, threshold=0.0)
    outputs = [
        teacher.forward(photo, prompts[0]),
        teacher.forward(photo, prompts[1], BOXES, [0, 1]),
        teacher.forward(photo, prompts[2], BOXES[:1], [1]),
        teacher.forward(photo, prompts[3]),
    ]
    _assert_same(found, [teacher.detections(photo, output, 0.0) for output in outputs])


def test_the_bias_of_places_is_the_same_to_the_bit(teacher: Reference) -> None:
    decoder = Segmenter.from_pretrained(teacher.folder, device="cpu").backend.detector.detr_decoder
    boxes = torch.rand(2, 5, 4)
    ours = decoder._get_rpb_matrix(boxes, (6, 9))
    for embedding in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
        assert len(embedding._forward_hooks) == 1
        embedding._forward_hooks.clear()
    assert torch.equal(ours, decoder._get_rpb_matrix(boxes, (6, 9)))
    assert ours.is_contiguous()


def test_absent_prompts_find_nothing_and_decode_no_pixel(
    tmp_path: Any, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = save_reference("s0", tmp_path)
    reference.spread_presence(photo, PROMPTS, present=10)
    outputs = [reference.forward(photo, prompt) for prompt in PROMPTS]
    present = [prompt for prompt, output in zip(PROMPTS, outputs, strict=True) if output.presence_logits > 0]
    assert len(present) == 10
    segmenter = Segmenter.from_pretrained(reference.folder, device="cpu")
    decoded = []
    plain = segmenter.backend.detector.mask_decoder.forward
    monkeypatch.setattr(
        segmenter.backend.detector.mask_decoder,
        "forward",
        lambda **k: decoded.append(len(k["decoder_queries"])) or plain(**k),
    )
    found = segmenter.segment(photo, PROMPTS, threshold=0.15)
    _assert_same(found, [reference.detections(photo, output, 0.15) for output in outputs])
    assert set(found.labels) <= set(present)
    assert len(found) >= 10
    assert sum(decoded) == len(set(found.labels))
