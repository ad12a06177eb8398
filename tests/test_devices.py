"""A device is on this machine, or the message says what is."""

from __future__ import annotations

import pytest
import torch

from litetext import devices, load_encoder
from litetext.devices import floating_dtype, known_dtype, torch_device
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


@pytest.mark.parametrize(
    ("flags", "wanted"), [({"avx2", "amx_bf16"}, "bfloat16"), ({"avx512_bf16"}, "bfloat16"), ({"avx512f"}, "float32")]
)
def test_auto_is_what_the_cpu_multiplies_fast(monkeypatch: pytest.MonkeyPatch, flags: set[str], wanted: str) -> None:
    monkeypatch.setattr(devices, "cpu_flags", lambda: flags)
    assert floating_dtype("auto", torch.device("cpu")) == getattr(torch, wanted)
    assert known_dtype("auto", "cpu") == wanted
    segmenter = Segmenter.from_pretrained("mini", device="cpu", dtype="auto")
    assert f" {wanted}," in repr(segmenter)


@pytest.mark.parametrize(("capability", "wanted"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((12, 0), "bfloat16")])
def test_auto_is_what_the_gpu_multiplies_fast(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert floating_dtype("auto", torch.device("cuda", 1)) == getattr(torch, wanted)


def test_a_dtype_that_is_named_stays() -> None:
    assert known_dtype("float16", "cpu") == "float16" and known_dtype(None, "cpu") is None
    with pytest.raises(LitetextError, match="unknown dtype 'auto'"):
        floating_dtype("auto")  # nothing computes: what is stored must be named


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
