"""litetext: text prompting for segmentation models that is small, fast and honest.

``import litetext`` is light: names are looked up when first used, so neither torch nor transformers is
imported before something needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .encoders import TextEncoder, TextFeatures, load_encoder
    from .errors import LitetextError
    from .results import FrameResult, Instances, Masklets, Masks
    from .segment import Segmenter
    from .tokenizer import Tokenizer
    from .track import VideoSegmenter

__version__ = "0.1.0"

_HOMES = {
    "FrameResult": "results",
    "Instances": "results",
    "LitetextError": "errors",
    "Masklets": "results",
    "Masks": "results",
    "Segmenter": "segment",
    "TextEncoder": "encoders",
    "TextFeatures": "encoders",
    "Tokenizer": "tokenizer",
    "VideoSegmenter": "track",
    "load_encoder": "encoders",
}

__all__ = [
    "FrameResult",
    "Instances",
    "LitetextError",
    "Masklets",
    "Masks",
    "Segmenter",
    "TextEncoder",
    "TextFeatures",
    "Tokenizer",
    "VideoSegmenter",
    "load_encoder",
]


__getattr__ = lazy_names(__name__, {name: f".{home}" for name, home in _HOMES.items()})


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
