"""``litetext parity``: how far apart the same weights are under the authors' convention and transformers'."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from ..data import SHIPPED_PHRASES
from .encoder_options import ALLOW_NAN, CONTEXT, HEADS, POSITIONS, position_reading
from .output import console, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("parity")(parity)


def parity(
    checkpoint: str = typer.Argument(..., help="An encoder: a shipped name, file, folder or hub name."),
    prompts: Path = typer.Argument(SHIPPED_PHRASES, help="A .txt or .json of prompts; by default, phrases we ship."),
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Measure the token cosine between the two conventions an encoder of SAM3 is run under, on real tokens."""
    from ..prompts import read_prompts

    texts = read_prompts(prompts)
    from ..encoders import measure_parity, read_checkpoint

    read = read_checkpoint(
        checkpoint,
        heads=heads,
        context_length=context,
        positions=position_reading(positions),
        allow_nan=allow_nan,
    )
    result = measure_parity(read.module(), read.tokenizer, texts)
    if as_json:
        print_json(asdict(result) | {"by_length": {str(n): value for n, value in result.by_length.items()}})
        return
    table = Table("", "context", "pad id", "padding masked in", "positions", title=f"{checkpoint}: two conventions")
    for name, one in (("authors", result.first), ("transformers", result.second)):
        table.add_row(name, str(one.context_length), str(one.pad_id), one.mask_padding, one.positions)
    console.print(table)
    console.print(
        f"token cosine over {result.prompts} prompts, {result.tokens} real tokens: "
        f"mean {result.mean_cosine:.4f}, worst {result.min_cosine:.4f}; "
        f"worst prompt {result.worst_prompt!r} ({result.worst_prompt_cosine:.4f}); "
        f"largest difference {result.max_abs:.2g}",
        highlight=False,
        soft_wrap=True,
    )
