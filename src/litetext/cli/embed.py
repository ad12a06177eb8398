"""``litetext embed``: prompts to features on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import LitetextError
from ..outputs import blank_seal, check_file, sealed_file
from .command import add
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, CONTEXT, DTYPE, ENCODER_DEVICE, HEADS, POSITIONS, position_reading
from .inputs import PROMPT_FILE, prompt_rows
from .output import notes, print_json

if TYPE_CHECKING:
    from torch import Tensor


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        embed,
        "embed",
        "litetext embed mini phrases.txt --out features.safetensors",
        "litetext embed mini phrases.txt --context 8 --out features.safetensors",
    )


def embed(
    checkpoint: str = typer.Argument(..., help="An encoder: a shipped name, file, folder or hub name."),
    prompts: Path = typer.Argument(None, help=PROMPT_FILE),
    out: Path = typer.Option(
        ..., "--out", "-o", help="Where to write: tokens float32 [B, L, D], mask bool [B, L] (True = padding)."
    ),
    context: int = CONTEXT,
    positions: str = POSITIONS,
    ids: str = typer.Option(None, metavar="F.safetensors:KEY", help="Token ids [B, L] to feed instead of prompts."),
    heads: int = HEADS,
    overwrite: bool = OVERWRITE,
    device: str = ENCODER_DEVICE,
    dtype: str = DTYPE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Write the features of prompts, in their order, to a safetensors file."""
    if (prompts is None) == (ids is None):
        raise LitetextError("give either a file of PROMPTS or --ids F.safetensors:KEY")
    check_file(out, "feature file", overwrite=overwrite, inputs=paths_of(checkpoint, prompts, ids))
    texts = prompt_rows(prompts) if prompts is not None else []
    if ids is None:
        from ..encoders import load_encoder

        encoder = load_encoder(
            checkpoint,
            heads=heads,
            context_length=context,
            positions=position_reading(positions),
            device=device,
            dtype=dtype,
            allow_nan=allow_nan,
        )
        features = encoder.encode(texts).numpy()
    else:
        from ..encoders import load_torch_encoder

        given = _read_ids(ids)
        taking_ids = load_torch_encoder(
            checkpoint,
            heads=heads,
            context_length=context or given.shape[1],
            positions=position_reading(positions),
            device=device,
            dtype=dtype,
            allow_nan=allow_nan,
        )
        features = taking_ids.encode_ids(given).numpy()
    import numpy as np
    from safetensors.numpy import save_file

    with sealed_file(out, "feature file") as temporary:
        # contiguous, since save_file writes the bytes of other arrays in the order they lie in memory
        arrays = {"tokens": features.tokens, "mask": features.mask}
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(arrays, str(temporary), metadata={"origin": blank_seal("feature file")})
    shape = list(features.tokens.shape)
    if as_json:
        print_json({"out": str(out), "tokens": shape, "mask": list(features.mask.shape)})
    else:
        notes.print(f"{out}: tokens {shape}, mask {shape[:2]}", highlight=False)


def _read_ids(spec: str) -> Tensor:
    path, _, key = spec.rpartition(":")
    if not path or not key:
        raise LitetextError(f"--ids {spec!r} must read F.safetensors:KEY, such as ids.safetensors:ids")
    from ..encoders.tensorfile import open_tensors

    file = open_tensors(path)
    if key not in file:
        raise LitetextError(f"{path}: key {key!r} is missing; it holds {', '.join(sorted(file)[:8])}")
    ids = file.get(key)
    if ids.ndim != 2 or ids.dtype.is_floating_point or ids.shape[1] < 1:
        raise LitetextError(f"{path}:{key} has shape {tuple(ids.shape)}, {ids.dtype}; ids are integers [B, L]")
    return ids.long()
