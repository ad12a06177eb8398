"""Two systems on the same pairs: is the difference real, where does it come from, which prompts flipped.

The pairs of one image are not independent, so the bootstrap draws whole images; both systems are scored on the same
draws, which removes what makes an image hard for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from .image import PairScores, summarize

_BLOCK = 50
_LENGTHS = {"1 word": (1, 1), "2 words": (2, 2), "3 words": (3, 3), "4 words": (4, 4), "5 words and more": (5, 10**9)}
_COUNTS = {"none": (0, 0), "1": (1, 1), "2 to 4": (2, 4), "5 to 9": (5, 9), "10 and more": (10, 10**9)}


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """Second minus first, with the bounds between which 95 % of the bootstrap's differences lie."""

    first: float
    second: float
    difference: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Flip:
    """A pair whose "is it there?" only one of the systems got right; F1 is averaged over IoU thresholds."""

    pair_id: Any
    prompt: str
    file_name: str
    present: bool
    won: bool
    first_f1: float
    second_f1: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found; ``groups[kind][group]`` holds pairs, and for each metric first, second and difference."""

    pairs: int
    images: int
    resamples: int
    differences: Mapping[str, PairedDifference]
    flips: tuple[Flip, ...]
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @property
    def won(self) -> int:
        """Pairs whose "is it there?" only the second system got right."""
        return sum(flip.won for flip in self.flips)

    @property
    def lost(self) -> int:
        """Pairs whose "is it there?" only the first system got right."""
        return sum(not flip.won for flip in self.flips)

    def to_dict(self) -> dict[str, Any]:
        """Return everything JSON-ready; differences carry ``clear``."""
        return {
            **dataclasses.asdict(self),
            "differences": {
                name: {**dataclasses.asdict(value), "clear": value.clear} for name, value in self.differences.items()
            },
            "won": self.won,
            "lost": self.lost,
        }


def compare(
    first: PairScores,
    second: PairScores,
    *,
    seen_words: Collection[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems' scores on the same pairs, in the same order.

    Args:
        first: what the other is compared with.
        second: of the same pairs.
        seen_words: the words of a training list; prompts are then also grouped by whether every word was in it.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        LitetextError: the pairs are not the same.
    """
    ids = [pair.id for pair in first.pairs]
    if ids != [pair.id for pair in second.pairs]:
        raise LitetextError(
            f"the systems were scored on different pairs ({len(first):,} and {len(second):,}); "
            "compare predictions for the same ground truth"
        )
    images = image_numbers(first)
    drawn = _bootstrap(first, second, images, resamples, seed)
    ours, theirs = headline(first), headline(second)
    differences = {}
    for name, values in drawn.items():
        low, high = np.percentile(values, [2.5, 97.5]).tolist() if len(ids) else (0.0, 0.0)
        differences[name] = PairedDifference(ours[name], theirs[name], theirs[name] - ours[name], low, high)
    return Comparison(
        len(ids), int(images.max(initial=-1)) + 1, resamples, differences, _flips(first, second),
        _groups(first, second, seen_words),
    )  # fmt: skip


def headline(scores: PairScores) -> dict[str, float]:
    """Return cgF1, IL_MCC and pmF1 as they are printed (0 to 100, -1 to 1, 0 to 100)."""
    return {name: float(value) for name, value in _headline(summarize(scores)).items()}


def words_of(prompt: str) -> list[str]:
    """Return the words of a prompt, lower-cased."""
    return prompt.lower().split()


