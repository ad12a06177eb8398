"""Text encoders: the seam (`TextFeatures`, `TextEncoder`), presets, modules, checkpoints.

Importing this package is light; the names that need torch are looked up when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .config import AUTHORS, PRESETS, SAM3, TRANSFORMERS, Convention, EncoderConfig, preset
from .exemplar import ExemplarConcept
from .features import TextEncoder, TextFeatures

if TYPE_CHECKING:
    from .bank import ConceptBank, build_bank
    from .checkpoints import (
        Checkpoint,
        load_torch_encoder,
        read_checkpoint,
        save_encoder,
        write_authors,
        write_checkpoint,
    )
    from .encoder_file import EncoderFile, open_checkpoint
    from .export import export_onnx
    from .loading import load_encoder
    from .modules import TextTransformer, build
    from .parity import Parity, measure_parity
    from .runtime import OnnxTextEncoder
    from .torch_encoder import TorchTextEncoder

_HOMES = {
    "Checkpoint": "checkpoints",
    "ConceptBank": "bank",
    "EncoderFile": "encoder_file",
    "OnnxTextEncoder": "runtime",
    "Parity": "parity",
    "TextTransformer": "modules",
    "TorchTextEncoder": "torch_encoder",
    "build": "modules",
    "build_bank": "bank",
    "export_onnx": "export",
    "load_encoder": "loading",
    "load_torch_encoder": "checkpoints",
    "measure_parity": "parity",
    "open_checkpoint": "encoder_file",
    "read_checkpoint": "checkpoints",
    "save_encoder": "checkpoints",
    "write_authors": "checkpoints",
    "write_checkpoint": "checkpoints",
}

__all__ = [
    "AUTHORS",
    "PRESETS",
    "SAM3",
    "TRANSFORMERS",
    "Checkpoint",
    "ConceptBank",
    "Convention",
    "EncoderConfig",
    "EncoderFile",
    "ExemplarConcept",
    "OnnxTextEncoder",
    "Parity",
    "TextEncoder",
    "TextFeatures",
    "TextTransformer",
    "TorchTextEncoder",
    "build",
    "build_bank",
    "export_onnx",
    "load_encoder",
    "load_torch_encoder",
    "measure_parity",
    "open_checkpoint",
    "preset",
    "read_checkpoint",
    "save_encoder",
    "write_authors",
    "write_checkpoint",
]


__getattr__ = lazy_names(__name__, {name: f".{home}" for name, home in _HOMES.items()})
