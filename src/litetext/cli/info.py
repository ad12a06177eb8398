"""``litetext info``: what an encoder is made of, from a preset's name or from its files."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer
from rich.table import Table

from ..encoders.config import PRESETS, EncoderConfig, Positions
from .command import add
from .encoder_options import CONTEXT, HEADS, POSITIONS, position_reading
from .output import console, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        info,
        "info",
        "litetext info s0",
        "litetext info mini --json",
    )


def info(
    name: str = typer.Argument(
        ...,
        metavar="NAME|CHECKPOINT",
        help="A preset (s0, s1, l; teacher: SAM3's), a name that ships (mini, mini-teacher), file, folder or hub name.",
    ),
    heads: int = HEADS,
    context: int = CONTEXT,
    positions: str = POSITIONS,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Show an encoder's variant, parameters (published and live), bytes, layout and convention."""
    facts = _facts(name, heads, context, position_reading(positions))
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False)
    parts = {f"{part} (parameters)": count for part, count in facts.get("parts", {}).items()}
    rows = {"name": name, **facts, **facts["encoder"], **facts["convention"], **parts}
    for key, value in rows.items():
        if not isinstance(value, dict):
            table.add_row(key.replace("_", " "), f"{value:,}" if type(value) is int else str(value))
    console.print(table)


def _facts(name: str, heads: int | None, context: int | None, positions: Positions | None) -> dict[str, Any]:
    if name in PRESETS:
        config, layout = PRESETS[name], "preset"
        size = 4 * config.parameters()
    else:
        from ..encoders import open_checkpoint

        file = open_checkpoint(name, heads=heads, context_length=context, positions=positions)
        config, layout, size = file.config, file.layout, file.bytes
    parts = _parts(name)
    return {
        "variant": config.variant,
        "parameters": config.parameters(),
        "live_parameters": config.live_parameters(),
        "bytes": size,
        "layout": layout,
        "context_length": config.convention.context_length,
        "convention": asdict(config.convention),
        "encoder": _shape(config),
        **({"parts": parts} if parts else {}),
    }


def _parts(name: str) -> dict[str, int] | None:
    """The parameters of each part of the shipped mini; all else that `info` says is about its text encoder."""
    if name != "mini":
        return None
    from ..data import resolve
    from ..json_files import read_json

    return dict(read_json(resolve("mini") / "mini.json")["parameters"])


def _shape(config: EncoderConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in ("variant", "convention")}
