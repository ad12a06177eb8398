"""The concept bank: a table of phrases embedded beforehand, which is a text encoder of its own.

A bank is one safetensors file, mapped into memory: real tokens of all phrases end to end in float16, an index of 64-bit
hashes to find a phrase by bisection, and the phrases themselves to be sure. Opening it reads the header alone, whatever
its size. Phrases are kept as the tokenizer cleans them, so ``"White  Dog"`` and ``"white dog"`` are one entry.

Known phrases cost a look-up. Unknown ones go to a fallback encoder, if there is one, and are remembered. What tells
whether an encoder is the one a bank was made with is what it answers: a few of the bank's own phrases are asked of it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..outputs import blank_seal, sealed_file
from ..progress import Progress, no_progress
from ..ragged import Ragged, offsets_of
from ..tokenizer import clean, prompts_of
from .config import LONGEST_CONTEXT
from .exemplar import ExemplarConcept
from .features import TextEncoder, TextFeatures
from .safetensors_file import SafetensorsFile

FORMAT = "litetext-bank"

_BATCH = 256  # phrases embedded at once while building
_PROBES = 8  # phrases asked of a fallback
_SAME = 0.98  # worst token cosine at which a fallback counts as the bank's encoder: its int8 exports stay above 0.99


@dataclass(frozen=True)
class BankSummary:
    """What `build_bank` wrote: phrases given, distinct concepts kept, their real tokens, bytes of the file."""

    phrases: int
    concepts: int
    tokens: int
    bytes: int


def build_bank(
    phrases: Sequence[str],
    encoder: TextEncoder,
    destination: str | os.PathLike[str],
    *,
    encoder_name: str,
    concepts: Sequence[ExemplarConcept] = (),
    thresholds: Mapping[str, float] | None = None,
    progress: Progress = no_progress,
) -> BankSummary:
    """Embed ``phrases`` and write them as a bank, atomically.

    Args:
        phrases: in any order; those that clean to the same text are stored once.
        encoder: any text encoder.
        destination: the ``.safetensors`` file.
        encoder_name: what the encoder is called, for people and messages.
        concepts: shown by example boxes (`Segmenter.concept`), stored beside the phrases, each with its threshold.
        thresholds: for some of the phrases, the lowest score that counts; others have none of their own.
        progress: counts phrases.

    Raises:
        LitetextError: nothing to store, two concepts of one name, tokens of several widths, or a threshold that is not
            of a phrase or not in 0..1.
    """
    if Path(destination).suffix != ".safetensors":
        raise LitetextError(f"{destination}: a bank is a safetensors file; give a name ending in .safetensors")
    texts = list(dict.fromkeys(map(clean, phrases)))
    names = [*texts, *(clean(concept.name) for concept in concepts)]
    if not names:
        raise LitetextError("a bank needs one phrase or more, or a concept shown by example")
    if len(set(names)) < len(names):
        twice = next(name for row, name in enumerate(names) if name in names[:row])
        raise LitetextError(f"{twice!r} is in the bank twice; give each concept a name of its own")
    own = _own_thresholds(texts, thresholds or {}) + [concept.threshold for concept in concepts]
    tokens, masks, lengths = [], [], []
    context = 0
    for start in range(0, len(texts), _BATCH):
        features = encoder.encode(texts[start : start + _BATCH]).numpy()
        context = features.tokens.shape[1]
        ends = context - (~features.mask)[:, ::-1].argmax(axis=1)  # up to the last token that is not padding
        real = np.arange(context) < ends[:, None]
        tokens.append(_as_float16(features.tokens[real], texts[start]))
        masks.append(features.mask[real])
        lengths.append(ends)
        progress(min(start + _BATCH, len(texts)), len(texts))
    for concept in concepts:
        tokens.append(_as_float16(concept.tokens, concept.name))
        masks.append(np.zeros(len(concept.tokens), dtype=bool))
        lengths.append(np.array([len(concept.tokens)]))
        context = context if texts else max(context, 2, len(concept.tokens))
    if len({one.shape[1] for one in tokens}) > 1:
        raise LitetextError("the tokens of the concepts are of another width than the encoder's; use one model for all")
    written = [name.encode() for name in names]
    keys = np.array([_key(text) for text in written], dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    arrays = {
        "tokens": np.concatenate(tokens),
        "mask": np.concatenate(masks),
        "starts": offsets_of(np.concatenate(lengths)),
        "keys": keys[order],
        "rows": order.astype(np.int64),
        "text": np.frombuffer(b"".join(written), dtype=np.uint8),
        "text_starts": offsets_of(np.array([len(text) for text in written])),
    }
    if concepts or thresholds:  # other banks are as they were, and as earlier versions read them
        arrays["thresholds"] = np.array([np.nan if one is None else one for one in own], dtype=np.float32)
        arrays["by_example"] = np.arange(len(names)) >= len(texts)
    metadata = {"format": FORMAT, "version": "1", "encoder": encoder_name, "context_length": str(context)}
    metadata["origin"] = blank_seal("concept bank")
    from safetensors.numpy import save_file

    with sealed_file(destination, "concept bank") as temporary:
        save_file(arrays, str(temporary), metadata=metadata)
        size = temporary.stat().st_size
    return BankSummary(len(phrases) + len(concepts), len(names), len(arrays["tokens"]), size)


class ConceptBank:
    """A table of concepts as a text encoder; threads may share one.

    Args:
        path: what `build_bank` wrote.
        fallback: encodes phrases that the bank does not know; without it they are an error.
        remember: how many such phrases are kept, the least recently used going first.

    Attributes:
        encoder_name: what the encoder that made it was called.
        context_length: L of the features.

    Raises:
        LitetextError: a file that is missing, malformed or no bank, or a fallback that answers otherwise than the bank.
    """

    def __init__(
        self, path: str | os.PathLike[str], fallback: TextEncoder | None = None, *, remember: int = 4096
    ) -> None:
        if remember < 0:
            raise LitetextError(f"remember must be 0 or more, got {remember}")
        self._path = Path(path)
        metadata, arrays = _mapped(self._path)
        self.encoder_name = metadata["encoder"]
        self.context_length = int(metadata["context_length"])
        self._tokens, self._mask = (Ragged(arrays[name], arrays["starts"]) for name in ("tokens", "mask"))
        self._keys, self._rows = arrays["keys"], arrays["rows"]
        self._text = Ragged(arrays["text"], arrays["text_starts"])
        self._thresholds, self._by_example = arrays.get("thresholds"), arrays.get("by_example")
        self._fallback = fallback
        self._remember = remember
        self._remembered: OrderedDict[str, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = Lock()
        if fallback is not None:
            self._check(fallback)

    @property
    def dim(self) -> int:
        """D, the numbers of a token."""
        return int(self._tokens.values.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, phrase: object) -> bool:
        return isinstance(phrase, str) and self._row(clean(phrase)) is not None

    def concepts(self) -> list[str]:
        """Return every phrase of the bank, as the tokenizer cleans it, in the order given when it was built."""
        return [self._concept(row) for row in range(len(self))]

    def encode(self, prompts: Sequence[str]) -> TextFeatures[NDArray[Any]]:
        """Return tokens float32 [B, L, D] (zero where padded) and mask bool [B, L] (True = padding).

        L is the context length, or more where a concept shown by example, or what the fallback answers, is longer.

        Raises:
            LitetextError: phrases the bank does not know, and there is no fallback.
        """
        texts = [clean(prompt) for prompt in prompts_of(prompts)]
        rows = [self._row(text) for text in texts]
        known = {place: row for place, row in enumerate(rows) if row is not None}
        entries = {row: self._entry(self._tokens, row) for row in known.values()}
        for row, real in entries.items():
            if len(real) > self.context_length and not self._is_by_example(row):
                raise self._damaged(
                    f"{self._concept(row)!r} has {len(real)} tokens, its context is {self.context_length}"
                )
        unknown: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            if place not in known:
                unknown.setdefault(text, []).append(place)
        answers = self._answers(list(unknown)) if unknown else {}
        lengths = [*map(len, entries.values()), *(len(own_mask) for _, own_mask in answers.values())]
        longest = max([self.context_length, *lengths])
        tokens = np.zeros((len(texts), longest, self._tokens.values.shape[1]), dtype=np.float32)
        mask = np.ones(tokens.shape[:2], dtype=bool)
        for place, row in known.items():
            tokens[place, : len(entries[row])] = entries[row]
            mask[place, : len(entries[row])] = self._entry(self._mask, row)
        for text, (own_tokens, own_mask) in answers.items():
            tokens[unknown[text], : len(own_tokens)] = own_tokens
            mask[unknown[text], : len(own_mask)] = own_mask
        return TextFeatures(tokens, mask, *self._own(rows))

    def concept(self, name: str) -> ExemplarConcept:
        """Return a concept shown by example, as it was when the bank was built but for half precision.

        Raises:
            LitetextError: the bank has none of that name.
        """
        row = self._row(clean(name))
        if row is None or not self._is_by_example(row) or self._thresholds is None:
            raise LitetextError(f"{self._path} holds no concept {name!r} shown by example")
        own = float(self._thresholds[row])
        return ExemplarConcept(name, self._entry(self._tokens, row).astype(np.float32), None if np.isnan(own) else own)

    def _is_by_example(self, row: int) -> bool:
        return self._by_example is not None and bool(self._by_example[row])

    def _own(self, rows: Sequence[int | None]) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_] | None]:
        """The thresholds of some rows, and which are shown by example; None where the bank has no such thing."""
        if self._thresholds is None:
            return None, None
        thresholds = [np.nan if row is None else float(self._thresholds[row]) for row in rows]
        by_example = [row is not None and self._is_by_example(row) for row in rows]
        return np.array(thresholds, dtype=np.float32), np.array(by_example, dtype=bool)

    def _answers(self, texts: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The features of texts the bank lacks: remembered ones, and the fallback's for the rest in one call."""
        if self._fallback is None:
            named = ", ".join(map(repr, texts[:3])) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
            raise LitetextError(
                f"{self._path} does not know {named}; build a bank that does, "
                f"or give the encoder it was made with ({self.encoder_name}) as its fallback"
            )
        with self._lock:
            found = {text: self._remembered[text] for text in texts if text in self._remembered}
            for text in found:
                self._remembered.move_to_end(text)
        missing = [text for text in texts if text not in found]
        if missing:
            features = self._fallback.encode(missing).numpy()
            # copies, so that remembering one phrase does not keep the whole batch alive
            new = {t: (features.tokens[i].copy(), features.mask[i].copy()) for i, t in enumerate(missing)}
            with self._lock:
                self._remembered.update(new)
                while len(self._remembered) > self._remember:
                    self._remembered.popitem(last=False)
            found |= new
        return found

    def _check(self, fallback: TextEncoder) -> None:
        written = [row for row in range(len(self)) if not self._is_by_example(row)][:_PROBES]
        if not written:
            return
        probes = [self._concept(row) for row in written]
        ours, theirs = self.encode(probes), fallback.encode(probes).numpy()
        same = ours.tokens.shape == theirs.tokens.shape and np.array_equal(ours.mask, theirs.mask)
        if same:
            a, b = ours.tokens[~ours.mask], theirs.tokens[~ours.mask]
            cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
            same = bool(cosine.min() >= _SAME)
        if not same:
            raise LitetextError(
                f"{self._path} was made with another encoder ({self.encoder_name}): its features differ from those of "
                "the fallback; give that encoder, or build the bank again with this one"
            )

    def _row(self, text: str) -> int | None:
        written = text.encode()
        key = _key(written)
        at = int(np.searchsorted(self._keys, key))
        while at < len(self._keys) and self._keys[at] == key:  # two phrases may share a hash
            row = int(self._rows[at])
            if self._concept(row) == text:
                return row
            at += 1
        return None

    def _concept(self, row: int) -> str:
        return self._entry(self._text, row).tobytes().decode("utf-8", "replace")

    def _entry(self, table: Ragged, row: int) -> np.ndarray:
        """Return a row of a table; where it lies is read from the file only here, so it is checked here."""
        if not 0 <= row < len(self):
            raise self._damaged(f"its index names concept {row} of {len(self)}")
        start, end = (int(place) for place in table.offsets[row : row + 2])
        if not 0 <= start <= end <= len(table.values):
            raise self._damaged(f"concept {row} lies from {start} to {end} of {len(table.values)}")
        return table[row]

    def _damaged(self, what: str) -> LitetextError:
        return LitetextError(f"{self._path} is a damaged concept bank: {what}; build it again")


