"""Where torch computes and in what: one check of the names for every command and function that takes them."""

from __future__ import annotations

from pathlib import Path
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


DTYPES = ("float32", "bfloat16", "float16")
"""What weights may be kept and computed in."""

AUTO = "auto"
"""A dtype: bfloat16 where the device multiplies it fast, float32 elsewhere."""

_FAST_BFLOAT16 = {"amx_bf16", "avx512_bf16"}
_AMPERE = (8, 0)  # the first compute capability of NVIDIA's GPUs that multiplies bfloat16


def floating_dtype(dtype: str | torch.dtype | None, device: torch.device | None = None) -> torch.dtype:
    """Return a dtype to compute in; None is float32.

    Args:
        dtype: or its name; "auto" (`AUTO`) where the device is given.
        device: that computes.

    Raises:
        LitetextError: a name that is none of torch's floating-point numbers.
    """
    import torch

    if dtype == AUTO and device is not None:
        dtype = _fast_dtype(device)
    named = getattr(torch, dtype, None) if isinstance(dtype, str) else (dtype or torch.float32)
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise LitetextError(f"unknown dtype {short(dtype)}; give {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return named


def known_dtype(dtype: str | None, device: str | None) -> str | None:
    """Return ``dtype``, or what "auto" stands for on a device (by default a GPU where there is one), by its name."""
    return _fast_dtype(torch_device(device)) if dtype == AUTO else dtype


def fast_cpu_dtype() -> str:
    """Return ``"bfloat16"`` where this CPU has AMX or AVX512 for it and says so (Linux), else ``"float32"``."""
    return "bfloat16" if _FAST_BFLOAT16 & cpu_flags() else "float32"


def _fast_dtype(device: torch.device) -> str:
    import torch

    if device.type == "cpu":
        return fast_cpu_dtype()
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _AMPERE:
        return "bfloat16"
    return "float32"


def cpu_flags() -> set[str]:
    """Return what the CPU can do, as Linux lists it; nothing elsewhere."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return set()
    return set(facts.split())


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
