"""A device is on this machine, or the message says what is."""

from __future__ import annotations

import pytest
import torch

from litetext import load_encoder
from litetext.devices import torch_device
from litetext.encoders import load_torch_encoder
from litetext.errors import LitetextError
from litetext.segment import Segmenter
from litetext.training.processes import Processes


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu"), "cpu:0"])
def test_devices_that_are_here(name: object) -> None:
    assert torch_device(name).type == "cpu"  # type: ignore[arg-type]
    assert torch_device(None).type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["gpu", "foo", "", "cuda:99", "meta", "cuda:x", 7, 3.5, torch.device("cuda", 99)])
def test_devices_that_are_not_here(name: object) -> None:
    with pytest.raises(LitetextError, match=r"(unknown|no) device .*: cpu"):
        torch_device(name)  # type: ignore[arg-type]


def test_every_door_checks_the_device() -> None:
    for load in (
        lambda device: load_encoder("mini", device=device),
        lambda device: load_torch_encoder("mini", device=device),
        lambda device: Segmenter.from_pretrained("mini", device=device),
        lambda device: Processes.start(device),
    ):
        for device in ("gpu", "cuda:99"):
            with pytest.raises(LitetextError, match="device"):
                load(device)
