"""Token ids of a whole corpus as two flat arrays: what questions 1 and 2 are answered from.

A list of lists costs over a hundred bytes a token; flat ids cost four, so four million prompts fit anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from ..progress import Progress, no_progress
from ..ragged import Ragged, offsets_of
from ..tokenizer import BYTE_SYMBOLS, Tokenizer

_CHUNK = 16_384  # prompts a batch: bounds the lists that live at one time
_CACHED_WORDS = 200_000


class PromptTokenizer(Protocol):
    """What the study needs of a tokenizer; `litetext.Tokenizer` is one."""

    @property
    def vocab_size(self) -> int:
        """Rows of the vocabulary."""
        ...

    @property
    def sot_id(self) -> int:
        """The id that starts every prompt."""
        ...

    @property
    def eot_id(self) -> int:
        """The id that ends every prompt."""
        ...

    def encode_batch(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return each prompt's ids with its start and end tokens, neither padded nor truncated."""
        ...

    def decode_token(self, token_id: int) -> str:
        """Return how the vocabulary writes one id."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """The tokens of N prompts, end to end.

    Attributes:
        ids: int32 [T] ids of N prompts, SOT and EOT included.
        vocab_size: rows of the vocabulary.
        special_ids: the ids of SOT and EOT.
        byte_rows: how many rows, the first ones, are single bytes that a pruned vocabulary keeps in any case.
    """

    ids: Ragged
    vocab_size: int
    special_ids: tuple[int, int]
    byte_rows: int = 0


def tokenize(phrases: Sequence[str], tokenizer: PromptTokenizer, progress: Progress = no_progress) -> TokenTable:
    """Return the token table of ``phrases``; ``progress`` counts them."""
    ours = isinstance(tokenizer, Tokenizer)
    encode_batch = _WordByWord(tokenizer) if isinstance(tokenizer, Tokenizer) else tokenizer.encode_batch
    ids, lengths = [], []
    for start in range(0, len(phrases), _CHUNK):
        batch = encode_batch(phrases[start : start + _CHUNK])
        lengths.append(np.fromiter(map(len, batch), np.int64, len(batch)))
        ids.append(np.fromiter(chain.from_iterable(batch), np.int32, int(lengths[-1].sum())))
        progress(start + len(batch), len(phrases))
    table = Ragged(np.concatenate(ids), offsets_of(np.concatenate(lengths)))
    special_ids = (tokenizer.sot_id, tokenizer.eot_id)
    return TokenTable(table, tokenizer.vocab_size, special_ids, BYTE_SYMBOLS if ours else 0)


class _WordByWord:
    """Tokenizes each word of a corpus once: a quarter of the time for hundreds of thousands of phrases.

    None of CLIP's tokens crosses a blank, so a phrase's ids are those of its words. Phrases that are not plain text
    go the whole way, since their cleaning (mojibake, HTML) looks at more than a word.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids_of: dict[str, list[int]] = {}

    def __call__(self, phrases: Sequence[str]) -> list[list[int]]:
        if len(self._ids_of) > _CACHED_WORDS:
            self._ids_of.clear()
        words = [phrase.split() if is_plain(phrase) else [phrase] for phrase in phrases]
        known = self._ids_of
        unknown = list({word for row in words for word in row if word not in known})
        for word, ids in zip(unknown, self._tokenizer.encode_batch(unknown), strict=True):
            known[word] = ids[1:-1]
        sot, eot = self._tokenizer.sot_id, self._tokenizer.eot_id
        return [[sot, *chain.from_iterable([known[word] for word in row]), eot] for row in words]


def is_plain(phrase: str) -> bool:
    """Whether cleaning changes nothing in ``phrase`` but white space and case: printable ASCII without ``&``."""
    return phrase.isascii() and phrase.isprintable() and "&" not in phrase
