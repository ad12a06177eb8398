"""Concepts shown by example: what boxes in one image find, asked of that image and of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from litetext import Instances, LitetextError, Segmenter
from litetext.encoders import ConceptBank, ExemplarConcept, build_bank

from .conftest import PROMPTS, WIDTH, Reference

BOXES = [[10.0, 12.0, 40.0, 50.0], [50.0, 5.0, 85.0, 60.0]]
LABELS = [1, 0]


@pytest.fixture(scope="module", params=["transformers", "meta"])
def own(teacher: Reference, request: pytest.FixtureRequest) -> Segmenter:
    """A segmenter under either convention: Meta's puts a token behind every prompt, but not behind these twice."""
    return Segmenter.from_pretrained(teacher.folder, device="cpu", convention=request.param)


def _same(one: Instances, other: Instances, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(one.scores, other.scores, atol=tolerance)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=100 * tolerance)
    assert (one.masks != other.masks).mean() < 10 * tolerance


@pytest.mark.parametrize("prompt", ["visual", PROMPTS[3]])
def test_in_its_own_image_a_concept_finds_what_the_boxes_find(
    own: Segmenter, photo: NDArray[np.uint8], prompt: str
) -> None:
    concept = own.concept(photo, BOXES, "widget", box_labels=LABELS, prompt=prompt)
    wanted = own.segment(photo, prompt, BOXES, LABELS, threshold=0.0)
    found = own.segment(photo, [concept], threshold=0.0)
    assert found.prompts == ("widget",) and len(found) == 7
    _same(found, wanted)
    plain = own.segment(photo, prompt, threshold=0.0)
    assert np.abs(plain.scores - wanted.scores).max() > 1e-3, "the boxes must matter in this test"


def test_concepts_and_phrases_are_asked_of_another_image_together(own: Segmenter, photo: NDArray[np.uint8]) -> None:
    features = own.encode_image(photo)
    widget = own.concept(features, BOXES, "widget")
    gadget = own.concept(features, BOXES[:1], "gadget", threshold=1.0)
    other = np.ascontiguousarray(photo[::-1, 5:])
    together = own.segment(other, [PROMPTS[0], widget, PROMPTS[1], gadget], threshold=0.0)
    assert together.prompts == (PROMPTS[0], "widget", PROMPTS[1], "gadget")
    assert together.counts == {PROMPTS[0]: 7, "widget": 7, PROMPTS[1]: 7, "gadget": 0}, "gadget has its own threshold"
    _same(together["widget"], own.segment(other, widget, threshold=0.0))
    _same(together[PROMPTS[1]], own.segment(other, PROMPTS[1], threshold=0.0))
    frozen = own.freeze([PROMPTS[0], widget])
    _same(frozen.segment(other, [widget, PROMPTS[0]], threshold=0.0)["widget"], together["widget"])
    with_boxes = own.segment(other, [widget], [BOXES[:1]], threshold=0.0)
    assert np.abs(with_boxes.scores - together["widget"].scores).max() > 1e-4, "boxes of its own go with a concept"


def test_a_bank_keeps_concepts_beside_phrases(own: Segmenter, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    concepts = [
        own.concept(photo, BOXES, "Widget", threshold=0.0),
        own.concept(photo, np.tile(BOXES, (20, 1)), "many boxes"),
    ]
    summary = build_bank(
        PROMPTS[:3], own.text, path, encoder_name="small", concepts=concepts, thresholds={PROMPTS[1]: 1.0}
    )
    assert (summary.phrases, summary.concepts) == (5, 5)
    bank = ConceptBank(path)
    assert bank.concept("widget").threshold == 0 and bank.concept("many boxes").threshold is None
    features = bank.encode([PROMPTS[0], "widget", "many boxes"])
    assert features.tokens.shape[1] == len(concepts[1].tokens) > bank.context_length, "as long as its longest concept"
    assert features.by_example is not None and features.by_example.tolist() == [False, True, True]
    from_bank = Segmenter(own.backend, bank)
    found = from_bank.segment(photo, ["widget", PROMPTS[0], PROMPTS[1]], threshold=0.9)
    assert found.counts["widget"] == 7 and found.counts[PROMPTS[1]] == 0
    _same(found["widget"], own.segment(photo, boxes=BOXES, threshold=0.0), tolerance=3e-3)
    _same(from_bank.segment(photo, bank.concept("widget")), found["widget"])
    with_fallback = ConceptBank(path, own.text)
    assert with_fallback.encode([PROMPTS[7], "widget"]).by_example.tolist() == [False, True]
    with pytest.raises(LitetextError, match="no concept .* shown by example"):
        bank.concept(PROMPTS[0])


def test_banks_of_concepts_alone(own: Segmenter, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    build_bank([], own.text, path, encoder_name="none", concepts=[own.concept(photo, BOXES, "widget")])
    found = Segmenter(own.backend, ConceptBank(path, own.text)).segment(photo, "widget", threshold=0.0)
    _same(found, own.segment(photo, boxes=BOXES, threshold=0.0), tolerance=3e-3)


def test_what_makes_no_concept_is_refused(
    own: Segmenter, teacher: Reference, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    with pytest.raises(LitetextError, match="at least one example box"):
        own.concept(photo, [], "widget")
    with pytest.raises(LitetextError, match="outside the image"):
        own.concept(photo, [[100, 5, 120, 9]], "widget")
    with pytest.raises(LitetextError, match="needs a name"):
        own.concept(photo, BOXES, " ")
    with pytest.raises(LitetextError, match=r"0\.\.1, got 2"):
        own.concept(photo, BOXES, "widget", threshold=2)
    other = Segmenter.from_pretrained(teacher.folder, device="cpu")
    with pytest.raises(LitetextError, match="of another model"):
        other.concept(own.encode_image(photo), BOXES, "widget")
    wide = ExemplarConcept("wide", np.ones((3, WIDTH + 1), np.float32))
    with pytest.raises(LitetextError, match="33 numbers a token"):
        own.segment(photo, [wide])
    for given, message in (
        ({"concepts": [wide]}, "of another width"),
        ({"concepts": [ExemplarConcept(PROMPTS[0], np.ones((3, WIDTH), np.float32))]}, "in the bank twice"),
        ({"thresholds": {"zebra": 0.5}}, "not among the phrases"),
        ({"thresholds": {PROMPTS[0]: 1.5}}, "0..1"),
    ):
        with pytest.raises(LitetextError, match=message):
            build_bank(PROMPTS[:2], own.text, tmp_path / "bank.safetensors", encoder_name="x", **given)
    assert not list(tmp_path.iterdir())
