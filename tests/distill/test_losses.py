"""What the losses say, by hand."""

from __future__ import annotations

import pytest
import torch

from litetext.distill.config import LossWeights
from litetext.distill.losses import ReadBy, relational, token_losses
from litetext.errors import LitetextError


def test_token_losses_by_hand() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    teacher = torch.tensor([[0.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    losses = token_losses(student, teacher)
    torch.testing.assert_close(losses["mse"], torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(losses["cosine"], torch.tensor([1.0, 0.0, 0.0]))


def test_relations_do_not_care_for_a_rotation_but_for_a_squeeze() -> None:
    teacher = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((4,), 5)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    assert relational(2 * teacher @ rotation, teacher, lengths) < 1e-10
    squeeze = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    assert relational(teacher @ squeeze, teacher, lengths) > 1e-2


def test_directions_that_no_reader_looks_at_cost_nothing() -> None:
    readers = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])]
    teacher = torch.ones(2, 3, 3)
    mask = torch.zeros(2, 3, dtype=torch.bool)
    unseen, seen = torch.tensor([0.0, 0.0, 9.0]), torch.tensor([0.0, 1.0, 0.0])
    assert ReadBy(readers)(teacher + unseen, teacher, mask) == 0
    torch.testing.assert_close(ReadBy(readers)(teacher + seen, teacher, mask), torch.tensor(4 / 5))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"mse": -1.0}, "the weight of the mse loss is -1.0; give a number of 0 or more"),
        ({"cosine": float("nan")}, "the weight of the cosine loss is nan"),
        ({"mse": 0.0, "cosine": 0.0}, "no loss looks at the teacher"),
    ],
)
def test_weights_are_checked(weights: dict[str, float], message: str) -> None:
    with pytest.raises(LitetextError, match=message):
        LossWeights(**weights)


def test_only_weights_above_nothing_are_active() -> None:
    assert LossWeights(consistency=0).active() == {"mse": 1.0, "cosine": 2.0}