def is_bank(path: Path) -> bool:
    """Whether ``path`` is a safetensors file that says it is a bank; reads the header alone."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        return SafetensorsFile(path).metadata.get("format") == FORMAT
    except LitetextError:
        return False


def _mapped(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return a bank's metadata and its arrays, mapped: nothing but the header and the ends of two tables is read."""
    file = SafetensorsFile(path)
    metadata = file.metadata
    if metadata.get("format") != FORMAT or metadata.get("version") != "1":
        raise LitetextError(f"{path} is not a concept bank of version 1; make one with: litetext bank build")
    try:
        arrays = {key: file.array(key) for key in _DTYPES if key not in _OPTIONAL or key in file.tensors}
        concepts, tokens = len(arrays["rows"]), len(arrays["tokens"])
        fits = 1 < int(metadata["context_length"]) <= LONGEST_CONTEXT and bool(metadata["encoder"])
        sizes = {"concepts": concepts, "concepts + 1": concepts + 1, "tokens": tokens, "any": len(arrays["text"])}
        fits &= all(arrays[key].shape == (sizes[size],) for key, size in _SHAPES.items() if key in arrays)
        fits &= all(array.dtype == _DTYPES[key] for key, array in arrays.items())
        fits &= len(arrays.keys() & set(_OPTIONAL)) in (0, len(_OPTIONAL))
        fits &= arrays["tokens"].ndim == 2
        fits &= (int(arrays["starts"][0]), int(arrays["starts"][-1])) == (0, tokens)
        fits &= (int(arrays["text_starts"][0]), int(arrays["text_starts"][-1])) == (0, sizes["any"])
    except (KeyError, ValueError, TypeError, IndexError):
        fits = False
    if not fits:
        raise LitetextError(f"{path} is a damaged concept bank: its arrays do not fit each other; build it again")
    return metadata, arrays


