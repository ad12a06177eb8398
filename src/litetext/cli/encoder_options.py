"""Options that several commands share: what an encoder's file may leave unsaid."""

from __future__ import annotations

from typing import Any, Literal

import typer

from ..devices import DTYPES
from ..errors import choice_error

HEADS: Any = typer.Option(None, "--heads", min=1, help="Attention heads, where neither a config nor width / 64 says.")
CONTEXT: Any = typer.Option(None, "--context", min=2, help="Context length, if not the encoder's own.")
POSITIONS: Any = typer.Option(
    None, "--positions", help="How a position table longer than the context is read: slice or interpolate."
)
DEVICE: Any = typer.Option(None, "--device", help="cpu, cuda, cuda:1, mps, …; by default a GPU where there is one.")
ENCODER_DEVICE: Any = typer.Option(None, "--device", help="cpu, cuda, cuda:1, mps, …; by default the CPU.")
DTYPE: Any = typer.Option(
    None,
    "--dtype",
    help=f"Compute in {', '.join(DTYPES)} or auto (bfloat16 where the device multiplies it fast); by default float32.",
)
IMAGE_SIZE: Any = typer.Option(
    None,
    "--image-size",
    min=1,
    help="Side that pictures are resized to, a multiple of the model's patch; as trained unless said. Fewer is faster.",
)
COMPILE: Any = typer.Option(
    False,
    "--compile",
    help="Compile the model for this machine (torch.compile): minutes at first, faster after.",
)
ALLOW_NAN: Any = typer.Option(False, "--allow-nan", help="Go on with weights that are NaN or infinite.")


def position_reading(positions: str | None) -> Literal["slice", "interpolate"] | None:
    """Return the value of ``--positions``, checked."""
    if positions not in (None, "slice", "interpolate"):
        raise choice_error("--positions", positions, ("slice", "interpolate"))
    return positions  # type: ignore[return-value]
