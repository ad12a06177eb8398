"""Question 2, the vocabulary: which tokens do the prompts use, and how few rows would do?

Every count includes SOT and EOT, as in the paper's figure 3. The smallest vocabularies are read off the
frequency order: for a share of *tokens* that is the true minimum; for a share of *prompts* (each needs all of
its tokens) the true minimum is a covering problem without an efficient solution, and the figure given is the
smallest vocabulary that keeps the most frequent tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import LitetextError
from .tokens import PromptTokenizer, TokenTable

SHARES = (0.99, 0.999, 1.0)
_TOP = 100
_FREQUENT_WORDS = 5_000


@dataclass(frozen=True, slots=True)
class TopToken:
    """One of the most frequent tokens: how it is written, its count and share of all tokens, frequent words with it."""

    token_id: int
    text: str
    count: int
    share: float
    words: list[str]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The answer to question 2.

    Attributes:
        size: rows of the tokenizer's vocabulary.
        used: distinct tokens in the prompts, SOT and EOT included.
        used_share: ``used / size``.
        tokens: all tokens counted.
        special_share: share of SOT and EOT among them.
        top_100_share: share of the 100 most frequent tokens, SOT and EOT included.
        coverage: (rank, share of all tokens covered by the ``rank`` most frequent) at spread-out ranks.
        rows_for_tokens: share of tokens to cover -> rows it takes, for 0.99, 0.999 and 1.
        rows_for_prompts: share of prompts to cover whole -> rows it takes, most frequent tokens first.
        top: the 100 most frequent tokens.
    """

    size: int
    used: int
    used_share: float
    tokens: int
    special_share: float
    top_100_share: float
    coverage: list[tuple[int, float]]
    rows_for_tokens: dict[float, int]
    rows_for_prompts: dict[float, int]
    top: list[TopToken]


def vocabulary(table: TokenTable) -> Vocabulary:
    """Return the vocabulary figures of a token table (texts and words of ``top`` empty: see `with_words`)."""
    if table.ids.values.size == 0:
        raise LitetextError("the vocabulary needs at least one token")
    counts = np.bincount(table.ids.values, minlength=table.vocab_size)
    order = np.argsort(-counts, kind="stable")  # most frequent first; equal counts by id
    used = int(np.count_nonzero(counts))
    total = int(counts.sum())
    covered = np.cumsum(counts[order[:used]]) / total
    covered[-1] = 1.0
    return Vocabulary(
        size=table.vocab_size,
        used=used,
        used_share=used / table.vocab_size,
        tokens=total,
        special_share=float(counts[sorted(set(table.special_ids))].sum() / total),
        top_100_share=float(covered[min(_TOP, used) - 1]),
        coverage=[(int(rank), float(covered[rank - 1])) for rank in _spread(used)],
        rows_for_tokens={share: int(np.searchsorted(covered, share - 1e-12)) + 1 for share in SHARES},
        rows_for_prompts=_rows_for_prompts(table, order),
        top=[TopToken(int(i), "", int(counts[i]), float(counts[i] / total), []) for i in order[: min(_TOP, used)]],
    )


def _rows_for_prompts(table: TokenTable, order: np.ndarray) -> dict[float, int]:
    rank = np.empty(table.vocab_size, np.int64)
    rank[order] = np.arange(table.vocab_size)
    needed = (
        np.maximum.reduceat(rank[table.ids.values], table.ids.offsets[:-1]) + 1
    )  # rows until the prompt's rarest token is in
    return {share: int(np.quantile(needed, share, method="inverted_cdf")) for share in SHARES}


def _spread(last: int, points: int = 200) -> list[int]:
    """Ranks from 1 to ``last``, evenly spread on a logarithmic scale."""
    return sorted({round(float(rank)) for rank in np.geomspace(1, last, points)})


def with_words(result: Vocabulary, phrases: Iterable[str], tokenizer: PromptTokenizer) -> Vocabulary:
    """Return ``result`` with the text of each top token and up to three frequent words that contain it."""
    counts = Counter(word for phrase in phrases for word in phrase.split())
    words = [word for word, _ in counts.most_common(_FREQUENT_WORDS)]
    words_of: dict[int, list[str]] = {}
    for word, ids in zip(words, tokenizer.encode_batch(words), strict=True):
        for token_id in set(ids) - {tokenizer.sot_id, tokenizer.eot_id}:
            words_of.setdefault(token_id, []).append(word)
    top = [
        TopToken(t.token_id, tokenizer.decode_token(t.token_id), t.count, t.share, words_of.get(t.token_id, [])[:3])
        for t in result.top
    ]
    return replace(result, top=top)
