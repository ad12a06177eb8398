"""Checkpoints in and out: litetext's folder, the authors' file, Meta's, transformers'.

A litetext checkpoint is a folder: ``model.safetensors`` (every tensor, unfolded, the unused projection and the whole
position table included), ``config.json`` (shape, convention, kept vocabulary), ``tokenizer.json`` and a model card.
What came in under the authors' names goes out under them unchanged, dtype for dtype.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..data import SHIPPED_ENCODERS, resolve
from ..devices import torch_device
from ..errors import LitetextError, LitetextWarning, short
from ..files import write_json, write_text
from ..hub import local_path
from ..json_files import read_json
from ..outputs import atomic_folder, blank_seal, sealed_file
from ..tokenizer import Tokenizer
from .card import model_card
from .config import PRESETS, EncoderConfig, Positions, tokenizer_of
from .layouts import FULL_CHECKPOINT_PREFIX, STUDENT, TEACHER, check_tensors, find_layout, our_shapes, variant_of
from .modules import TextTransformer, build
from .tensorfile import TensorFile, open_tensors
from .torch_encoder import TorchTextEncoder
from .transformers_config import read_model_config

FORMAT = "litetext-encoder"


@dataclass(frozen=True)
class Checkpoint:
    """An encoder as it stands in a file, before any of it runs.

    Attributes:
        config: shape and convention.
        state: our name -> tensor, in the dtypes of the file.
        tokenizer: the vocabulary that belongs to the embedding.
        layout: whose names the file spells (``litetext``, ``authors``, ``sam3``, ``transformers-litetext``,
            ``transformers-sam3``).
        source: the path or name it came from.
    """

    config: EncoderConfig
    state: Mapping[str, Tensor]
    tokenizer: Tokenizer
    layout: str
    source: str

    def bytes(self) -> int:
        """Return the size of the encoder's tensors, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state.values())

    def module(self, dtype: torch.dtype = torch.float32) -> TextTransformer:
        """Return the encoder as an unfolded module in eval mode."""
        module = build(self.config, device="meta")
        state = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in self.state.items()
        }
        module.load_state_dict(state, strict=True, assign=True)
        return module.eval()


@dataclass(frozen=True)
class EncoderFile:
    """An encoder's file whose names, shapes and dtypes were checked, before any number is read.

    Attributes:
        config, tokenizer, layout, source: see `Checkpoint`.
        bytes: of the encoder's tensors in the file.
        tensors: reads them: our name -> tensor, in the dtypes of the file.
    """

    config: EncoderConfig
    tokenizer: Tokenizer
    layout: str
    source: str
    bytes: int
    tensors: Callable[[], dict[str, Tensor]]

    def read(self, *, allow_nan: bool = False) -> Checkpoint:
        """Return the checkpoint; a tensor with NaN or infinity is an error that names it unless ``allow_nan``."""
        state = self.tensors()
        if not allow_nan:
            check_finite(state, self.source)
        return Checkpoint(self.config, state, self.tokenizer, self.layout, self.source)


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise `LitetextError` that names the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        # A sum is one pass without memory of its own; where it overflows, every number is looked at.
        if tensor.is_floating_point() and not tensor.sum(dtype=torch.float32).isfinite():
            wrong = int((~tensor.float().isfinite()).sum())
            if wrong:
                raise LitetextError(
                    f"{source}: {name!r} holds {wrong:,} numbers that are NaN or infinite, of {tensor.numel():,}; "
                    "did its training diverge? Commands with --allow-nan, and allow_nan=True in Python, go on"
                )


def load_torch_encoder(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    heads: int | None = None,
    context_length: int | None = None,
    positions: Positions | None = None,
    allow_nan: bool = False,
) -> TorchTextEncoder:
    """Load a checkpoint to run in torch, float32 by default; see `read_checkpoint` for what it may be."""
    where = torch_device(device or "cpu")
    checkpoint = read_checkpoint(
        name_or_path, heads=heads, context_length=context_length, positions=positions, allow_nan=allow_nan
    )
    return TorchTextEncoder(checkpoint.module(dtype or torch.float32).to(where), checkpoint.tokenizer)


def read_checkpoint(
    name_or_path: str | os.PathLike[str],
    *,
    heads: int | None = None,
    context_length: int | None = None,
    positions: Positions | None = None,
    allow_nan: bool = False,
) -> Checkpoint:
    """Read an encoder from any layout.

    Args:
        name_or_path: something that ships with litetext (``mini``), a litetext folder, a file or folder in the
            authors', Meta's or transformers' layout (bare encoder or whole SAM3), or a hub name (``owner/name``).
        heads: attention heads, where neither a config nor width / 64 says.
        context_length: tokens a prompt is padded to. By default it is the stored one; where none is stored, it is the
            length of the position table, and of a longer table than any was trained at (CLIP's 77 rows) the first 16
            rows are read, with a `LitetextWarning`.
        positions: how a longer table is read; by default as stored.
        allow_nan: read weights that are NaN or infinite too.

    Raises:
        LitetextError: a context in the file's name (``…_ctx32.pt``) that is not its table's; or naming the file and
            the key that is missing, unexpected, mis-shaped, no floating-point number or not finite.
    """
    file = open_checkpoint(name_or_path, heads=heads, context_length=context_length, positions=positions)
    return file.read(allow_nan=allow_nan)


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
    """Return where an encoder's files are: shipped with the package, on disk, or fetched from the hub."""
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


