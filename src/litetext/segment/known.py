"""Every model that a command can be given by name, and whether it is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..data import SHIPPED_ENCODERS, resolve
from ..encoders.encoder_file import FORMAT
from ..errors import LitetextError
from ..hub import cached_models, cached_path
from ..json_files import read_json
from .published import PUBLISHED_CHECKPOINTS, Published
from .sources import SHIPPED

_SHIPPED = {
    "mini": "SAM3 for a small world of drawn scenes, and its text encoder",
    "photo": "SAM3 for photographs, small: presence and rough masks; and its text encoder",
    "mini-student": "text encoders of mini: the student that it runs with, and the student's teacher",
    "mini-teacher": "text encoders of mini: the student that it runs with, and the student's teacher",
}

_KINDS = {"sam3": "SAM3", "sam3_video": "SAM3 with its video tracker", "sam3_lite_text": "SAM3-LiteText"}
"""The models of transformers that are read, by their type in config.json."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model by its name.

    Attributes:
        name: what commands take.
        source: ``shipped`` with litetext, ``published`` on the hub, or ``cached``: of the hub, unlisted, but here.
        holds: what it is.
        bytes: on this machine where it is here, else about what is to be fetched.
        licence: terms of its weights; None where its page says.
        gated: whether its terms must be accepted on its page before it can be fetched; None where its page says.
        extra: of litetext's extras, the one that running it needs; None for none.
        path: where it is on this machine, or None.
    """

    name: str
    source: Literal["shipped", "published", "cached"]
    holds: str
    bytes: int
    licence: str | None
    gated: bool | None
    extra: str | None
    path: Path | None


def known_models() -> list[KnownModel]:
    """Return what ships, then the published checkpoints, then what else of SAM3 and litetext the hub's cache holds."""
    published = [_published(entry) for entry in PUBLISHED_CHECKPOINTS]
    listed = {model.path for model in published}
    return [*_shipped(), *published, *(model for model in _cached() if model.path not in listed)]


def _shipped() -> Iterator[KnownModel]:
    for name, holds in _SHIPPED.items():
        path = resolve(name if name in SHIPPED else SHIPPED_ENCODERS[name])
        extra = "images" if name in SHIPPED else None
        yield KnownModel(name, "shipped", holds, _size(path), "Apache-2.0", False, extra, path)


def _published(entry: Published) -> KnownModel:
    path = cached_path(entry.name)
    size = round(entry.gigabytes * 1e9) if path is None else _size(path)
    return KnownModel(entry.name, "published", entry.holds, size, entry.licence, entry.gated, "sam3", path)


def _cached() -> Iterator[KnownModel]:
    for name, path in cached_models():
        holds = _holds(name, path)
        if holds is not None:
            yield KnownModel(name, "cached", holds, _size(path), None, None, "sam3", path)


def _holds(name: str, path: Path) -> str | None:
    """What a model of the cache is; None of one that litetext has no use for, told by its config or else its name."""
    if path.is_dir():
        config = _config(path / "config.json")
        return (
            "a text encoder of litetext"
            if config.get("format") == FORMAT
            else _KINDS.get(str(config.get("model_type")))
        )
    return "weights of their own; litetext info tells more" if "sam3" in name.lower() else None


def _config(path: Path) -> dict[str, Any]:
    """A config.json; nothing of one that is malformed."""
    try:
        values = read_json(path)
    except LitetextError:
        return {}
    return values if isinstance(values, dict) else {}


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
