"""``litetext info``: what an encoder is made of, from a preset's name or from its files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ..data import SHIPPED_ENCODERS
from ..encoders.config import PRESETS, EncoderConfig, Positions
from ..errors import LitetextError
from .command import add
from .encoder_options import CONTEXT, HEADS, POSITIONS, position_reading
from .output import console, print_json

_TRACKERS = {
    "memory": "SAM3's memory tracker",
    "multiplex": "SAM 3.1's multiplex tracker, which is kept but not run: videos are tracked by detection",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        info,
        "info",
        "litetext info s0",
        "litetext info mini --json",
        "litetext info device",
    )


def info(
    name: str = typer.Argument(
        ...,
        metavar="NAME|CHECKPOINT",
        help="A preset (s0, s1, l; teacher: SAM3's), a name that ships (mini, mini-teacher), file, folder or hub name; "
        "an export or a bank too.",
    ),
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Show an encoder's variant, parameters (published and live), bytes, layout and convention.

    Of a whole model it is the text encoder.
    """
    facts = _facts(name, heads, context, position_reading(positions))
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False)
    parts = {f"{part} (parameters)": count for part, count in facts.get("parts", {}).items()}
    rows = {"name": name, **facts, **facts.get("encoder", {}), **facts.get("convention", {}), **parts}
    for key, value in rows.items():
        if not isinstance(value, dict):
            table.add_row(key.replace("_", " "), f"{value:,}" if type(value) is int else str(value))
    console.print(table)


def _facts(name: str, heads: int | None, context: int | None, positions: Positions | None) -> dict[str, Any]:
    if name in PRESETS:
        config = PRESETS[name]
        return _encoder_facts(config, "preset", 4 * config.parameters())
    source = name if name in SHIPPED_ENCODERS else _own_encoder(name)
    fixed = None if source in SHIPPED_ENCODERS else _fixed_facts(Path(source))
    if fixed is not None:
        for option, value in {"--heads": heads, "--context": context, "--positions": positions}.items():
            if value is not None:
                raise LitetextError(f"{option} says how a checkpoint is read; in {source} it is fixed")
        return fixed
    from ..encoders import open_checkpoint

    file = open_checkpoint(source, heads=heads, context_length=context, positions=positions)
    parts, tracker = _parts(name), _tracker(source)
    facts = _encoder_facts(file.config, file.layout, file.bytes)
    return facts | ({"parts": parts} if parts else {}) | ({"video_tracker": tracker} if tracker else {})


def _own_encoder(name: str) -> str:
    """The text encoder of a whole model's folder or export; ``name`` itself where it names anything else."""
    from ..segment.sources import is_exported, locate

    if (Path(name) / "segmenter").is_dir() or is_exported(Path(name)):
        return str(locate(Path(name).resolve()).text)
    return name


def _fixed_facts(path: Path) -> dict[str, Any] | None:
    """What a bank or an export says of itself; None of anything else."""
    from ..encoders.bank import is_bank
    from ..encoders.runtime import is_exported

    if is_bank(path):
        return _bank_facts(path)
    return _export_facts(path) if is_exported(path) else None


def _bank_facts(path: Path) -> dict[str, Any]:
    from ..encoders import ConceptBank

    bank = ConceptBank(path)
    return {
        "layout": "concept bank",
        "concepts": len(bank),
        "embedded_by": bank.encoder_name,
        "bytes": path.stat().st_size,
        "context_length": bank.context_length,
        "output_dim": bank.dim,
    }


def _export_facts(folder: Path) -> dict[str, Any]:
    from ..encoders.runtime import read_export

    written = read_export(folder)
    size = sum(file.stat().st_size for file in folder.glob("model.onnx*"))
    facts = _encoder_facts(written.encoder, "onnx", size) | {"precision": written.precision, "opset": written.opset}
    return facts if written.weight_bits is None else facts | {"weight_bits": written.weight_bits}


def _encoder_facts(config: EncoderConfig, layout: str, size: int) -> dict[str, Any]:
    return {
        "variant": config.variant,
        "parameters": config.parameters(),
        "live_parameters": config.live_parameters(),
        "bytes": size,
        "layout": layout,
        "context_length": config.convention.context_length,
        "convention": asdict(config.convention),
        "encoder": _shape(config),
    }


def _tracker(source: str) -> str | None:
    """What `litetext track` makes of the video tracker in a file or folder of weights; None where there is none."""
    from ..encoders.encoder_file import find_files
    from ..encoders.tensorfile import open_tensors
    from ..segment.tracker_names import tracker_among

    kind = None if source in SHIPPED_ENCODERS else tracker_among(open_tensors(find_files(source)))
    return None if kind is None else _TRACKERS[kind]


def _parts(name: str) -> dict[str, int] | None:
    """The parameters of each part of the shipped mini; all else that `info` says is about its text encoder."""
    if name != "mini":
        return None
    from ..data import resolve
    from ..json_files import read_json

    return dict(read_json(resolve("mini") / "mini.json")["parameters"])


def _shape(config: EncoderConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in ("variant", "convention")}
