"""``litetext convert``: the same encoder, or the same whole model, in another layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..data import SHIPPED_ENCODERS, SHIPPED_PHRASES
from ..devices import DTYPES, floating_dtype
from ..errors import LitetextError, choice_error
from ..outputs import Kind, check_file, check_folder, check_place
from ..segment.sources import SHIPPED, holds_detector
from .command import add
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, CONTEXT, HEADS, POSITIONS, position_reading
from .output import notes, print_json, shown_progress
from .vocabulary_option import HELP as VOCABULARY_HELP
from .vocabulary_option import pruned

if TYPE_CHECKING:
    from ..encoders import Parity
    from ..encoders.encoder_file import EncoderFile
    from ..progress import Progress

LAYOUTS = ("litetext", "transformers", "authors", "meta")
_FILES = ("authors", "meta")
"""The layouts that are one file; they are the same, but that Meta's has no students."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        convert,
        "convert",
        "litetext convert sam3.pt sam3 --to transformers",
        "litetext convert mini small --to litetext --vocabulary 900",
        "litetext convert sam3_litetext_mobileclip_s0_ctx16.pt student.safetensors --to authors --encoder",
        extra="sam3",
    )


def convert(
    source: str = typer.Argument(
        ..., metavar="SRC", help="A whole model or an encoder in any layout: file, folder or hub name."
    ),
    destination: Path = typer.Argument(
        ..., metavar="DST", help="A folder; for meta and authors a .pt or .safetensors file."
    ),
    to: str = typer.Option(..., help="litetext, transformers (model and processor), meta or authors."),
    model: str = typer.Option(None, help="The SAM3 whose detector goes with SRC's text encoder, if not SRC's own."),
    whole: bool = typer.Option(
        None,
        "--whole/--encoder",
        help="The whole model, or its text encoder alone; whole where SRC is the path or hub name of a model.",
        show_default=False,
    ),
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    vocabulary: str = typer.Option(None, metavar="FILE|N|FILE:N", help=VOCABULARY_HELP),
    dtype: str = typer.Option(None, metavar="|".join(DTYPES), help="What to store; by default what SRC does."),
    prompts: Path = typer.Option(
        SHIPPED_PHRASES,
        help="Prompts to measure on what transformers' convention or a smaller vocabulary does.",
        show_default="163 phrases that ship",
    ),
    overwrite: bool = OVERWRITE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Write a whole model or a text encoder in transformers', Meta's, its authors' or litetext's layout.

    Tensors are read and written one after the other, and keep their dtype. Meta's layout with a student in the text
    encoder's place is its authors'.
    """
    if to not in LAYOUTS:
        raise choice_error("layout", to, list(LAYOUTS))
    if whole is False and (model is not None or to == "transformers"):
        raise LitetextError(f"--encoder writes no detector; leave it out, or {'--model' if model else f'--to {to}'}")
    stored = None if dtype is None else floating_dtype(dtype)
    inputs = paths_of(source, model, vocabulary, prompts)
    check_place(destination, inputs)
    base = _files_of(model or source)
    if whole is None:
        whole = to == "transformers" or model is not None or (source not in SHIPPED_ENCODERS and holds_detector(base))
    if whole and not holds_detector(base):
        raise LitetextError(f"{base}: there is no detector here; name the model whose detector it is: --model MODEL")
    check: Any = check_file if to in _FILES else check_folder
    check(destination, _kind(to, whole), overwrite=overwrite, inputs=inputs)
    from ..prompts import read_prompts

    texts = read_prompts(prompts)
    reading = {"heads": heads, "context_length": context, "positions": position_reading(positions)}
    text, effect = _encoder(source, reading, vocabulary, texts, allow_nan, whole=whole)
    text = text if stored is None else text.cast(stored)
    report = {"source": source, "destination": str(destination), "layout": to, "whole": whole} | effect
    report["parameters"] = text.config.parameters()
    if whole:
        from ..segment.whole_model import open_model

        opened = open_model(base)
        opened = opened if stored is None else opened.cast(stored)
        with shown_progress("writing (MB)") as show:
            writing = _Writing(opened, text, destination, overwrite, allow_nan, _in_megabytes(show))
            report |= writing.to(to, texts)
    else:
        _write_encoder(text, destination, to, overwrite)
    for line in _remarks(report):
        notes.print(line, soft_wrap=True, highlight=False)
    if as_json:
        print_json(report)
    else:
        notes.print(f"{destination}: written in the {to} layout", highlight=False, soft_wrap=True)


def _files_of(name: str) -> Path:
    """Where a whole model or an encoder is; a name that ships is here a model's."""
    from ..data import resolve
    from ..encoders.encoder_file import find_files

    return resolve(name) if name in SHIPPED else find_files(name)


def _kind(to: str, whole: bool) -> Kind:
    if to == "transformers":
        return "transformers model"
    if whole:
        return "whole model"
    return "authors' encoder" if to in _FILES else "encoder"


def _encoder(
    source: str,
    reading: dict[str, Any],
    vocabulary: str | None,
    prompts: list[str],
    allow_nan: bool,
    *,
    whole: bool,
) -> tuple[EncoderFile, dict[str, Any]]:
    """The text encoder, and what a smaller vocabulary does to it; that of a whole model is read as it is written."""
    from ..encoders import open_checkpoint, read_checkpoint

    if whole and vocabulary is None:
        return open_checkpoint(source, **reading), {}
    checkpoint = read_checkpoint(source, **reading, allow_nan=allow_nan)
    if vocabulary is None:
        return checkpoint.file(), {}
    checkpoint, effect = pruned(checkpoint, vocabulary, prompts)
    return checkpoint.file(), {"vocabulary": effect}


def _write_encoder(text: EncoderFile, destination: Path, to: str, overwrite: bool) -> None:
    from ..encoders import write_authors, write_checkpoint

    if to in _FILES:
        write_authors(text, destination)
    else:
        write_checkpoint(text, destination, overwrite=overwrite)


@dataclass(frozen=True)
class _Writing:
    """A whole model on its way to ``destination``."""

    model: Any
    text: EncoderFile
    destination: Path
    overwrite: bool
    allow_nan: bool
    progress: Progress

    def to(self, layout: str, prompts: list[str]) -> dict[str, Any]:
        """Write it; return what is to be known of it."""
        given: dict[str, Any] = {"allow_nan": self.allow_nan, "progress": self.progress}
        if layout in _FILES:
            from ..segment.meta_writer import write_meta

            return {"zeros": write_meta(self.model, self.text, self.destination, **given)}
        given["overwrite"] = self.overwrite
        if layout == "litetext":
            from ..segment.litetext_folder import write_litetext

            write_litetext(self.model, self.text, self.destination, **given)
            return {}
        from ..segment.transformers_folder import parity_note, write_transformers

        parity = write_transformers(self.model, self.text, self.destination, prompts, **given)
        return {"parity": _figures(parity), "note": parity_note(parity).replace("**", "")}


def _figures(parity: Parity | None) -> dict[str, float]:
    """How far transformers' convention moves the features; a causal encoder's not at all."""
    if parity is None:
        return {"mean_cosine": 1.0, "min_cosine": 1.0, "max_abs": 0.0}
    return {"mean_cosine": parity.mean_cosine, "min_cosine": parity.min_cosine, "max_abs": parity.max_abs}


def _in_megabytes(show: Progress) -> Progress:
    def told(completed: int, total: int | None = None, _: str | None = None) -> None:
        show(completed // 10**6, None if total is None else total // 10**6)

    return told


def _remarks(report: dict[str, Any]) -> list[str]:
    """What is not as it was, for people."""
    lines = [report["note"]] if "note" in report else []
    if report.get("zeros"):
        lines.append(f"{len(report['zeros'])} tensors that SRC does not have are zeros: {', '.join(report['zeros'])}")
    return lines
