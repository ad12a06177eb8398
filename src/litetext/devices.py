"""Where torch computes: one check of a device's name for every command and function that takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import LitetextError, short

if TYPE_CHECKING:
    import torch


def torch_device(device: str | torch.device | None = None) -> torch.device:
    """Return a device that is on this machine.

    Args:
        device: such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; None is a GPU where there is one, else the CPU.

    Raises:
        LitetextError: a name that torch does not know, or a device that is not here; the message lists what is.
    """
    import torch

    here = _devices_here()
    if device is None:
        return torch.device("cuda" if "cuda" in here else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise LitetextError(f"unknown device {short(device)}; this machine has: {', '.join(here)}") from None
    if str(wanted) not in here and not (wanted.type == "cpu" and not wanted.index):
        raise LitetextError(f"no device {str(wanted)!r} on this machine; it has: {', '.join(here)}")
    return wanted


def _devices_here() -> list[str]:
    """The names of the devices that torch finds on this machine."""
    import torch

    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.append("mps")
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        if module.is_available():
            names += [kind, *(f"{kind}:{index}" for index in range(module.device_count()))]
    return names
