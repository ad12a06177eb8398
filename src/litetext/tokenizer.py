"""CLIP's byte-level BPE in half a megabyte of memory, and the surgery that shrinks its vocabulary.

What is special here:

* The text is cleaned exactly as SAM3's own tokenizer does it, so ids are identical. Printable
  ASCII without ``&`` skips ``ftfy`` and the HTML unescaping, neither of which can change it.
* The merges ship with the package (49,408 tokens): nothing is downloaded. CLIP numbers its tokens in the order in which
  it merged them, so the whole model is one table of id pairs. The ``tokenizers`` library, which holds the same as
  strings in 19 MB and takes a tenth of a second to build it, only says what a letter is outside ASCII, and writes
  ``tokenizer.json`` for other programs. Words met before are looked up.
* `Tokenizer.prune_vocabulary` drops *rows*, never merges. A prompt is first cut by CLIP's full merges; a token whose
  row is gone is then split down its own merge tree into pieces that were kept. The 512 byte symbols are always kept,
  so every string still encodes, and a prompt whose tokens are all kept gets the same tokens as before.
"""

from __future__ import annotations

import numbers
import os
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import LitetextError, short
from .files import atomic_path

if TYPE_CHECKING:
    from tokenizers import pre_tokenizers

CLIP_VOCABULARY_SIZE = 49408
BYTE_SYMBOLS = 512
"""Ids 0 to 511: the 256 bytes inside a word, and the same at a word's end."""

SOT, EOT = "<start_of_text>", "<end_of_text>"
_SPECIAL_IDS = {SOT: CLIP_VOCABULARY_SIZE - 2, EOT: CLIP_VOCABULARY_SIZE - 1}
_WORDS = r"""<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_ASCII_WORDS = re.compile(_WORDS.replace(r"\p{L}", "a-z").replace(r"\p{N}", "0-9"))  # of lower-case text
_REMEMBERED = 1 << 15  # words whose ids are kept at hand


def clean(text: str) -> str:
    """Return ``text`` as SAM3's tokenizer reads it: mojibake repaired, HTML unescaped twice, one space, lower case."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import html

        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def prompts_of(prompts: str | Iterable[str]) -> list[str]:
    """Return prompts as a list; a text is one prompt, not a sequence of letters.

    Raises:
        LitetextError: something else than a text or a sequence of texts.
    """
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, bytes | Mapping | Set) or not isinstance(prompts, Iterable):
        raise LitetextError(f"prompts are a list of noun phrases, got {short(prompts)}")
    listed = list(prompts)
    for prompt in listed:
        if not isinstance(prompt, str):
            raise LitetextError(f"a prompt is a text, got {short(prompt)}")
    return listed


