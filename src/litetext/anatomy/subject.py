"""The encoder under study, whatever it is: its tables as arrays, its features without padding.

Every question but the first two asks an encoder for the same three things: the token embedding, the position
table, and features of prompts. `Subject` is that, for litetext's own encoders (and everything `load_encoder`
reads) and for any text model in a local transformers folder, with its own tokenizer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoders import TextEncoder, TextFeatures
from ..encoders.runtime import is_exported
from ..encoders.transformers_config import read_model_config
from ..errors import LitetextError, extras_named, failures_named
from ..progress import Progress, no_progress
from ..ragged import Ragged, offsets_of
from .tokens import PromptTokenizer

if TYPE_CHECKING:
    from ..encoders import TextTransformer, TorchTextEncoder

_BATCH = 256  # prompts encoded at once: bounds the padded features that live at one time


def pooled(features: Ragged) -> np.ndarray:
    """Return float32 [N, D]: the mean over the real tokens [T, D] of each of N prompts, which have one or more."""
    means: np.ndarray = np.add.reduceat(features.values, features.offsets[:-1], axis=0)
    return means / features.lengths[:, None].astype(np.float32)


@dataclass(frozen=True, eq=False)
class Subject:
    """An encoder under study.

    Attributes:
        name: what the user called it.
        encoder: turns prompts into features.
        tokenizer: its own.
        embedding: float32 [V, D], a row a token.
        positions: float32 [P, D], a row a position; None for encoders without such a table.
        module: litetext's torch module, which can run under other conventions; None for a transformers model.
    """

    name: str
    encoder: TextEncoder
    tokenizer: PromptTokenizer
    embedding: np.ndarray
    positions: np.ndarray | None
    module: TextTransformer | None = None

    def features(self, prompts: Sequence[str], progress: Progress = no_progress) -> Ragged:
        """Return the features of the real tokens of ``prompts``: float32 [T, D].

        Real tokens end with EOT, or with the context where a prompt was cut; that is counted in the ids, for the
        published students' mask also flags a real token whose id happens to be the padding's.
        """
        tokens, lengths = [], []
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            features = self.encoder.encode(batch).numpy()
            context = features.tokens.shape[1]
            counts = np.array([min(len(ids), context) for ids in self.tokenizer.encode_batch(batch)])
            tokens.append(features.tokens[np.arange(context) < counts[:, None]])
            lengths.append(counts)
            progress(start + len(batch), len(prompts))
        return Ragged(np.concatenate(tokens), offsets_of(np.concatenate(lengths)))


def load_subject(name_or_path: str | os.PathLike[str], *, allow_nan: bool = False) -> Subject:
    """Load the encoder to study.

    Args:
        name_or_path: a checkpoint (`load_torch_encoder`), or a folder of a transformers text model.
        allow_nan: load a checkpoint with weights that are NaN or infinite too.

    Raises:
        LitetextError: nothing of that name, or what is there cannot be studied.
    """
    path = Path(name_or_path)
    if (path / "config.json").is_file():
        kind = str(read_model_config(path / "config.json").get("model_type", ""))
        if kind and not kind.startswith("sam3"):
            return _from_transformers(path)
    if is_exported(path):
        raise LitetextError(
            f"{path} is an exported encoder, without weights to look into; give the checkpoint it was made from"
        )
    from ..encoders import load_torch_encoder  # torch: not for questions 1 and 2

    return subject_of(load_torch_encoder(name_or_path, allow_nan=allow_nan), str(name_or_path))


def subject_of(encoder: TorchTextEncoder, name: str) -> Subject:
    """Return a litetext encoder as a subject; its position table is the one in the file, every row."""
    module = getattr(encoder, "module", None)
    if module is None:
        raise LitetextError(f"{name} has no weights to look into; the audit takes a torch checkpoint")
    return Subject(
        name,
        encoder,
        encoder.tokenizer,
        module.token_embedding.weight.detach().float().cpu().numpy(),
        module.position_embedding.detach().float().cpu().numpy(),
        module,
    )


def _from_transformers(folder: Path) -> Subject:
    with extras_named():
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it would be drawn where nobody watches, too
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with failures_named(folder, "is not a transformers text model that loads here"):
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, **options).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            subject = _subject_of_transformers(folder, model, tokenizer)
            subject.features(["a dog"])
    finally:
        if bars:
            logging.enable_progress_bar()
    return subject


def _subject_of_transformers(folder: Path, model: Any, tokenizer: Any) -> Subject:
    model = getattr(model, "text_model", model)  # the text tower of a CLIP-like pair
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    tables = [weight for name, weight in model.named_parameters() if name.endswith(_POSITION_TABLES)]
    return Subject(
        name=folder.resolve().parent.name if folder.name == "model" else folder.resolve().name,
        encoder=_TransformersEncoder(model, tokenizer),
        tokenizer=_TransformersTokenizer(tokenizer),
        embedding=model.get_input_embeddings().weight.detach().numpy(),
        positions=tables[0].detach().numpy() if tables else None,
    )


_POSITION_TABLES = ("position_embeddings.weight", "position_embedding.weight", "embed_positions.weight", "wpe.weight")


@dataclass(frozen=True)
class _TransformersEncoder:
    """A transformers text model behind the seam: its last hidden states under its own attention mask."""

    model: Any
    tokenizer: Any

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        import torch

        batch = self.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            tokens = self.model(**batch).last_hidden_state
        return TextFeatures(tokens, batch["attention_mask"] == 0)


@dataclass(frozen=True)
class _TransformersTokenizer:
    """A transformers tokenizer with the surface of `litetext.Tokenizer`."""

    tokenizer: Any

    @cached_property
    def _frame(self) -> list[int]:
        """What the tokenizer puts around nothing: its start and end tokens."""
        ids: list[int] = self.tokenizer("")["input_ids"]
        return ids or [self.tokenizer.eos_token_id or 0]

    @property
    def vocab_size(self) -> int:
        return len(self.tokenizer)

    @property
    def sot_id(self) -> int:
        return self._frame[0]

    @property
    def eot_id(self) -> int:
        return self._frame[-1]

    def encode_batch(self, prompts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(prompts), return_attention_mask=False, verbose=False)["input_ids"]
        return ids

    def decode_token(self, token_id: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(token_id))
