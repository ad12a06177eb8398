"""``litetext bank``: concepts embedded beforehand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from ..outputs import check_file
from .command import add
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, DTYPE, ENCODER_DEVICE
from .inputs import PROMPT_FILE, prompt_rows
from .output import notes, print_json, shown_progress


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Banks of concepts embedded beforehand.")
    group.callback()(_banks)  # with a callback the group stays a group though it has one command
    add(group, build, "build", "litetext bank build concepts.txt --text mini --out bank.safetensors")
    app.add_typer(group, name="bank")


def _banks() -> None:
    pass


def build(
    concepts: Path = typer.Argument(..., help=PROMPT_FILE),
    text: str = typer.Option(..., help="The encoder: a checkpoint, an exported directory, a hub name."),
    out: Path = typer.Option(..., "--out", "-o", help="The bank to write, such as bank.safetensors."),
    device: str = ENCODER_DEVICE,
    dtype: str = DTYPE,
    overwrite: bool = OVERWRITE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Embed concepts once; `segment --text bank.safetensors` then needs no text encoder."""
    check_file(out, "concept bank", overwrite=overwrite, inputs=paths_of(concepts, text))
    phrases = [row for row in prompt_rows(concepts) if row.strip()]  # which refuses a file of empty rows alone
    from ..encoders import build_bank, load_encoder

    encoder = load_encoder(text, device=device, dtype=dtype, allow_nan=allow_nan)
    with shown_progress("embedding") as progress:
        written = build_bank(phrases, encoder, out, encoder_name=text, progress=progress)
    if as_json:
        print_json({"out": str(out), "encoder": text} | asdict(written))
    else:
        line = f"{out}: {written.concepts:,} concepts of {written.phrases:,} phrases, {written.bytes:,} bytes"
        notes.print(line, highlight=False, soft_wrap=True)
