"""``litetext parity``: how far two implementations, or two conventions of the same weights, are apart."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ..data import SHIPPED_PHRASES
from ..errors import LitetextError
from ..segment.convention import CONVENTIONS
from .command import add
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, CONTEXT, DTYPE, ENCODER_DEVICE, HEADS, POSITIONS, position_reading
from .output import console, notes, print_json
from .parity_stages import (
    Running,
    questions_of,
    record_model,
    record_reference,
    show_stages,
    sides_of,
    stages_document,
)

if TYPE_CHECKING:
    from ..encoders import Parity
    from ..segment.parity import StageParity

DIFFERENT = 3
"""The exit code where a stage exceeds the tolerance."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        parity,
        "parity",
        "litetext parity mini",
        extra="sam3",
    )


def parity(
    model: str = typer.Argument(..., help="An encoder or a whole model: a shipped name, file, folder or hub name."),
    prompts: Path = typer.Argument(
        SHIPPED_PHRASES, help="Phrases: .txt (one a line), .csv, .json, …", show_default="163 phrases that ship"
    ),
    against: str = typer.Option(
        None, help="transformers, onnx (an export of MODEL), another model, or the folder of a recording."
    ),
    conventions: str = typer.Option(
        None, "--as", metavar="A[,B]", help=f"Detector conventions ({', '.join(CONVENTIONS)}): MODEL's, or two of it."
    ),
    images: list[Path] = typer.Option([], "--image", help="A photo to compare on; by default a scene we ship."),
    phrases: list[str] = typer.Option(
        [], "--prompt", "-p", help="A noun phrase to compare on; by default some of that scene's."
    ),
    threshold: float = typer.Option(0.5, min=0.0, max=1.0, help="Lowest score of a detection."),
    tolerance: float = typer.Option(
        None, min=0.0, help="How far a number may be off (of numbers beyond 1: as a part of the largest); 0.001."
    ),
    record: Path = typer.Option(None, metavar="DIR", help="Write MODEL's stages there, for use on another machine."),
    overwrite: bool = OVERWRITE,
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    device: str = ENCODER_DEVICE,
    dtype: str = DTYPE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Compare a model with another implementation stage by stage, or an encoder's two padding conventions.

    With --against, or two conventions after --as, stages from token ids to final detections are compared, and the exit
    code is 3 where one is off by more than the tolerance; MODEL alone runs on --device and in --dtype. Without them, an
    encoder is run under the two conventions that SAM3's text encoders meet, and the cosine of its real tokens is shown.
    """
    sides = sides_of(conventions)
    staged = against is not None or len(sides) == 2 or record is not None
    own = {"--image": images, "--prompt": phrases, "--tolerance": tolerance, "--device": device, "--dtype": dtype}
    _check_options(sides, against, staged, own, {"--heads": heads, "--context": context, "--positions": positions})
    if not staged:
        gap = _text_gap(model, prompts, heads, context, position_reading(positions), allow_nan)
        _print(model, None, gap, as_json)
        return
    running = Running(device, dtype, allow_nan)
    result = _compared(model, against, sides, images, phrases, threshold, tolerance, record, overwrite, running)
    if result is None:
        if as_json:
            print_json({"recording": str(record)})
        return
    _print(model, result, _gap_of_model(model, prompts, allow_nan), as_json)
    if result.first_exceeding is not None:
        raise typer.Exit(DIFFERENT)


def _check_options(
    sides: list[str], against: str | None, staged: bool, given: dict[str, Any], of_encoders: dict[str, Any]
) -> None:
    from ..segment.stages import is_recording

    for option, value in (given | {"--as": sides}).items():
        if value not in (None, []) and not staged:
            raise LitetextError(f"{option} is of the comparison of whole models; give --against, --as A,B or --record")
    for option, value in of_encoders.items():
        if value is not None and staged:
            raise LitetextError(f"{option} is of an encoder alone; leave it out where whole models are compared")
    if against is not None and len(sides) == 2:
        raise LitetextError("--as A,B compares the model with itself; give one convention beside --against")
    if against is not None and is_recording(Path(against)) and (given["--image"] or given["--prompt"]):
        raise LitetextError(
            f"{against} is a recording, with photos and prompts of its own; leave out --image, --prompt"
        )


def _compared(
    model: str,
    against: str | None,
    sides: list[str],
    images: list[Path],
    phrases: list[str],
    threshold: float,
    tolerance: float | None,
    record: Path | None,
    overwrite: bool,
    running: Running,
) -> StageParity | None:
    """The comparison, or None where MODEL is only recorded."""
    from ..outputs import check_folder
    from ..segment.parity import TOLERANCE, compare
    from ..segment.stages import write_recording

    if record is not None:
        check_folder(record, "recording", overwrite=overwrite, inputs=paths_of(model, against, *images))
    questions, reference = questions_of(images, phrases, threshold), None
    if against is not None or len(sides) == 2:
        with notes.status(f"running {against or f'{model} as {sides[0]}'}"):
            reference = record_reference(model, against, sides, questions, running)
            questions = reference.questions
    with notes.status(f"running {model}"):
        found = record_model(model, sides, questions, reference, running)
    if record is not None:
        write_recording(found, record, overwrite=overwrite)
        notes.print(f"written: {record}/", highlight=False, soft_wrap=True)
    return None if reference is None else compare(found, reference, TOLERANCE if tolerance is None else tolerance)


def _text_gap(
    encoder: str | Path, prompts: Path, heads: int | None, context: int | None, positions: Any, allow_nan: bool
) -> Parity:
    from ..encoders import measure_parity, read_checkpoint
    from ..prompts import read_prompts

    texts = read_prompts(prompts)
    read = read_checkpoint(encoder, heads=heads, context_length=context, positions=positions, allow_nan=allow_nan)
    return measure_parity(read.module(), read.tokenizer, texts)


def _gap_of_model(model: str, prompts: Path, allow_nan: bool) -> Parity | None:
    """The gap of a model's own text encoder; None of an export, whose convention is fixed."""
    from ..segment.sources import is_exported, locate

    parts = locate(model)
    return None if is_exported(parts.detector) else _text_gap(parts.text, prompts, None, None, None, allow_nan)


def _print(model: str, stages: StageParity | None, gap: Parity | None, as_json: bool) -> None:
    if as_json:
        own = None if gap is None else asdict(gap)
        if own is not None:
            own["by_length"] = {str(n): value for n, value in own["by_length"].items()}
        print_json({"text_convention": own, "stages": None if stages is None else stages_document(stages)})
        return
    if stages is not None:
        show_stages(stages)
    if gap is not None:
        _show_gap(model, gap)


def _show_gap(name: str, gap: Parity) -> None:
    table = Table(
        "", "context", "pad id", "padding masked in", "positions", title=f"{name}: two conventions of its text"
    )
    for side, one in (("authors", gap.first), ("transformers", gap.second)):
        table.add_row(side, str(one.context_length), str(one.pad_id), one.mask_padding, one.positions)
    console.print(table)
    console.print(
        f"token cosine over {gap.prompts} prompts, {gap.tokens} real tokens: "
        f"mean {gap.mean_cosine:.4f}, worst {gap.min_cosine:.4f}; "
        f"worst prompt {gap.worst_prompt!r} ({gap.worst_prompt_cosine:.4f}); "
        f"largest difference {gap.max_abs:.2g}",
        highlight=False,
        soft_wrap=True,
    )
