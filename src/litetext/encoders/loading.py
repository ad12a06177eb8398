"""From a name to a text encoder of whatever kind; torch is imported only for encoders that run in it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import SHIPPED_ENCODERS, resolve
from ..errors import LitetextError, extras_named, short
from .config import Positions
from .features import TextEncoder
from .runtime import OnnxTextEncoder, has_graph, is_exported

if TYPE_CHECKING:
    import torch


def load_encoder(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    heads: int | None = None,
    context_length: int | None = None,
    positions: Positions | None = None,
    threads: int | None = None,
    allow_nan: bool = False,
    backend: str | None = None,
) -> TextEncoder:
    """Load a text encoder ready to encode.

    Args:
        name_or_path: a directory that `litetext export` wrote or a bank that `litetext bank build` wrote, neither of
            which needs torch or ever imports it; or a checkpoint, see `read_checkpoint`.
        device: where a checkpoint runs; the CPU by default, where an export and a bank always run.
        dtype: in what a checkpoint runs, such as ``"bfloat16"``; float32 by default.
        heads: see `read_checkpoint`, as for the next two; all are fixed in an export or a bank.
        context_length: tokens a prompt is padded to.
        positions: how a position table longer than the context is read.
        threads: CPU threads of an exported encoder.
        allow_nan: load a checkpoint with weights that are NaN or infinite too.
        backend: ``"onnx"`` runs a checkpoint by the graph beside it, where it has one; otherwise only an installation
            without torch does.

    Raises:
        LitetextError: nothing of that name, a malformed file, or an option that its kind does not take.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise LitetextError(f"an encoder is named by a text or a path, got {short(name_or_path)}")
    name = os.fspath(name_or_path)
    path = resolve(SHIPPED_ENCODERS[name]) if name in SHIPPED_ENCODERS else Path(name)
    fixed = {"heads": heads, "context_length": context_length, "positions": positions, "dtype": dtype}
    given = [name for name, value in fixed.items() if value is not None]
    if has_graph(path) and not given and device is None and (backend == "onnx" or find_spec("torch") is None):
        return OnnxTextEncoder(path, threads=threads)
    if is_exported(path):
        _refuse(path, "an exported encoder", given)
        return OnnxTextEncoder(path, threads=threads)
    from .bank import ConceptBank, is_bank

    if is_bank(path):
        _refuse(path, "a concept bank", given)
        return ConceptBank(path)
    with extras_named():
        from .checkpoints import load_torch_encoder
    return load_torch_encoder(
        name_or_path,
        device=device,
        dtype=dtype,
        heads=heads,
        context_length=context_length,
        positions=positions,
        allow_nan=allow_nan,
    )


def _refuse(path: Path, kind: str, options: list[str]) -> None:
    if options:
        raise LitetextError(f"{path} is {kind}, whose {options[0]} is fixed; give the checkpoint it was made from")
