"""``litetext export``: an encoder for devices without torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from ..errors import choice_error
from .output import notes, print_json
from .prompt_list import SHIPPED_PHRASES, read_prompt_list
from .vocabulary_option import HELP as VOCABULARY_HELP
from .vocabulary_option import pruned


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    checkpoint: str = typer.Argument(..., help="An encoder: a shipped name, file, folder or hub name."),
    destination: Path = typer.Argument(..., metavar="DST", help="The folder to write; one that exists is replaced."),
    to: str = typer.Option("onnx", help="onnx."),
    precision: str = typer.Option("fp32", help="fp32, fp16 (half the bytes, same arithmetic) or int8."),
    vocabulary: str = typer.Option(None, metavar="FILE|N|FILE:N", help=VOCABULARY_HELP),
    prompts: Path = typer.Option(SHIPPED_PHRASES, help="Prompts on which the result is compared with torch."),
    trim: bool = typer.Option(
        False,
        "--trim",
        help="Run real tokens alone though the encoder was made to read its padding.",
    ),
    opset: int = typer.Option(20, help="ONNX operator set, 20 to 23."),
    weight_bits: int = typer.Option(None, help="int8: 8 needs VNNI, 7 runs on all CPUs; by default as this one."),
    tolerance: float = typer.Option(None, min=0.0, help="Largest relative error a token may have; by precision."),
    heads: int = typer.Option(None, min=1, help="Attention heads, where neither a config nor width / 64 says."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Write an encoder that runs without torch (ONNX Runtime), once it agrees with torch on real prompts."""
    if to != "onnx":
        raise choice_error("export format", to, ("onnx",))
    texts = read_prompt_list(prompts)
    from ..encoders import export_onnx, read_checkpoint

    read = read_checkpoint(checkpoint, heads=heads)
    report: dict[str, object] = {"source": checkpoint, "destination": str(destination)}
    if vocabulary is not None:
        read, report["vocabulary"] = pruned(read, vocabulary, texts)
    with notes.status(f"exporting {checkpoint} and comparing with torch"):
        written = export_onnx(
            read,
            destination,
            texts,
            precision=precision,  # type: ignore[arg-type]  # checked there
            weight_bits=weight_bits,
            opset=opset,
            trim=trim,
            tolerance=tolerance,
        )
    if as_json:
        print_json(report | {key: value for key, value in asdict(written).items() if key != "folder"})
        return
    found = written.difference
    say = [
        f"{destination}: {written.bytes:,} bytes; cosine to torch on {found.prompts} prompts {found.cosine_mean:.6f} "
        f"on average, {found.cosine_worst:.6f} at worst"
    ]
    if written.trimming is not None:
        say.append(
            "trimmed, though made to read its padding: cosine to untrimmed "
            f"{written.trimming.cosine_mean:.4f} on average, {written.trimming.cosine_worst:.4f} at worst"
        )
    for line in say:
        notes.print(line, highlight=False, soft_wrap=True, markup=False)