class Tokenizer:
    """Noun phrases to CLIP token ids, and back.

    Args:
        kept: the CLIP ids that have a row in the embedding, for a pruned vocabulary; None for all 49,408. Row ``i``
            of the embedding belongs to the i-th smallest kept id.

    Attributes:
        vocab_size: rows of the embedding.
        kept: sorted CLIP ids of a pruned vocabulary, or None.
        sot_id, eot_id: the ids that start and end every prompt.
    """

    def __init__(self, kept: Iterable[int] | None = None) -> None:
        self.kept: tuple[int, ...] | None = None
        self.vocab_size, self.sot_id, self.eot_id = CLIP_VOCABULARY_SIZE, _SPECIAL_IDS[SOT], _SPECIAL_IDS[EOT]
        if kept is not None:
            self.kept = _checked_kept(kept)
            self.vocab_size = len(self.kept)
            self.sot_id, self.eot_id = self.vocab_size - 2, self.vocab_size - 1
            self._row = np.full(CLIP_VOCABULARY_SIZE, -1, dtype=np.int64)
            self._row[list(self.kept)] = np.arange(self.vocab_size)
            self._pieces: dict[int, list[int]] = {}

    def encode_batch(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return each prompt's ids with SOT and EOT, neither padded nor truncated."""
        sot, eot = self.sot_id, self.eot_id
        texts = map(clean, prompts_of(prompts))
        inner = [[i for word in _words(text) for i in _word_ids(word)] for text in texts]
        if self.kept is not None:
            inner = [self._rows(ids) for ids in inner]
        return [[sot, *ids, eot] for ids in inner]

    def __call__(self, prompts: Sequence[str], context_length: int, pad_id: int = 0) -> np.ndarray:
        """Return ids int64 [B, context_length], padded with ``pad_id``.

        A prompt too long for the context is cut and its last slot set to EOT.
        """
        if context_length < 2:
            raise LitetextError(f"context_length {context_length} has no room for SOT and EOT; give 2 or more")
        encoded = self.encode_batch(prompts)
        batch = np.full((len(encoded), context_length), pad_id, dtype=np.int64)
        for row, ids in zip(batch, encoded, strict=True):
            if len(ids) > context_length:
                row[:] = ids[:context_length]
                row[-1] = self.eot_id
            else:
                row[: len(ids)] = ids
        return batch

    def decode_token(self, token_id: int) -> str:
        """Return the text of one id as CLIP writes it: ``</w>`` marks a word's end, SOT and EOT their names."""
        if not 0 <= token_id < self.vocab_size:
            raise LitetextError(f"token id {token_id} is outside this vocabulary of {self.vocab_size} rows")
        clip_id = token_id if self.kept is None else self.kept[token_id]
        token = _spelling(clip_id)
        if clip_id in _SPECIAL_IDS.values():
            return token
        stem, end = (token[:-4], "</w>") if token.endswith("</w>") else (token, "")
        return bytes(_byte_of_symbol()[symbol] for symbol in stem).decode("utf-8", errors="replace") + end

    @property
    def clip_ids(self) -> np.ndarray:
        """int64 [vocab_size]: CLIP's id of every row, rising."""
        return np.arange(CLIP_VOCABULARY_SIZE) if self.kept is None else np.array(self.kept, dtype=np.int64)

    def prune_vocabulary(self, corpus: Iterable[str] | int | None = None, rows: int | None = None) -> Tokenizer:
        """Return a tokenizer that keeps only some of the rows; all 512 byte symbols, SOT and EOT stay.

        Args:
            corpus: prompts; every token they use is kept, or as many as ``rows`` says: first those that the prompts
                use most, then those that CLIP merged first. A number alone means ``rows`` without a corpus.
            rows: the number of rows wanted, the 512 byte symbols, SOT and EOT included.

        Raises:
            LitetextError: neither is given, or ``rows`` is less than what always stays or more than there is.
        """
        if isinstance(corpus, int):
            corpus, rows = None, corpus
        if corpus is None and rows is None:
            raise LitetextError("give the prompts to keep the tokens of, or a number of rows")
        if rows is not None and not BYTE_SYMBOLS + 2 <= rows <= self.vocab_size:
            raise LitetextError(f"rows {rows} is outside {BYTE_SYMBOLS + 2}..{self.vocab_size}")
        clip_ids = self.clip_ids
        always = {*range(BYTE_SYMBOLS), *_SPECIAL_IDS.values()}
        counts = Counter(int(clip_ids[i]) for ids in self.encode_batch(list(corpus or ())) for i in ids)
        if rows is None:
            return Tokenizer({*always, *counts})
        wanted = sorted(set(clip_ids.tolist()) - always, key=lambda i: (-counts[i], i))
        return Tokenizer({*always, *wanted[: rows - len(always)]})

    def rows_in(self, larger: Tokenizer) -> np.ndarray:
        """Return int64 [vocab_size]: for every row the row of the same token in a larger vocabulary.

        Raises:
            LitetextError: a token that the other vocabulary lacks.
        """
        row_of = np.full(CLIP_VOCABULARY_SIZE, -1, dtype=np.int64)
        row_of[larger.clip_ids] = np.arange(larger.vocab_size)
        rows: np.ndarray = row_of[self.clip_ids]
        if (lacking := int((rows < 0).sum())) > 0:
            raise LitetextError(
                f"the vocabularies do not match: {lacking:,} of {self.vocab_size:,} tokens are not among the "
                f"{larger.vocab_size:,} of the larger one; give the smaller one a part of the larger one's vocabulary"
            )
        return rows

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write CLIP's full tokenizer as a ``tokenizer.json`` that the ``tokenizers`` library reads by itself.

        That format has no words for dropped rows or for ``ftfy``: the kept ids stand in the checkpoint's config.
        """
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

        vocabulary, merges = vocabulary_and_merges()
        standalone = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        standalone.pre_tokenizer = pre_tokenizers.Sequence([_splitter(), byte_level])
        standalone.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        standalone.post_processor = processors.TemplateProcessing(
            single=f"{SOT} $A {EOT}", special_tokens=list(_SPECIAL_IDS.items())
        )
        standalone.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
        with atomic_path(path) as temporary:
            standalone.save(str(temporary), pretty=False)

    def _rows(self, clip_ids: list[int]) -> list[int]:
        rows = self._row[clip_ids].tolist()
        if -1 not in rows:
            return rows
        return [
            piece for row, i in zip(rows, clip_ids, strict=True) for piece in ([row] if row >= 0 else self._split(i))
        ]

    def _split(self, clip_id: int) -> list[int]:
        if self._row[clip_id] >= 0:
            return [int(self._row[clip_id])]
        if clip_id not in self._pieces:
            left, right = _merges().parts(clip_id)
            self._pieces[clip_id] = [*self._split(left), *self._split(right)]
        return self._pieces[clip_id]


def vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's vocabulary (token to id) and its 48,894 merges in order."""
    symbols = list(_byte_of_symbol())
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    merges = []
    for left, right in zip(_merges().left, _merges().right, strict=True):
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return {token: i for i, token in enumerate([*tokens, SOT, EOT])}, merges


@dataclass(frozen=True, slots=True)
class _Merges:
    """CLIP's merges: the n-th joins the tokens ``left[n]`` and ``right[n]`` to token 512 + n.

    Attributes:
        left, right: 16-bit ids, in the order in which the pairs were merged when CLIP's vocabulary was made.
        pairs: both ids of every merge in one number, sorted, to be found by bisection.
        ranks: which merge each of ``pairs`` is.
    """

    left: array[int]
    right: array[int]
    pairs: array[int]
    ranks: array[int]

    def parts(self, clip_id: int) -> tuple[int, int]:
        """Return what was joined to a merged token."""
        return self.left[clip_id - BYTE_SYMBOLS], self.right[clip_id - BYTE_SYMBOLS]

    def rank(self, left: int, right: int) -> int | None:
        """Return the place of the pair among the merges, None where it is never merged."""
        pair = left << 16 | right
        at = bisect_left(self.pairs, pair)
        return self.ranks[at] if at < len(self.pairs) and self.pairs[at] == pair else None


@lru_cache(maxsize=1)
def _merges() -> _Merges:
    table = np.load(Path(__file__).parent / "data" / "clip" / "merges.npy")
    pairs = table[:, 0].astype(np.uint32) << 16 | table[:, 1]
    order = np.argsort(pairs)
    return _Merges(
        left=array("H", table[:, 0].astype("H").tobytes()),
        right=array("H", table[:, 1].astype("H").tobytes()),
        pairs=array("I", pairs[order].astype("I").tobytes()),
        ranks=array("H", order.astype("H").tobytes()),
    )


def _words(text: str) -> list[str]:
    """Return the words that a cleaned text is cut into before anything is merged."""
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    return [word for word, _ in _splitter().pre_tokenize_str(text)]


@lru_cache(maxsize=1)
def _splitter() -> pre_tokenizers.Split:
    import tokenizers
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Split(tokenizers.Regex(f"(?i:{_WORDS})"), behavior="removed", invert=True)


@lru_cache(maxsize=_REMEMBERED)
def _word_ids(word: str) -> tuple[int, ...]:
    """Return the CLIP ids of one word: of all pairs in it, the one merged first in training is merged first."""
    if word in _SPECIAL_IDS:  # SAM3's tokenizer reads these two, where a user types them, as the tokens themselves
        return (_SPECIAL_IDS[word],)
    symbol_of = _symbol_of_byte()
    ids = [symbol_of[byte] for byte in word.encode()]
    ids[-1] += BYTE_SYMBOLS // 2  # the same byte at a word's end
    merges, count = _merges(), len(ids)
    before, after = list(range(-1, count - 1)), list(range(1, count + 1))  # neighbours still there
    waiting = [(rank, at) for at in range(count - 1) if (rank := merges.rank(ids[at], ids[at + 1])) is not None]
    heapify(waiting)
    while waiting:
        rank, at = heappop(waiting)
        right = after[at]
        if right == count or (ids[at], ids[right]) != (merges.left[rank], merges.right[rank]):
            continue  # one of the two was merged with its other neighbour meanwhile
        ids[at], ids[right] = BYTE_SYMBOLS + rank, -1
        after[at] = after[right]
        if after[at] < count:
            before[after[at]] = at
        for first in (before[at], at):
            if first >= 0 and after[first] < count:
                joined = merges.rank(ids[first], ids[after[first]])
                if joined is not None:
                    heappush(waiting, (joined, first))
    return tuple(i for i in ids if i >= 0)


def _spelling(clip_id: int) -> str:
    """Return a token as CLIP's vocabulary writes it."""
    if clip_id >= CLIP_VOCABULARY_SIZE - 2:
        return (SOT, EOT)[clip_id - CLIP_VOCABULARY_SIZE + 2]
    if clip_id >= BYTE_SYMBOLS:
        return "".join(map(_spelling, _merges().parts(clip_id)))
    symbols = list(_byte_of_symbol())
    return symbols[clip_id] if clip_id < len(symbols) else symbols[clip_id - len(symbols)] + "</w>"


@lru_cache(maxsize=1)
def _byte_of_symbol() -> dict[str, int]:
    """CLIP's printable stand-in for every byte, in the order of ids 0 to 255."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


@lru_cache(maxsize=1)
def _symbol_of_byte() -> list[int]:
    """The id of every byte inside a word."""
    ids = {byte: i for i, byte in enumerate(_byte_of_symbol().values())}
    return [ids[byte] for byte in range(256)]


def _checked_kept(kept: Iterable[int]) -> tuple[int, ...]:
    if isinstance(kept, str) or not isinstance(kept, Iterable):
        raise LitetextError(f"a pruned vocabulary is a list of CLIP ids; got {short(kept)}")
    given = list(kept)
    wrong = next((i for i in given if not isinstance(i, numbers.Integral) or isinstance(i, bool)), None)
    if wrong is not None or None in given:
        raise LitetextError(f"a pruned vocabulary is a list of CLIP ids; it holds {short(wrong)}")
    ids = tuple(sorted({int(i) for i in given}))
    if not ids or ids[0] < 0 or ids[-1] >= CLIP_VOCABULARY_SIZE:
        raise LitetextError(
            f"a pruned vocabulary holds CLIP ids 0 to {CLIP_VOCABULARY_SIZE - 1}; got {ids[:1]}..{ids[-1:]}"
        )
    lacking = sorted({*range(BYTE_SYMBOLS), 49406, 49407} - set(ids))
    if lacking:
        raise LitetextError(
            f"the vocabulary lacks id {lacking[0]}; keep all {BYTE_SYMBOLS} byte symbols and 49406, 49407, "
            "or some strings could not be encoded"
        )
    return ids


__all__ = ["CLIP_VOCABULARY_SIZE", "Tokenizer", "clean", "prompts_of", "vocabulary_and_merges"]
