"""The comparison of whole models behind ``litetext parity``: who is run, on what, and the table."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..data import samples
from ..errors import LitetextError
from ..segment.convention import named_convention
from .output import console

if TYPE_CHECKING:
    from ..segment import Segmenter
    from ..segment.parity import StageParity
    from ..segment.stages import Recording, StageInputs

_PROMPTS = 3  # by default: a full-size model takes a CPU many seconds a prompt


@dataclass(frozen=True)
class Running:
    """How MODEL is run; what it is compared with runs on the CPU in float32.

    Attributes:
        device: where; None is the CPU.
        dtype: in what; None is float32.
        allow_nan: go on with weights that are NaN or infinite.
    """

    device: str | None = None
    dtype: str | None = None
    allow_nan: bool = False


def sides_of(conventions: str | None) -> list[str]:
    """The conventions that ``--as A,B`` names: none, one or two."""
    sides = [] if conventions is None else [named_convention(name.strip()).name for name in conventions.split(",")]
    if len(sides) > 2:
        raise LitetextError(f"--as takes one convention or two, got {conventions!r}")
    return sides


def questions_of(images: Sequence[Path], phrases: Sequence[str], threshold: float) -> StageInputs:
    """What is asked: of the photos given, or of a scene that ships."""
    from ..images import read_image
    from ..segment.stages import StageInputs

    sample = samples()[0]
    photos = tuple(read_image(path) for path in images or [sample.image])
    return StageInputs(photos, tuple(dict.fromkeys(phrases or sample.phrases[:_PROMPTS])), threshold)


def record_reference(
    model: str, against: str | None, sides: Sequence[str], questions: StageInputs, running: Running
) -> Recording:
    """Run what MODEL is compared with; a recording is read, with the questions it was asked."""
    from ..segment.stages import is_recording, read_recording, record

    if against is None:
        return record(_segmenter(model, sides[0], running), questions, f"{model} as {sides[0]}")
    if against == "transformers":
        return _transformers(model, questions, running.allow_nan)
    if against == "onnx":
        with tempfile.TemporaryDirectory() as temporary:
            return record(
                _exported(model, sides, questions, Path(temporary) / "onnx", running.allow_nan), questions, "onnx"
            )
    if is_recording(Path(against)):
        return read_recording(Path(against))
    return record(_segmenter(against, None, Running(allow_nan=running.allow_nan)), questions, against)


def record_model(
    model: str, sides: Sequence[str], questions: StageInputs, reference: Recording | None, running: Running
) -> Recording:
    """Run MODEL; of the masks, those that the reference has."""
    from ..segment.stages import record

    side = sides[-1] if sides else None
    queries = None if reference is None else [stages.queries for stages in reference.photos]
    return record(_segmenter(model, side, running), questions, model if side is None else f"{model} as {side}", queries)


def _segmenter(model: str, convention: str | None, running: Running) -> Segmenter:
    from ..segment import Segmenter

    return Segmenter.from_pretrained(
        model,
        device=running.device or "cpu",
        dtype=running.dtype,
        convention=convention,
        allow_nan=running.allow_nan,
    )


def _transformers(model: str, questions: StageInputs, allow_nan: bool) -> Recording:
    from ..encoders import load_encoder
    from ..segment.ported import record_transformers
    from ..segment.sources import is_exported, locate

    parts = locate(model)
    if is_exported(parts.detector):
        raise LitetextError(f"{model} is an export, which transformers cannot run; give the model it was made from")
    encoder = load_encoder(parts.text, allow_nan=allow_nan)
    return record_transformers(parts.detector, encoder, questions, allow_nan=allow_nan)


def _exported(model: str, sides: Sequence[str], questions: StageInputs, folder: Path, allow_nan: bool) -> Segmenter:
    """MODEL as an export in ``folder``; how far it may be off is for the comparison to say."""
    from ..encoders import read_checkpoint
    from ..segment.export import export_segmenter
    from ..segment.sources import locate

    parts = locate(model)
    text = read_checkpoint(parts.text, allow_nan=allow_nan)
    export_segmenter(
        parts.detector,
        text,
        folder,
        questions.prompts,
        tolerance=math.inf,
        convention=sides[0] if sides else None,
        allow_nan=allow_nan,
    )
    return _segmenter(str(folder), None, Running())


def stages_document(result: StageParity) -> Any:
    """The result as plain values."""
    return asdict(result) | {"first_exceeding": result.first_exceeding}


def show_stages(result: StageParity) -> None:
    """Print the table of stages, and the first that is off."""
    table = Table(title=f"{result.implementation} against {result.reference}")
    for column in ("stage", "numbers", "largest difference", "mean", "largest number", ""):
        table.add_column(column, justify="left" if column in ("stage", "") else "right")
    for one in result.stages:
        verdict = Text("off", "red") if one.exceeds else "same"
        table.add_row(one.stage, f"{one.values:,}", f"{one.max:.2g}", f"{one.mean:.2g}", f"{one.scale:.3g}", verdict)
    console.print(table)
    first = result.first_exceeding
    verdict = f"first stage beyond the tolerance: {first}" if first else "every stage is within the tolerance"
    console.print(
        f"{verdict} ({result.tolerance:g}); detections: {result.detections[0]} against {result.detections[1]}",
        highlight=False,
        soft_wrap=True,
    )
