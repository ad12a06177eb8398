"""CLIP's byte-level BPE on the ``tokenizers`` library, and the surgery that shrinks its vocabulary.

What is special here:

* The text is cleaned exactly as SAM3's own tokenizer does it, so ids are identical (REFERENCE section 1). Printable
  ASCII without ``&`` skips ``ftfy`` and the HTML unescaping, neither of which can change it.
* The merges ship with the package (49,408 tokens): nothing is downloaded.
* `Tokenizer.prune_vocabulary` drops *rows*, never merges. A prompt is first cut by CLIP's full merges; a token whose
  row is gone is then split down its own merge tree into pieces that were kept. The 512 byte symbols are always kept,
  so every string still encodes, and a prompt whose tokens are all kept gets the same tokens as before.
"""

from __future__ import annotations

import gzip
import html
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from importlib import resources

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from .errors import LitetextError
from .files import atomic_path

CLIP_VOCABULARY_SIZE = 49408
BYTE_SYMBOLS = 512
"""Ids 0 to 511: the 256 bytes inside a word, and the same at a word's end."""

SOT, EOT = "<start_of_text>", "<end_of_text>"
_WORDS = r"""<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def clean(text: str) -> str:
    """Return ``text`` as SAM3's tokenizer reads it: mojibake mended, HTML unescaped twice, one space, lower case."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


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
        self._bpe = _bpe()
        self.kept: tuple[int, ...] | None = None
        self.vocab_size, self.sot_id, self.eot_id = CLIP_VOCABULARY_SIZE, 49406, 49407
        if kept is not None:
            self.kept = _checked_kept(kept)
            self.vocab_size = len(self.kept)
            self.sot_id, self.eot_id = self.vocab_size - 2, self.vocab_size - 1
            self._row = np.full(CLIP_VOCABULARY_SIZE, -1, dtype=np.int64)
            self._row[list(self.kept)] = np.arange(self.vocab_size)
            self._pieces: dict[int, list[int]] = {}

    def encode_batch(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return each prompt's ids with SOT and EOT, neither padded nor truncated."""
        texts = [clean(prompt) for prompt in prompts]
        sot, eot = self.sot_id, self.eot_id
        encodings = self._bpe.encode_batch_fast(texts, add_special_tokens=False)
        inner = [
            self._with_special_words(text) if "<start_of_text>" in text or "<end_of_text>" in text else encoding.ids
            for text, encoding in zip(texts, encodings, strict=True)
        ]
        if self.kept is not None:
            inner = [self._rows(ids) for ids in inner]
        return [[sot, *ids, eot] for ids in inner]

    def __call__(self, prompts: Sequence[str], context_length: int, pad_id: int = 0) -> np.ndarray:
        """Return ids int64 [B, context_length], padded with ``pad_id``.

        A prompt too long for the context is cut and its last slot set to EOT.
        """
        if context_length < 2:
            raise LitetextError(f"context_length {context_length} has no room for SOT and EOT; give 2 or more")
        batch = np.full((len(prompts), context_length), pad_id, dtype=np.int64)
        for row, ids in zip(batch, self.encode_batch(prompts), strict=True):
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
        token = str(self._bpe.id_to_token(clip_id))
        if clip_id >= CLIP_VOCABULARY_SIZE - 2:
            return token
        stem, end = (token[:-4], "</w>") if token.endswith("</w>") else (token, "")
        return bytes(_byte_of_symbol()[symbol] for symbol in stem).decode("utf-8", errors="replace") + end

    def prune_vocabulary(self, corpus: Iterable[str] | int | None = None, rows: int | None = None) -> Tokenizer:
        """Return a tokenizer that keeps only some rows, all 512 byte symbols, SOT and EOT.

        Args:
            corpus: prompts; every token they use is kept, or the most frequent ones if ``rows`` is given. A number
                alone means ``rows`` without a corpus: the tokens CLIP merged first, its own most frequent ones.
            rows: the number of rows wanted, the 512 byte symbols, SOT and EOT included.
        """
        if self.kept is not None:
            raise LitetextError("this vocabulary is already pruned; prune CLIP's full one")
        if isinstance(corpus, int):
            corpus, rows = None, corpus
        if corpus is None and rows is None:
            raise LitetextError("give the prompts to keep the tokens of, or a number of rows")
        if rows is not None and not BYTE_SYMBOLS + 2 <= rows <= CLIP_VOCABULARY_SIZE:
            raise LitetextError(f"rows {rows} is outside {BYTE_SYMBOLS + 2}..{CLIP_VOCABULARY_SIZE}")
        always = {*range(BYTE_SYMBOLS), self.sot_id, self.eot_id}
        if corpus is None:
            candidates: Iterable[int] = range(BYTE_SYMBOLS, CLIP_VOCABULARY_SIZE - 2)
        else:
            counts = Counter(i for ids in self.encode_batch(list(corpus)) for i in ids)
            candidates = sorted((i for i in counts if i not in always), key=lambda i: (-counts[i], i))
        wanted = list(candidates)[: None if rows is None else rows - len(always)]
        return Tokenizer(sorted({*always, *wanted}))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write CLIP's full tokenizer as a ``tokenizer.json`` that the ``tokenizers`` library reads by itself.

        That format has no words for dropped rows or for ``ftfy``: the kept ids stand in the checkpoint's config.
        """
        standalone = tokenizers.Tokenizer.from_str(self._bpe.to_str())
        standalone.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        standalone.post_processor = processors.TemplateProcessing(
            single=f"{SOT} $A {EOT}", special_tokens=[(SOT, 49406), (EOT, 49407)]
        )
        standalone.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
        with atomic_path(path) as temporary:
            standalone.save(str(temporary), pretty=False)

    def _with_special_words(self, text: str) -> list[int]:
        # SAM3's tokenizer reads these two words, where a user types them, as the special tokens themselves.
        ids = []
        for piece, _ in self._bpe.pre_tokenizer.pre_tokenize_str(text):
            if piece in (SOT, EOT):
                ids.append(49406 if piece == SOT else 49407)
            else:
                ids.extend(token.id for token in self._bpe.model.tokenize(piece))
        return ids

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
            left, right = self._merge_tree[clip_id]
            self._pieces[clip_id] = [*self._split(left), *self._split(right)]
        return self._pieces[clip_id]

    @cached_property
    def _merge_tree(self) -> dict[int, tuple[int, int]]:
        ids = self._bpe.get_vocab()
        return {ids[left + right]: (ids[left], ids[right]) for left, right in _merges()}


def vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's vocabulary (token to id) and its 48,894 merges in order."""
    merges = _merges()
    symbols = list(_byte_of_symbol())
    tokens = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges), SOT, EOT]
    return {token: i for i, token in enumerate(tokens)}, merges


@lru_cache(maxsize=1)
def _bpe() -> tokenizers.Tokenizer:
    vocabulary, merges = vocabulary_and_merges()
    bpe = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(f"(?i:{_WORDS})"), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return bpe


def _merges() -> list[tuple[str, str]]:
    packed = resources.files("litetext.data").joinpath("clip/merges.txt.gz").read_bytes()
    pairs = (line.split(" ") for line in gzip.decompress(packed).decode("utf-8").splitlines())
    return [(left, right) for left, right in pairs]


@lru_cache(maxsize=1)
def _byte_of_symbol() -> dict[str, int]:
    """CLIP's printable stand-in for every byte, in the order of ids 0 to 255."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _checked_kept(kept: Iterable[int]) -> tuple[int, ...]:
    ids = tuple(sorted({int(i) for i in kept}))
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


__all__ = ["CLIP_VOCABULARY_SIZE", "Tokenizer", "clean", "vocabulary_and_merges"]
