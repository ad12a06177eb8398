"""Where commands write: the option to replace an earlier output, and what must not be written over."""

from __future__ import annotations

from pathlib import Path

import typer

from ..segment.sources import SHIPPED

OVERWRITE = typer.Option(
    False, "--overwrite", help="Replace an earlier output of this command; nothing else is ever replaced."
)


def paths_of(*given: str | Path | None) -> list[Path]:
    """The files and folders among what a command reads, which may be names of other things, FILE:KEY or nothing."""
    named = [str(one) for one in given if one is not None and str(one) not in SHIPPED]
    return [path for name in named for path in (Path(name), Path(name.rpartition(":")[0] or name)) if path.exists()]
