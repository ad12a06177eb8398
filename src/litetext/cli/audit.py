"""``litetext audit``: the paper's study of prompts and encoders, for any prompts and any encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import LitetextError, require
from ..outputs import OutputFolder
from ..progress import Progress, described
from .command import add
from .encoder_options import ALLOW_NAN
from .inputs import STDIN
from .output import console, notes, print_json, shown_progress, warn

if TYPE_CHECKING:
    from ..prompts import PromptCorpus
    from ..reports.page import Section


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        audit,
        "audit",
        "litetext audit phrases.txt",
        "litetext audit phrases.txt --encoder mini --out audit",
        extra="anatomy",
    )


def audit(
    prompts: list[str] = typer.Argument(
        None,
        help="Files (.txt, .csv, .json, .jsonl, .parquet, refs(*).p; COCO, LVIS, SA-Co), folders of them, or named "
        "sources (saco-gold, saco-silver, saco-veval, lvis, refcoco, refcoco+, refcocog, rf100-vl), or - for lines of "
        "standard input. By default the phrases about what mini knows, with its teacher as encoder.",
    ),
    encoder: str = typer.Option(
        None, help="An encoder to study: mini-teacher, a checkpoint, a transformers text model's folder."
    ),
    compare: list[str] = typer.Option([], help="A further encoder beside the first; may be given several times."),
    segmenter: str = typer.Option(
        None, help="A SAM3 that takes the encoder's features, to see what errors and edits do to its masks."
    ),
    image: list[str] = typer.Option([], help="A picture for the segmenter (default: scenes of mini's world)."),
    out: Path = typer.Option(
        Path("audit"), "--out", "-o", help="Folder for report.html, report.json, recipe.toml and figures/."
    ),
    contexts: str = typer.Option("8,16,32", help="Context lengths to examine."),
    merge: str = typer.Option("", help="Near-duplicates to remove: case, article, or case,article."),
    column: str = typer.Option(None, help="The column or field that holds the phrase, where its name is unusual."),
    limit: int = typer.Option(None, min=1, help="Stop after this many distinct phrases."),
    sample: int = typer.Option(5000, min=4, help="Prompts encoded for the manifold."),
    seed: int = typer.Option(0, help="Seed of every random draw."),
    truncation: float = typer.Option(0.01, min=0.0, max=0.99, help="Share of prompts the recommended context may cut."),
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print report.json on standard output."),
) -> None:
    """Study noun phrases and text encoders; recommend the shape of a student.

    Writes a page to look at (report.html), pictures, all figures as JSON, and recipe.toml for `litetext distill`.
    Questions 1 and 2 use CLIP's full vocabulary unless --encoder is given; the others need --encoder.
    """
    if compare and not encoder:
        raise LitetextError("--compare sets a second encoder beside the first; give the first with --encoder")
    windows = _windows(contexts)
    if not prompts and not encoder:
        encoder = "mini-teacher"
    if encoder and not segmenter:
        from ..data import SHIPPED_ENCODERS

        if encoder in SHIPPED_ENCODERS:
            segmenter = "mini"
    if segmenter and not encoder:
        raise LitetextError(f"--segmenter {segmenter} needs an encoder whose features it takes; give it with --encoder")
    if image and not segmenter:
        raise LitetextError("--image is of --segmenter; give that too, or leave it out")
    require("jinja2", "matplotlib")
    OutputFolder(out, "audit").check(["report.html", "report.json", "recipe.toml"])
    with shown_progress("auditing") as progress:
        corpus = _corpus(prompts, [name for name in merge.split(",") if name], column, limit, seed, progress)
        from ..anatomy.audit import audit as run_audit
        from ..anatomy.order import SYNONYMS
        from ..anatomy.report import to_json, write_report
        from ..anatomy.sections import sections, skipped

        subjects = []
        if encoder:
            from ..anatomy.subject import load_subject

            subjects = [load_subject(name, allow_nan=allow_nan) for name in [encoder, *compare]]
        gallery = None
        if segmenter:
            from ..mini.scenes import asked_scenes
            from ..probe.gallery import PHRASES_AN_IMAGE, gallery_of

            images: Sequence[tuple[Any, Sequence[str] | None]] = [(one, None) for one in image]
            images = images or asked_scenes(seed, PHRASES_AN_IMAGE)
            gallery = gallery_of(segmenter, images, corpus.phrases, subjects[0].tokenizer, seed, allow_nan=allow_nan)
        result = run_audit(
            corpus,
            subjects,
            windows=windows,
            sample=sample,
            seed=seed,
            truncation_bound=truncation,
            gallery=gallery,
            synonyms=_mini_synonyms() if segmenter == "mini" else SYNONYMS,
            progress=progress,
        )
        files = write_report(result, out, described(progress, "drawing"))
    for warning in result.recipe.warnings:
        warn(warning)
    if as_json:
        print_json(to_json(result))
    else:
        _show(sections(result), skipped(result))
        console.print()
    said = f"report, with every table and figure: {files.html}  recipe: {files.recipe}"
    notes.print(said, soft_wrap=True, highlight=False)


def _windows(contexts: str) -> list[int]:
    try:
        return [int(length) for length in contexts.split(",")]
    except ValueError:
        raise LitetextError(f"--contexts {contexts!r} is not a list of lengths; give for example 8,16,32") from None


def _corpus(
    prompts: list[str] | None,
    merge: list[str],
    column: str | None,
    limit: int | None,
    seed: int,
    progress: Progress,
) -> PromptCorpus:
    from ..prompts import corpus_of, read_corpus

    if prompts:
        inputs = [sys.stdin.buffer if one == STDIN else one for one in prompts]
        return read_corpus(
            inputs, merge=merge, column=column, limit=limit, progress=described(progress, "phrases read")
        )
    from ..mini.facts import known_phrases

    return corpus_of(known_phrases(limit or 5000, seed), "what mini knows", merge=merge)


def _mini_synonyms() -> Sequence[tuple[str, ...]]:
    """The nouns of mini's world that have synonyms of one word."""
    from ..mini.concepts import CONCEPTS

    groups = [tuple(word for word in concept.words if " " not in word) for concept in CONCEPTS]
    return [group for group in groups if len(group) > 1]


def _show(parts: list[Section], skipped: list[str]) -> None:
    """Print a sentence for every question, the recipe with its reasons, and what was not asked."""
    from rich.table import Table

    *questions, recipe = parts
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for part in questions:
        table.add_row(part.title, part.summary)
    for reason in skipped:
        table.add_row("skipped", reason, style="dim")
    console.print(table, highlight=False)
    console.print()
    (content,) = recipe.tables
    table = Table(box=None, title=recipe.title, title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    for name in content.header:
        table.add_column(name)
    for row in content.rows:
        table.add_row(*row)
    console.print(table, highlight=False)
