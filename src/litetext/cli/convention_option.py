"""``--as``: the detector convention, shared by the commands that load a whole model."""

from __future__ import annotations

from typing import Any

import typer

from ..segment.convention import CONVENTIONS

AS: Any = typer.Option(
    None,
    "--as",
    metavar="|".join(CONVENTIONS),
    help="Run the detector as Meta or as transformers does; by default as its files say, else as Meta.",
)
