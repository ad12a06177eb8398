"""SAM3 with any text encoder plugged in: noun phrases (and example boxes) in, instances out.

The encoder stands behind the seam (`litetext.encoders.TextEncoder`); nothing here tokenizes, pads or asks
which encoder it is. `Instances` needs only numpy; `Segmenter` brings torch and transformers, so both are
looked up when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend import ImageFeatures
    from .images import read_image
    from .instances import Instances, coco_document
    from .segmenter import Segmenter

_HOMES = {
    "ImageFeatures": "backend",
    "Instances": "instances",
    "Segmenter": "segmenter",
    "coco_document": "instances",
    "read_image": "images",
}

__all__ = ["ImageFeatures", "Instances", "Segmenter", "coco_document", "read_image"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