_DTYPES = {
    "tokens": np.float16,
    "mask": np.bool_,
    "starts": np.int64,
    "keys": np.uint64,
    "rows": np.int64,
    "text": np.uint8,
    "text_starts": np.int64,
    "thresholds": np.float32,
    "by_example": np.bool_,
}
"""The arrays of a bank."""

_OPTIONAL = ("thresholds", "by_example")
"""Those that only banks with concepts shown by example, or with thresholds, have."""

_SHAPES = {
    "mask": "tokens",
    "starts": "concepts + 1",
    "keys": "concepts",
    "rows": "concepts",
    "text": "any",
    "text_starts": "concepts + 1",
    "thresholds": "concepts",
    "by_example": "concepts",
}
"""How long each one-dimensional array of a bank is."""


def _own_thresholds(texts: Sequence[str], thresholds: Mapping[str, float]) -> list[float | None]:
    """The threshold of each text, None where it has none."""
    named = {clean(phrase): threshold for phrase, threshold in thresholds.items()}
    known = set(texts)
    for phrase, threshold in named.items():
        if phrase not in known:
            raise LitetextError(f"there is a threshold for {phrase!r}, which is not among the phrases")
        if not 0 <= threshold <= 1:
            raise LitetextError(f"the threshold of {phrase!r} must lie in 0..1, got {threshold}")
    return [named.get(text) for text in texts]


def _as_float16(tokens: np.ndarray, first: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = tokens.astype(np.float16)
    if not np.isfinite(half).all():
        raise LitetextError(f"features among the phrases from {first!r} on do not fit float16; is the encoder sound?")
    return half


def _key(text: bytes) -> np.uint64:
    import hashlib  # OpenSSL comes along, 4 MB of it, which an encoder that is no bank can do without

    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))
