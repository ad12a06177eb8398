"""Checkpoints in and out: litetext's folder, the authors' file, Meta's, transformers'.

A litetext checkpoint is a folder: ``model.safetensors`` (every tensor, unfolded, the unused projection and the whole
position table included), ``config.json`` (shape, convention, kept vocabulary), ``tokenizer.json`` and a model card.
What came in under the authors' names goes out under them unchanged, dtype for dtype.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..devices import floating_dtype, torch_device
from ..errors import LitetextError
from ..files import write_json, write_text
from ..outputs import atomic_folder, blank_seal, sealed_file
from ..tokenizer import Tokenizer
from .card import model_card
from .config import EncoderConfig, Positions
from .encoder_file import FORMAT, EncoderFile, open_checkpoint
from .layouts import FULL_CHECKPOINT_PREFIX, STUDENT, TEACHER
from .modules import TextTransformer, build
from .state_shapes import our_shapes
from .tensor_writer import Seen, ignore, write_safetensors, write_torch
from .tensorfile import LazyTensor, lazily
from .torch_encoder import TorchTextEncoder


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

    def file(self) -> EncoderFile:
        """Return the same as a file that is open, for what reads one tensor after the other."""
        return EncoderFile(self.config, self.tokenizer, self.layout, self.source, self.bytes(), lazily(self.state))

    def module(self, dtype: torch.dtype = torch.float32) -> TextTransformer:
        """Return the encoder as an unfolded module in eval mode."""
        module = build(self.config, device="meta")
        state = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in self.state.items()
        }
        module.load_state_dict(state, strict=True, assign=True)
        return module.eval()


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
    dtype: str | torch.dtype | None = None,
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
    return TorchTextEncoder(checkpoint.module(floating_dtype(dtype, where)).to(where), checkpoint.tokenizer)


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
    state = file.tensors()
    if not allow_nan:
        check_finite(state, file.source)
    return Checkpoint(file.config, state, file.tokenizer, file.layout, file.source)


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
    checkpoint: Checkpoint | EncoderFile, folder: str | os.PathLike[str], *, notes: str = "", overwrite: bool = False
) -> None:
    """Write a litetext checkpoint folder, atomically, dtypes kept.

    Args:
        checkpoint: with every tensor, unfolded; read already or not.
        folder: new, or an earlier checkpoint where ``overwrite`` says so.
        notes: Markdown for its model card.
        overwrite: replace an earlier checkpoint that litetext wrote.
    """
    with atomic_folder(folder, "encoder", overwrite=overwrite) as temporary:
        write_encoder(_opened(checkpoint), temporary, notes=notes)


def _opened(checkpoint: Checkpoint | EncoderFile) -> EncoderFile:
    return checkpoint.file() if isinstance(checkpoint, Checkpoint) else checkpoint


def write_encoder(text: EncoderFile, folder: Path, *, notes: str = "", seen: Seen = ignore) -> None:
    """Write the files of a litetext checkpoint into a folder that is there, one tensor after the other.

    Args:
        text: with every tensor, unfolded.
        folder: where to.
        notes: Markdown for the model card.
        seen: told of every tensor.
    """
    names = [name for name, _ in our_shapes(text.config)]
    if sorted(names) != sorted(text.state):
        odd = sorted(set(names) ^ set(text.state))[0]
        raise LitetextError(f"a checkpoint holds every tensor, unfolded; {odd!r} is missing or unexpected")
    tensors = {name: text.state[name] for name in names}
    write_safetensors(folder / "model.safetensors", tensors, {"format": FORMAT}, seen)
    vocabulary = list(text.tokenizer.kept) if text.tokenizer.kept is not None else None
    values = {"format": FORMAT, "version": 1, "encoder": text.config.to_dict(), "vocabulary": vocabulary}
    write_json(folder / "config.json", values, indent=None)
    text.tokenizer.save(folder / "tokenizer.json")
    write_text(folder / "README.md", model_card(text.config, text.bytes, notes))


def write_authors(checkpoint: Checkpoint | EncoderFile, destination: str | os.PathLike[str]) -> None:
    """Write the encoder under the authors' names (a teacher: under Meta's), dtypes kept.

    A ``.safetensors`` gets the bare encoder; a ``.pt`` gets ``{"model": {...}}`` with the prefix of a full SAM3 file.
    """
    tensors = authors_tensors(_opened(checkpoint))
    suffix = Path(destination).suffix
    if suffix not in (".pt", ".safetensors"):
        raise LitetextError(
            f"{destination}: the authors' layout is one file; give a name ending in .pt or .safetensors"
        )
    with sealed_file(destination, "authors' encoder") as temporary:
        seal = blank_seal("authors' encoder")
        if suffix == ".pt":
            write_torch(temporary, {FULL_CHECKPOINT_PREFIX + key: value for key, value in tensors.items()}, seal)
        else:
            write_safetensors(temporary, tensors, {"origin": seal})


def authors_tensors(text: EncoderFile) -> dict[str, LazyTensor]:
    """Return an encoder's tensors under the authors' names (a teacher's under Meta's), without prefix.

    Raises:
        LitetextError: a pruned vocabulary.
    """
    if text.tokenizer.kept is not None:
        raise LitetextError(
            f"{text.source} has a pruned vocabulary of {text.config.vocab_size} rows, which the authors' code cannot "
            "tokenize for; convert the unpruned checkpoint, or use --to litetext"
        )
    return (TEACHER if text.config.causal else STUDENT).write(text.state, text.config)
