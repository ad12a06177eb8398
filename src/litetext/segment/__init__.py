"""SAM3 with any text encoder plugged in: noun phrases (and example boxes) in, instances out.

The encoder stands behind the seam (`litetext.encoders.TextEncoder`); nothing here tokenizes, pads or asks
which encoder it is. `Instances` needs only numpy; `Segmenter` brings torch and transformers, so both are
looked up when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..images import read_image
    from ..results import Instances
    from .backend import ImageFeatures
    from .segmenter import Segmenter

_HOMES = {
    "ImageFeatures": ".backend",
    "Instances": "..results",
    "Segmenter": ".segmenter",
    "read_image": "..images",
}

__all__ = ["ImageFeatures", "Instances", "Segmenter", "read_image"]


__getattr__ = lazy_names(__name__, _HOMES)
