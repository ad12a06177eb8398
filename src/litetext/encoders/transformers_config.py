"""config.json of a transformers model, checked before transformers builds what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import LitetextError, short
from ..json_files import read_json

_LARGEST = {"num_hidden_layers": 256, "num_layers": 256, "image_size": 4096, "pretrain_image_size": 4096}
_LARGEST_NUMBER = 1_000_000
"""Bounds of what a config.json may ask for; SAM3's has 32 layers, 1,008 pixels and no number above 49,408."""


def read_model_config(path: Path) -> dict[str, Any]:
    """Return the values of a config.json.

    Raises:
        LitetextError: it is missing or malformed, or holds a number that would build a model without end.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise LitetextError(f"{path} is {short(values)}, where an object with keys should stand")
    _check_sizes(values, str(path))
    return values


def _check_sizes(value: Any, source: str, key: str = "") -> None:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else ((key, entry) for entry in value):
            _check_sizes(inner, source, name)
    elif isinstance(value, int) and value > (largest := _LARGEST.get(key, _LARGEST_NUMBER)):
        raise LitetextError(f"{source}: key {key!r} is {value}, where at most {largest:,} should stand")
