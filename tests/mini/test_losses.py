"""Losses with known answers."""

from __future__ import annotations

import pytest
import torch

from litetext.mini.losses import balanced, box_iou, corners, detection_losses, dice, focal, iou_focal, match


def test_corners_and_iou() -> None:
    boxes = corners(torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.25, 0.5, 0.5, 1.0], [2.5, 0.5, 1.0, 1.0]]))
    iou, giou = box_iou(boxes[:1], boxes)
    assert iou.tolist() == pytest.approx([1.0, 0.5, 0.0])
    # The hull of the first and the last is 3 x 1, of which 1 lies in neither.
    assert giou.tolist() == pytest.approx([1.0, 0.5, -1 / 3])


def test_matching_is_one_to_one_and_best() -> None:
    targets = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]]])
    boxes = torch.tensor([[[0.8, 0.8, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9], [0.2, 0.2, 0.2, 0.2]]])
    row, query, target = match(torch.zeros(1, 3), boxes, targets, torch.tensor([[True, True, False]]))
    assert sorted(zip(row.tolist(), query.tolist(), target.tolist(), strict=True)) == [(0, 0, 1), (0, 2, 0)]


def test_exact_and_sure_costs_nothing() -> None:
    targets = torch.tensor([[[0.2, 0.2, 0.2, 0.2]]])
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]])
    scores = torch.tensor([[20.0, -20.0]])
    losses = detection_losses(scores, boxes, targets, torch.ones(1, 1, dtype=torch.bool))
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(
        {"class": 0.0, "l1": 0.0, "giou": 0.0}, abs=1e-5
    )


def test_class_loss_pulls_towards_the_iou() -> None:
    matched = torch.tensor([[True, False]])
    iou = torch.tensor([[0.6, 0.0]])
    scores = torch.tensor([[3.0, 1.0]], requires_grad=True)
    iou_focal(scores, iou, matched).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] > 0  # surer than 0.8 should be
    assert scores.grad[0, 1] > 0
    low = torch.tensor([[-3.0, 1.0]], requires_grad=True)
    iou_focal(low, iou, matched).sum().backward()
    assert low.grad is not None and low.grad[0, 0] < 0


def test_mask_losses() -> None:
    target = torch.zeros(1, 4, 4)
    target[:, :2] = 1
    right, wrong = (target * 2 - 1) * 30, (1 - target * 2) * 30
    assert float(dice(right, target)) == pytest.approx(0, abs=1e-4)
    assert float(dice(wrong, target)) == pytest.approx(1 - 1 / 17, abs=1e-4)
    assert float(focal(right, target)) == pytest.approx(0, abs=1e-4)
    assert float(focal(torch.zeros(1, 4, 4), target)) == pytest.approx(0.25 * 0.6931, abs=1e-3)


def test_balance_does_not_depend_on_the_size_of_the_object() -> None:
    small, large = torch.zeros(1, 10, 10), torch.ones(1, 10, 10)
    small[0, 0, 0] = 1
    large[0, 0, 0] = 0
    assert float(balanced(torch.zeros(1, 10, 10), small)) == pytest.approx(
        float(balanced(torch.zeros(1, 10, 10), large)), abs=1e-6
    )


def test_several_queries_learn_to_score_what_their_box_is_worth() -> None:
    targets = torch.tensor([[[0.5, 0.5, 0.4, 0.4]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.3], [0.1, 0.1, 0.1, 0.1]]])
    valid = torch.ones(1, 1, dtype=torch.bool)
    scores = torch.zeros(1, 3, requires_grad=True)
    detection_losses(scores, boxes, targets, valid)["class"].backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0 < scores.grad[0, 1]  # one-to-one: the second best is told no
    scores = torch.zeros(1, 3, requires_grad=True)
    detection_losses(scores, boxes, targets, valid, class_copies=2)["class"].backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0 and scores.grad[0, 1] < 0 < scores.grad[0, 2]  # IoU 0.75 is more than a half
