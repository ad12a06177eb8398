"""The rules that bring detections and tracks together, on masks small enough to see."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from litetext.track.cleanup import keep_best, mask_ious, without_holes
from litetext.track.fusion import Detected, associate, most_recently_hidden, without_shrunk
from litetext.track.policy import FULL


def _logits(*boxes: tuple[int, int, int, int], size: int = 12) -> Tensor:
    """Masks of boxes (top, left, bottom, right)."""
    masks = torch.full((len(boxes), size, size), -5.0)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 5.0
    return masks


def _detected(*boxes: tuple[int, int, int, int], scores: list[float], prompts: list[int]) -> Detected:
    return Detected(_logits(*boxes), torch.tensor(scores), torch.tensor(prompts))


def test_detections_belong_to_tracks_of_their_prompt() -> None:
    detected = _detected((0, 0, 4, 4), (6, 6, 10, 10), (0, 8, 3, 11), scores=[0.9, 0.95, 0.6], prompts=[0, 1, 0])
    tracks = _logits((0, 0, 4, 4), (6, 6, 10, 10), (6, 6, 10, 9), (0, 0, 0, 0))
    found = associate(detected, tracks, torch.tensor([0, 0, 1, 1]), FULL)
    assert found.matched == [[0], [2], []]
    assert found.new == []  # the third is too weak
    assert found.unmatched == [1]  # of another prompt than the detection there
    assert found.empty == [3]
    assert found.confirmed == {0: 0}  # 0.9 and an IoU of 1; the second overlaps its track by 0.75 alone


def test_the_first_detections_are_all_new() -> None:
    detected = _detected((0, 0, 4, 4), scores=[0.55], prompts=[0])
    assert associate(detected, torch.zeros(0, 12, 12), torch.zeros(0), FULL).new == [0]


def test_the_track_that_was_hidden_last_gives_way() -> None:
    masks = _logits((0, 0, 6, 6), (0, 0, 6, 5), (6, 6, 9, 9)) > 0
    assert most_recently_hidden(masks, torch.tensor([7, 3, 9]), 0.7).tolist() == [True, False, False]
    assert most_recently_hidden(masks, torch.tensor([7, -1, 9]), 0.7).tolist() == [False, False, False]


def test_a_track_that_others_cover_is_emptied() -> None:
    logits = _logits((0, 0, 6, 6), (0, 0, 6, 5))
    logits[0] += 1
    kept = without_shrunk(logits, [0, 0])
    assert (kept > 0).flatten(1).any(1).tolist() == [True, False]
    assert torch.equal(without_shrunk(logits, [0, 1]), logits)


def test_of_duplicates_the_better_stays() -> None:
    masks = _logits((0, 0, 6, 6), (0, 0, 6, 5), (8, 8, 11, 11)) > 0
    assert keep_best(masks, torch.tensor([0.6, 0.9, 0.5]), 0.1).tolist() == [False, True, True]


def test_holes_and_specks_go_and_small_objects_stay() -> None:
    logits = _logits((0, 0, 8, 8), (0, 0, 2, 2))
    logits[0, 3:5, 3:5] = -5.0
    logits[0, 11, 11] = 5.0
    cleaned = without_holes(logits, 4)
    assert (cleaned[0] > 0).sum() == 64
    assert torch.equal(cleaned[1], logits[1])
    assert torch.equal(without_holes(logits, 0), logits)


@given(st.integers(0, 2**32 - 1))
def test_ious_are_those_of_sets(seed: int) -> None:
    random = np.random.default_rng(seed)
    ones, others = random.random((3, 5, 4)) > 0.5, random.random((2, 5, 4)) > 0.8
    got = mask_ious(torch.from_numpy(ones), torch.from_numpy(others)).numpy()
    for i, one in enumerate(ones):
        for j, other in enumerate(others):
            union = (one | other).sum()
            assert got[i, j] == np.float32((one & other).sum() / union if union else 0)
