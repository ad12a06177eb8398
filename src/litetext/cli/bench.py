"""``litetext bench``: measure on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from ..data import SHIPPED_PHRASES
from ..errors import LitetextError
from .command import add
from .encoder_options import ALLOW_NAN, COMPILE, DEVICE, DTYPE, IMAGE_SIZE
from .output import console, notes, print_json, tell


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")
    add(group, text, "text", "litetext bench text --row s0-eager --row s0-16 --batch 1", extra="sam3")
    add(group, segment, "segment", "litetext bench segment --model mini --image-size 96", extra="sam3")
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

    if reference is not None and not encoder:
        raise LitetextError("--reference is what --encoder rows are compared with; give --encoder too, or leave it out")
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


def segment(
    model: str = typer.Option("mini", help="mini, photo, a folder (of a model or of its export), or a hub name."),
    backend: str = typer.Option(
        None, help="torch, or for graphs onnx or openvino; by default torch where the model has weights."
    ),
    image_size: int = IMAGE_SIZE,
    prompts: int = typer.Option(8, min=1, help="Phrases that are asked of one image."),
    batch: int = typer.Option(8, min=1, help="Phrases that the detector decodes together."),
    threads: int = typer.Option(None, min=1, help="CPU threads; all by default."),
    device: str = DEVICE,
    dtype: str = DTYPE,
    compiled: bool = COMPILE,
    rounds: int = typer.Option(3, min=1, help="How often each stage is taken; figures are medians."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Time the stages of segmenting: an image through the vision encoder, a prompt through the detector, its pixels."""
    from ..bench.segment import SegmentTask, bench_segment, phrases_for
    from ..prompts import read_prompts

    phrases = phrases_for(read_prompts(SHIPPED_PHRASES), prompts)
    task = SegmentTask(model, phrases, backend, device, dtype, image_size, threads, rounds, batch, compiled)
    with notes.status(f"timing {model}"):
        found = bench_segment(task)
    if as_json:
        print_json(asdict(found))
        return
    per = {"vision": "an image", "detector": "a prompt", "pixels": "ten masks", "text": "a prompt"}
    table = Table("stage", "of", "ms", "GFLOP", "share of a matrix product's speed")
    for stage in found.stages:
        share = "" if stage.share is None else f"{100 * stage.share:.0f} %"
        gflops = "" if stage.gflops is None else f"{stage.gflops:.1f}"
        table.add_row(stage.name, per[stage.name], f"{stage.ms:.1f}", gflops, share)
    console.print(table)
    where = f"{found.threads} threads" if found.threads else "a GPU"
    tell(f"{found.backend} at {found.image_size} pixels, {where}, {found.prompts} prompts; peak {found.peak_mb:.0f} MB")


def _say(completed: int, total: int | None = None, description: str | None = None) -> None:
    """Print what is being done: a bar would run in the timed process's way."""
    notes.print(f"{completed + 1} of {total}: {description}", style="dim", highlight=False)
