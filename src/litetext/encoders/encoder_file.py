"""An encoder's file, of any layout, opened and checked without torch and without reading a number of it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import SHIPPED_ENCODERS, resolve
from ..errors import LitetextError, LitetextWarning, short
from ..hub import local_path
from ..json_files import read_json
from ..tokenizer import Tokenizer
from .config import PRESETS, EncoderConfig, Positions, tokenizer_of
from .layouts import check_tensors, find_layout, variant_of
from .state_shapes import our_shapes
from .tensorfile import LazyTensor, TensorFile, cast, open_tensors, read_all
from .transformers_config import read_model_config

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FORMAT = "litetext-encoder"

KINDS = ("student", "teacher")
"""The folders in a model's ``text/``; the first that is there is its default encoder."""


@dataclass(frozen=True)
class EncoderFile:
    """An encoder's file whose names, shapes and dtypes were checked, before any number is read.

    Attributes:
        config, tokenizer, layout, source: see `litetext.encoders.Checkpoint`.
        bytes: of the encoder's tensors in the file.
        state: our name -> tensor, in the dtype of the file, to be read later.
        release: gives back the memory of what was read.
    """

    config: EncoderConfig
    tokenizer: Tokenizer
    layout: str
    source: str
    bytes: int
    state: Mapping[str, LazyTensor]
    release: Callable[[], None] = lambda: None

    def cast(self, dtype: torch.dtype) -> EncoderFile:
        """Return the same with its floating-point numbers in another dtype."""
        state = cast(self.state, dtype)
        return replace(self, state=state, bytes=sum(tensor.bytes for tensor in state.values()))

    def tensors(self) -> dict[str, Tensor]:
        """Read the encoder: our name -> tensor, in the dtypes of the file."""
        return read_all(self.state)


def open_checkpoint(
    name_or_path: str | os.PathLike[str],
    *,
    heads: int | None = None,
    context_length: int | None = None,
    positions: Positions | None = None,
) -> EncoderFile:
    """Find the encoder in a file and check it without reading its weights; see `read_checkpoint` for the arguments."""
    path = find_checkpoint(name_or_path)
    changes = {"context_length": context_length, "positions": positions}
    changes = {key: value for key, value in changes.items() if value is not None}
    file = open_tensors(path)
    ours = _our_config(path)
    if ours is not None:
        return _open_ours(file, path, ours, heads, changes)
    return _open_foreign(file, path, heads, changes)


def find_checkpoint(name_or_path: str | os.PathLike[str]) -> Path:
    """Return where an encoder's files are: shipped with the package, on disk, or fetched from the hub.

    Of a whole model in litetext's own layout it is the folder of its default encoder.
    """
    return _inside(find_files(name_or_path))


def find_files(name_or_path: str | os.PathLike[str]) -> Path:
    """Return where the files of an encoder, or of a model with one, are; see `find_checkpoint`."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise LitetextError(f"an encoder is named by a text or a path, got {short(name_or_path)}")
    name = str(name_or_path)
    if name in SHIPPED_ENCODERS:
        return resolve(SHIPPED_ENCODERS[name])
    if name in PRESETS and not Path(name).exists():
        raise LitetextError(
            f"{name} is the shape of an encoder, without weights; give a checkpoint (a .pt of the authors, a "
            f"transformers folder, a hub name), or one that comes with litetext: {', '.join(SHIPPED_ENCODERS)}"
        )
    return local_path(name_or_path)


def _inside(path: Path) -> Path:
    """The text encoder of a whole model in litetext's own layout, the student before its teacher; else the path."""
    if not (path / "segmenter").is_dir():
        return path
    return next((path / "text" / kind for kind in KINDS if (path / "text" / kind).is_dir()), path)


def _our_config(path: Path) -> dict[str, Any] | None:
    config = (path if path.is_dir() else path.parent) / "config.json"
    if not config.is_file() or (path.is_file() and path.name != "model.safetensors"):
        return None
    values = read_json(config)
    return values if isinstance(values, dict) and values.get("format") == FORMAT else None


def _open_ours(
    file: TensorFile, path: Path, values: dict[str, Any], heads: int | None, changes: dict[str, Any]
) -> EncoderFile:
    if values.get("version") != 1:
        raise LitetextError(
            f"{path}: config.json is of version {short(values.get('version'))}; this litetext reads version 1"
        )
    config = EncoderConfig.from_dict(values.get("encoder"), f"{path}/config.json", "encoder")
    config = replace(config, heads=heads or config.heads).with_convention(**changes)
    expected = dict(our_shapes(config))
    check_tensors(file, expected, "litetext", file.source)
    for key in file:
        if key not in expected:
            raise LitetextError(f"{file.source}: unexpected key {key!r} (litetext layout)")
    kept = values.get("vocabulary")
    tokenizer = Tokenizer() if kept is None else tokenizer_of(kept, config, str(path))
    size = sum(map(file.bytes, expected))
    state = {key: file.lazy(key) for key in expected}
    return EncoderFile(config, tokenizer, "litetext", str(path), size, state, file.release)


def _open_foreign(file: TensorFile, path: Path, heads: int | None, changes: dict[str, Any]) -> EncoderFile:
    layout, prefix = find_layout(file, file.source)
    config = layout.infer(file, prefix, heads or _transformers_heads(path), file.source)
    layout.check(file, prefix, config, file.source)
    changes = _named_context(config, file.source, changes) | changes
    config = replace(config.with_convention(**changes), variant=variant_of(config))
    if config.table_is_cut() and "positions" not in changes and config.convention.positions == "slice":
        warnings.warn(_cut_table_warning(config, file.source), LitetextWarning, stacklevel=2)
    size = sum(file.bytes(prefix + key) for key, _ in layout.expected(config))
    state = layout.read(file, prefix, config)
    return EncoderFile(config, Tokenizer(), layout.name, str(path), size, state, file.release)


def _named_context(config: EncoderConfig, source: str, changes: Mapping[str, Any]) -> dict[str, int]:
    """The context that a student's file name says (``…_ctx32.pt``), if it says one; it must be the file's own."""
    named = re.search(r"ctx(\d+)", Path(source).stem)
    if named is None or config.causal or config.convention.positions != "slice" or "context_length" in changes:
        return {}
    context, rows = int(named[1]), config.position_rows
    if context > rows or (context != rows and not config.table_is_cut()):
        raise LitetextError(
            f"{source}: its name says a context of {context}, its position table has {rows} rows; "
            f"say which it is: --context {rows}, or --context {context} with --positions interpolate or slice"
        )
    return {"context_length": context}


def _cut_table_warning(config: EncoderConfig, source: str) -> str:
    context, rows = config.convention.context_length, config.position_rows
    return (
        f"{source}: the position table has {rows} rows for a context of {context}; some such checkpoints read the "
        f"first {context} of them (--positions slice, assumed), others all of them resized to {context} (--positions "
        "interpolate), and the features differ: say which (and --context N if that is another)"
    )


def _transformers_heads(path: Path) -> int | None:
    """The number of heads in a transformers folder's config (its ``text_config``, the detector's in a video model)."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    if not config.is_file():
        return None
    values = read_model_config(config)
    detector = values.get("detector_config") or values
    text = detector.get("text_config") if isinstance(detector, dict) else None
    heads = text.get("num_attention_heads") if isinstance(text, dict) else None
    if heads is not None and (type(heads) is not int or heads < 1):
        raise LitetextError(f"{config}: key 'num_attention_heads' is {short(heads)}, where a whole number should stand")
    return heads
