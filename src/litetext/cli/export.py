"""``litetext export``: an encoder, or a whole model, for devices without torch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..data import SHIPPED_PHRASES
from ..errors import LitetextError, choice_error
from ..outputs import Kind, check_folder
from .command import add
from .convention_option import AS
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, CONTEXT, HEADS, POSITIONS, position_reading
from .image_size_option import IMAGE_SIZE_OR_BUDGET, chosen_image_size
from .inputs import image_inputs
from .output import notes, print_json
from .vocabulary_option import HELP as VOCABULARY_HELP
from .vocabulary_option import pruned

if TYPE_CHECKING:
    from ..encoders.export import Export
    from ..segment import Segmenter
    from ..segment.whole_export import WholeExport


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        export,
        "export",
        "litetext export mini device --precision int8",
        "litetext export mini device --whole",
        extra="export",
    )


def export(
    checkpoint: str = typer.Argument(
        ..., help="An encoder, or with --whole a model: a name, file, folder or hub name."
    ),
    destination: Path = typer.Argument(..., metavar="DST", help="The folder to write."),
    whole: bool = typer.Option(False, "--whole", help="Export a whole model: vision, text and decoder."),
    text: str = typer.Option(None, help="With --whole: another text encoder for it; by default the model's own."),
    convention: str = AS,
    image_size: str = IMAGE_SIZE_OR_BUDGET,
    to: str = typer.Option("onnx", help="onnx."),
    precision: str = typer.Option("fp32", help="Of the text encoder: fp32, fp16 (half the bytes) or int8."),
    graph_precision: str = typer.Option(
        "fp32",
        help="With --whole: of vision, detector and pixels: fp32, int8 (a quarter of the bytes, and faster), int4 "
        "(fewer still, at a cost in quality) or nncf-int8 (vision and pixels, for OpenVINO; needs --calibrate).",
    ),
    calibrate: list[str] = typer.Option(
        [],
        metavar="IMAGE",
        help="nncf-int8: images, folders or quoted patterns like those that the model will see; repeat it for more.",
    ),
    vocabulary: str = typer.Option(None, metavar="FILE|N|FILE:N", help=VOCABULARY_HELP),
    prompts: Path = typer.Option(
        SHIPPED_PHRASES,
        help="Prompts on which the result is compared with torch.",
        show_default="163 phrases that ship",
    ),
    trim: bool = typer.Option(
        False,
        "--trim",
        help="Run real tokens alone though the encoder was made to read its padding.",
    ),
    opset: int = typer.Option(20, help="ONNX operator set, 20 to 23."),
    weight_bits: int = typer.Option(None, help="int8: 8 needs VNNI, 7 runs on all CPUs; by default as this one."),
    tolerance: float = typer.Option(
        None,
        min=0.0,
        help="Largest relative error of a token (--whole: largest error of a score or mask); by precision.",
    ),
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    overwrite: bool = OVERWRITE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Write an encoder or a whole model that runs without torch (ONNX Runtime), once it agrees with torch."""
    if to != "onnx":
        raise choice_error("export format", to, ("onnx",))
    if text is not None and not whole:
        raise LitetextError("--text names the encoder of a whole model; give --whole too")
    if convention is not None and not whole:
        raise LitetextError("--as says how a whole model's detector is run; give --whole too")
    if image_size is not None and not whole:
        raise LitetextError("--image-size is of a whole model's pictures; give --whole too")
    if graph_precision != "fp32" and not whole:
        raise LitetextError("--graph-precision is of a whole model's graphs; give --whole too")
    if calibrate and graph_precision != "nncf-int8":
        raise LitetextError("--calibrate is of --graph-precision nncf-int8; give that too, or leave it out")
    inputs = paths_of(checkpoint, text, vocabulary, prompts, *calibrate)
    kind: Kind = "exported model" if whole else "exported encoder"
    check_folder(destination, kind, overwrite=overwrite, inputs=inputs)
    from ..prompts import read_prompts

    texts = read_prompts(prompts)
    from ..encoders import read_checkpoint

    source = None
    if whole:
        from ..segment.sources import locate

        source = locate(checkpoint)
    read = read_checkpoint(
        checkpoint if source is None else text or source.text,
        heads=heads,
        context_length=context,
        positions=position_reading(positions),
        allow_nan=allow_nan,
    )
    report: dict[str, object] = {"source": checkpoint, "destination": str(destination)}
    if vocabulary is not None:
        read, report["vocabulary"] = pruned(read, vocabulary, texts)
    options: dict[str, Any] = {
        "precision": precision,
        "weight_bits": weight_bits,
        "opset": opset,
        "trim": trim,
        "tolerance": tolerance,
        "overwrite": overwrite,
    }
    with notes.status(f"exporting {checkpoint} and comparing with torch"):
        if source is None:
            from ..encoders import export_onnx

            encoder = export_onnx(read, destination, texts, **options)
            written, said = asdict(encoder), _encoder_lines(encoder)
        else:
            from ..segment.export import export_segmenter

            run: dict[str, Any] = {"convention": convention, "allow_nan": allow_nan}
            size = chosen_image_size(image_size, partial(_in_torch, checkpoint, text, run), lambda: texts[:1])
            options |= run | {"image_size": size, "graph_precision": graph_precision}
            with _images(calibrate) as images:
                model = export_segmenter(source.detector, read, destination, texts, **options, calibration=images)
            written, said = asdict(model), _model_lines(model)
    if as_json:
        print_json(report | {key: value for key, value in written.items() if key != "folder"})
        return
    for line in said:
        notes.print(line, highlight=False, soft_wrap=True)


def _in_torch(model: str, text: str | None, options: dict[str, Any]) -> Segmenter:
    from ..segment import Segmenter

    return Segmenter.from_pretrained(model, text, backend="torch", device="cpu", **options)


@contextmanager
def _images(given: Sequence[str]) -> Iterator[list[Path | bytes]]:
    """The images that arguments name; what links hold is kept as long as they are used."""

    def refuse(error: LitetextError) -> None:
        raise error

    with tempfile.TemporaryDirectory() as fetched:
        yield [one.image for one in image_inputs(given, Path(fetched), refuse)]


def _encoder_lines(written: Export) -> Iterator[str]:
    found = written.difference
    yield (
        f"{written.folder}: {written.bytes:,} bytes; cosine to torch on {found.prompts} prompts "
        f"{found.mean_cosine:.6f} on average, {found.min_cosine:.6f} at worst"
    )
    if written.trimming is not None:
        yield (
            "trimmed, though made to read its padding: cosine to untrimmed "
            f"{written.trimming.mean_cosine:.4f} on average, {written.trimming.min_cosine:.4f} at worst"
        )


def _model_lines(written: WholeExport) -> Iterator[str]:
    worst = written.agreement
    yield (
        f"{written.folder}: {sum(written.bytes.values()):,} bytes; against torch, scores are off by at most "
        f"{worst.score:.1e}, boxes by {worst.box:.1e} of the picture, mask probabilities by {worst.mask:.1e}"
    )
    for name, graph in (written.calibrated or {}).items():
        yield f"{name}: {graph.int8} of {graph.products} products in int8, calibrated on {graph.runs} runs"