def save_encoder(
    module: TextTransformer,
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    *,
    notes: str = "",
    overwrite: bool = False,
) -> None:
    """Write an unfolded module as a litetext checkpoint, see `write_checkpoint`."""
    checkpoint = Checkpoint(module.config, module.state_dict(), tokenizer, "litetext", str(folder))
    write_checkpoint(checkpoint, folder, notes=notes, overwrite=overwrite)


def write_checkpoint(
    checkpoint: Checkpoint, folder: str | os.PathLike[str], *, notes: str = "", overwrite: bool = False
) -> None:
    """Write a litetext checkpoint folder, atomically, dtypes kept.

    Args:
        checkpoint: with every tensor, unfolded.
        folder: new, or an earlier checkpoint where ``overwrite`` says so.
        notes: Markdown for its model card.
        overwrite: replace an earlier checkpoint that litetext wrote.
    """
    names = [name for name, _ in our_shapes(checkpoint.config)]
    if sorted(names) != sorted(checkpoint.state):
        odd = sorted(set(names) ^ set(checkpoint.state))[0]
        raise LitetextError(f"a checkpoint holds every tensor, unfolded; {odd!r} is missing or unexpected")
    with atomic_folder(folder, "encoder", overwrite=overwrite) as temporary:
        tensors = {name: checkpoint.state[name].detach().cpu().contiguous() for name in names}
        save_file(tensors, str(temporary / "model.safetensors"), metadata={"format": FORMAT})
        vocabulary = list(checkpoint.tokenizer.kept) if checkpoint.tokenizer.kept is not None else None
        config = {"format": FORMAT, "version": 1, "encoder": checkpoint.config.to_dict(), "vocabulary": vocabulary}
        write_json(temporary / "config.json", config, indent=None)
        checkpoint.tokenizer.save(temporary / "tokenizer.json")
        write_text(temporary / "README.md", model_card(checkpoint.config, checkpoint.bytes(), notes))


def write_authors(checkpoint: Checkpoint, destination: str | os.PathLike[str]) -> None:
    """Write the encoder under the authors' names (a teacher: under Meta's), dtypes kept.

    A ``.safetensors`` gets the bare encoder; a ``.pt`` gets ``{"model": {...}}`` with the prefix of a full SAM3 file.
    """
    layout = TEACHER if checkpoint.config.causal else STUDENT
    if checkpoint.tokenizer.kept is not None:
        raise LitetextError(
            f"{checkpoint.source} has a pruned vocabulary of {checkpoint.config.vocab_size} rows, which the authors' "
            "code cannot tokenize for; convert the unpruned checkpoint, or use --to litetext"
        )
    tensors = layout.write(checkpoint.state, checkpoint.config)
    suffix = Path(destination).suffix
    if suffix not in (".pt", ".safetensors"):
        raise LitetextError(
            f"{destination}: the authors' layout is one file; give a name ending in .pt or .safetensors"
        )
    with sealed_file(destination, "authors' encoder") as temporary:
        seal = blank_seal("authors' encoder")
        if suffix == ".pt":
            torch.save({"model": {FULL_CHECKPOINT_PREFIX + key: value for key, value in tensors.items()}}, temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.comment = seal.encode()
        else:
            save_file(tensors, str(temporary), metadata={"origin": seal})


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
    return EncoderFile(config, tokenizer, "litetext", str(path), size, lambda: {key: file.get(key) for key in expected})


def _open_foreign(file: TensorFile, path: Path, heads: int | None, changes: dict[str, Any]) -> EncoderFile:
    layout, prefix = find_layout(file, file.source)
    config = layout.infer(file, prefix, heads or _transformers_heads(path), file.source)
    layout.check(file, prefix, config, file.source)
    changes = _named_context(config, file.source, changes) | changes
    config = replace(config.with_convention(**changes), variant=variant_of(config))
    if config.table_is_cut() and "positions" not in changes and config.convention.positions == "slice":
        warnings.warn(_cut_table_warning(config, file.source), LitetextWarning, stacklevel=2)
    size = sum(file.bytes(prefix + key) for key, _ in layout.expected(config))
    return EncoderFile(config, Tokenizer(), layout.name, str(path), size, lambda: layout.read(file.get, prefix, config))


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