def groups_of(scores: PairScores, seen_words: Collection[str] | None = None) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return which rows fall in each group, bool [P], by kind of group and name.

    Args:
        scores: of P pairs, grouped by prompt length and number of instances.
        seen_words: the words of a training list, for a third kind: whether all words were seen.
    """
    lengths = np.array([len(words_of(pair.prompt)) for pair in scores.pairs], dtype=np.int64)
    groups = {
        "prompt_length": {name: (lengths >= low) & (lengths <= high) for name, (low, high) in _LENGTHS.items()},
        "instances": {name: (scores.truths >= low) & (scores.truths <= high) for name, (low, high) in _COUNTS.items()},
    }
    if seen_words is not None:
        known = frozenset(word.lower() for word in seen_words)
        seen = np.array([known.issuperset(words_of(pair.prompt)) for pair in scores.pairs], dtype=bool)
        groups["words"] = {"all seen in training": seen, "some unseen": ~seen}
    return {kind: {name: rows for name, rows in parts.items() if rows.any()} for kind, parts in groups.items()}


def group_metrics(scores: PairScores, rows: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return the headline numbers of some rows, None for what is not defined there.

    Without positives there is no pmF1; without both positives and negatives no IL_MCC and no cgF1. ``presence`` is the
    percentage of pairs whose "is it there?" is answered right.
    """
    part = scores.select(rows)
    there = part.truths > 0
    numbers: dict[str, float | None] = dict(headline(part))
    if not there.any():
        numbers["pmF1"] = None
    if there.all() or not there.any():
        numbers["cgF1"] = numbers["IL_MCC"] = None
    numbers["presence"] = float(100 * (there == (part.predictions > 0)).mean())
    return numbers


def _headline(summary: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    return {
        "cgF1": 100 * summary["cgF1"].mean(axis=-1),
        "IL_MCC": summary["IL_MCC"],
        "pmF1": 100 * summary["positive_micro_F1"].mean(axis=-1),
    }


def image_numbers(scores: PairScores) -> NDArray[np.int64]:
    """Return which image each pair belongs to, counted from 0."""
    numbers: dict[int | str, int] = {}
    rows = [numbers.setdefault(pair.image, len(numbers)) for pair in scores.pairs]
    return np.array(rows, dtype=np.int64)


def _bootstrap(
    first: PairScores, second: PairScores, images: NDArray[np.int64], resamples: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """The differences of each metric over draws of whole images [resamples]."""
    rng = np.random.default_rng(seed)
    count = int(images.max(initial=-1)) + 1
    parts: list[dict[str, NDArray[np.float64]]] = []
    for start in range(0, resamples, _BLOCK):
        draws = [
            np.bincount(rng.integers(0, max(count, 1), count), minlength=count)
            for _ in range(min(_BLOCK, resamples - start))
        ]
        weights = np.stack(draws)[:, images]
        ours, theirs = _headline(summarize(first, weights)), _headline(summarize(second, weights))
        parts.append({name: theirs[name] - ours[name] for name in ours})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _flips(first: PairScores, second: PairScores) -> tuple[Flip, ...]:
    """Pairs that exactly one system got right in presence: lost before won, then by the change in F1."""
    there = first.truths > 0
    first_right = there == (first.predictions > 0)
    second_right = (second.truths > 0) == (second.predictions > 0)
    first_f1, second_f1 = first.f1.mean(axis=1), second.f1.mean(axis=1)
    flips = [
        Flip(
            first.pairs[row].id,
            first.pairs[row].prompt,
            first.pairs[row].file_name,
            bool(there[row]),
            bool(second_right[row]),
            float(first_f1[row]),
            float(second_f1[row]),
        )
        for row in np.flatnonzero(first_right != second_right)
    ]
    return tuple(sorted(flips, key=lambda flip: (flip.won, -abs(flip.second_f1 - flip.first_f1))))


def _groups(
    first: PairScores, second: PairScores, seen_words: Collection[str] | None
) -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, parts in groups_of(first, seen_words).items():
        table[kind] = {}
        for name, rows in parts.items():
            ours, theirs = group_metrics(first, rows), group_metrics(second, rows)
            row: dict[str, Any] = {"pairs": int(rows.sum())}
            for metric, value in ours.items():
                other = theirs[metric]
                change = None if value is None or other is None else other - value
                row[metric] = {"first": value, "second": other, "difference": change}
            table[kind][name] = row
    return table
