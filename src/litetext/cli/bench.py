"""``litetext bench``: measure on this machine."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table

from ..data import SHIPPED_PHRASES
from .command import add
from .encoder_options import ALLOW_NAN, DTYPE
from .output import console, notes, print_json


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")
    add(group, text, "text", "litetext bench text --row s0-eager --row s0-16 --batch 1", extra="sam3")
    app.add_typer(group, name="bench")


def text(
    prompts: Path = typer.Option(
        SHIPPED_PHRASES, help="Phrases: .txt (one a line), .csv, .json, …", show_default="163 phrases that ship"
    ),
    row: list[str] = typer.Option(None, help="Only these rows (teacher, s0-eager, s0-16, …); all by default."),
    encoder: list[str] = typer.Option(None, help="A checkpoint or exported directory to add as a row (repeatable)."),
    reference: str = typer.Option(None, help="The checkpoint that --encoder rows are compared with (min_cosine)."),
    batch: list[int] = typer.Option([1, 64], min=1, help="Prompts a call (repeatable)."),
    threads: int = typer.Option(None, min=1, help="CPU threads; all by default."),
    device: str = typer.Option("cpu", help="cpu or cuda."),
    dtype: str = DTYPE,
    rounds: int = typer.Option(5, min=1, help="How often the rows take turns; figures are medians over rounds."),
    memory: bool = typer.Option(True, help="Measure peak memory, a process a row."),
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Time text encoders side by side: the teacher, the students, and the encoders the paper compares (table 8)."""
    from ..prompts import read_prompts

    texts = read_prompts(prompts)
    from ..bench.text import as_dicts, bench_text, candidates

    chosen = candidates(row or None, encoder or (), dtype=dtype, allow_nan=allow_nan)
    notes.print("weights are random but for --encoder rows: speed and size do not depend on them", style="dim")
    rows = bench_text(
        chosen,
        texts,
        batches=batch,
        threads=threads,
        device=device,
        rounds=rounds,
        memory=memory,
        reference=reference,
        allow_nan=allow_nan,
        progress=_say,
    )
    if as_json:
        print_json({"rows": as_dicts(rows)})
        return
    table = Table(
        "encoder", "L", "batch", "texts/s", "vs teacher", "vs S0", "params", "live", "GFLOP", "peak MB", "worst cosine"
    )
    for one in rows:
        ratios = [f"{value:.2f}x" if value else "" for value in (one.vs_teacher, one.vs_s0_eager)]
        counts = [f"{n / 1e6:.2f}M" for n in (one.parameters, one.live_parameters)]
        table.add_row(
            one.name, str(one.L), str(one.batch), f"{one.texts_per_s:.1f}", *ratios, *counts, f"{one.gflops:.2f}",
            f"{one.peak_mb:.0f}" if memory else "", f"{one.min_cosine:.4f}" if one.min_cosine is not None else "",
        )  # fmt: skip
    console.print(table)


def _say(completed: int, total: int | None = None, description: str | None = None) -> None:
    """Print what is being done: a bar would run in the timed process's way."""
    notes.print(f"{completed + 1} of {total}: {description}", style="dim", highlight=False)
