"""``litetext convert``: the same encoder in another layout."""

from __future__ import annotations

from pathlib import Path

import typer

from ..data import SHIPPED_PHRASES
from ..errors import choice_error
from ..outputs import Kind, check_file, check_folder
from .command import add
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, CONTEXT, HEADS, POSITIONS, position_reading
from .output import notes, print_json
from .vocabulary_option import HELP as VOCABULARY_HELP
from .vocabulary_option import pruned

LAYOUTS: dict[str, Kind] = {
    "litetext": "encoder",
    "transformers": "transformers model",
    "authors": "authors' encoder",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        convert,
        "convert",
        "litetext convert mini small --to litetext --vocabulary 900",
        "litetext convert mini student.safetensors --to authors",
        extra="sam3",
    )


def convert(
    source: str = typer.Argument(..., metavar="SRC", help="An encoder in any layout: file, folder or hub name."),
    destination: Path = typer.Argument(..., metavar="DST", help="A folder; for authors a .pt or .safetensors file."),
    to: str = typer.Option(..., help="litetext, transformers (model and processor) or authors."),
    model: str = typer.Option(None, help="For transformers: the SAM3 whose detector goes with it, if not SRC's own."),
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    vocabulary: str = typer.Option(None, metavar="FILE|N|FILE:N", help=VOCABULARY_HELP),
    prompts: Path = typer.Option(
        SHIPPED_PHRASES,
        help="Prompts to measure on what transformers' convention or a smaller vocabulary does.",
        show_default="163 phrases that ship",
    ),
    overwrite: bool = OVERWRITE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Write an encoder in litetext's, the authors' (a teacher: Meta's) or transformers' layout."""
    if to not in LAYOUTS:
        raise choice_error("layout", to, list(LAYOUTS))
    check = check_file if to == "authors" else check_folder
    check(destination, LAYOUTS[to], overwrite=overwrite, inputs=paths_of(source, model, vocabulary, prompts))
    from ..prompts import read_prompts

    texts = read_prompts(prompts)
    from ..encoders import read_checkpoint, write_authors, write_checkpoint

    checkpoint = read_checkpoint(
        source,
        heads=heads,
        context_length=context,
        positions=position_reading(positions),
        allow_nan=allow_nan,
    )
    report: dict[str, object] = {"source": source, "destination": str(destination), "layout": to}
    if vocabulary is not None:
        checkpoint, report["vocabulary"] = pruned(checkpoint, vocabulary, texts)
    report["parameters"] = checkpoint.config.parameters()
    if to == "litetext":
        write_checkpoint(checkpoint, destination, overwrite=overwrite)
    elif to == "authors":
        write_authors(checkpoint, destination)
    else:
        from ..data import resolve
        from ..hub import local_path
        from ..segment.transformers_folder import parity_note, write_transformers

        base = model or source
        detector = resolve(base) if base == "mini" else local_path(base)
        parity = write_transformers(checkpoint, detector, destination, texts, overwrite=overwrite)
        report["parity"] = {
            "mean_cosine": parity.mean_cosine,
            "min_cosine": parity.min_cosine,
            "max_abs": parity.max_abs,
        }
        notes.print(parity_note(parity).replace("**", ""), soft_wrap=True, highlight=False)
    if as_json:
        print_json(report)
    else:
        notes.print(f"{destination}: written in the {to} layout", highlight=False, soft_wrap=True)
