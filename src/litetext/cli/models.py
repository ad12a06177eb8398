"""``litetext models``: the models that are known by name, and which of them are on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ..errors import EXTRAS
from ..segment.sources import PUBLISHED
from .command import add
from .output import console, notes, print_json

if TYPE_CHECKING:
    from ..segment.known import KnownModel


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(app, models, "models", "litetext models", "litetext models --json")


def models(as_json: bool = typer.Option(False, "--json", help="Print one JSON document.")) -> None:
    """List the models known by name, with size, licence, what they need, and whether they are on this machine.

    Models are not limited to these: any path, and any name on the hub (owner/name, owner/name/folder/file.pt), will do.
    """
    from ..segment.known import known_models

    found = known_models()
    if as_json:
        print_json({"models": [_row(model) for model in found]})
        return
    console.print(_table(found))
    for remark in _remarks(found):
        notes.print(remark, highlight=False, soft_wrap=True)


def _row(model: KnownModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "holds": model.holds,
        "bytes": model.bytes,
        "licence": model.licence,
        "gated": model.gated,
        "needs": model.extra,
        "installed": _is_installed(model.extra),
        "path": None if model.path is None else str(model.path),
    }


def _is_installed(extra: str | None) -> bool:
    return extra is None or all(find_spec(module) is not None for module in EXTRAS[extra])


def _table(found: list[KnownModel]) -> Table:
    """The models by what they are, names alone in the first column, since they are long and to be copied."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for kind, models in groupby(found, key=_kind):
        table.add_row(Text(kind, "bold"))
        for model in models:
            table.add_row(model.name, _size(model), "no" if model.path is None else "yes")
        table.add_section()
    return table


def _kind(model: KnownModel) -> str:
    terms = [model.licence or "licence: see its page"]
    terms += ["gated"] if model.gated else []
    terms += [f"needs {model.extra}"] if model.extra else []
    return f"{model.holds} ({', '.join(terms)})"


def _size(model: KnownModel) -> str:
    return f"{model.bytes / 1e9:.2f} GB" if model.bytes >= 1e8 else f"{model.bytes / 1e6:.1f} MB"


def _remarks(found: list[KnownModel]) -> list[str]:
    missing = sorted({model.extra for model in found if model.extra and not _is_installed(model.extra)})
    return [
        f"To use one: litetext segment photo.jpg -p dog --model {PUBLISHED}; what is not here is fetched once.",
        "Gated ones first ask you to accept their terms on their hub page, and for: hf auth login",
        *(f"{extra} is not installed: pip install 'litetext[{extra}]'" for extra in missing),
    ]
