"""Question 1, the context window: how much of a window of L tokens do the prompts fill, and what do they lose?

Definitions (paper, section 3.1.3), for prompts of n_i tokens with SOT and EOT counted, in a window of L slots:

* information density: the mean share of slots that hold a token, mean(min(n_i, L)) / L;
* padding share: 1 - information density;
* truncation rate: the share of prompts with n_i > L;
* token loss: the share of all tokens that are cut off, sum(max(0, n_i - L)) / sum(n_i).

Truncation keeps EOT in the last slot, so a cut prompt loses one more word token than the token loss counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import LitetextError

DEFAULT_WINDOWS = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Window:
    """The four figures of table 1 for one context length; all are shares, 0 to 1."""

    information_density: float
    padding_share: float
    truncation_rate: float
    token_loss: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of a set of prompts, SOT and EOT included."""

    prompts: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """The answer to question 1.

    Attributes:
        tokens: token counts over all prompts.
        sources: the same for each source.
        windows: context length L -> its figures, L rising.
        histogram: prompts with exactly n tokens, for n = 0 .. max.
    """

    tokens: Lengths
    sources: dict[str, Lengths]
    windows: dict[int, Window]
    histogram: list[int]


def context_window(
    lengths: np.ndarray, windows: Sequence[int] = DEFAULT_WINDOWS, sources: Mapping[str, np.ndarray] | None = None
) -> ContextWindow:
    """Return the context-window figures of prompts with these token counts.

    Args:
        lengths: int [N], tokens of each prompt, SOT and EOT included.
        windows: the context lengths L to examine, each at least 2.
        sources: source name -> the rows (int [n] into ``lengths``) of its prompts.

    Raises:
        LitetextError: without prompts, or for a window without room for SOT and EOT.
    """
    lengths = np.asarray(lengths)
    if lengths.size == 0:
        raise LitetextError("the context window needs at least one prompt")
    if not windows or min(windows) < 2:
        raise LitetextError(f"context lengths {list(windows)} must each have room for SOT and EOT; give 2 or more")
    return ContextWindow(
        tokens=_summary(lengths),
        sources={name: _summary(lengths[rows]) for name, rows in (sources or {}).items() if len(rows)},
        windows={length: window_of(lengths, length) for length in sorted(set(windows))},
        histogram=np.bincount(lengths).tolist(),
    )


def window_of(lengths: np.ndarray, length: int) -> Window:
    """Return the figures of one context length (definitions at the top of this module)."""
    kept = np.minimum(lengths, length).sum()
    density = float(kept / (length * lengths.size))
    return Window(
        information_density=density,
        padding_share=1.0 - density,
        truncation_rate=float(np.mean(lengths > length)),
        token_loss=float(1.0 - kept / lengths.sum()),
    )


def smallest_window(lengths: np.ndarray, bound: float) -> int:
    """Return the smallest context length whose truncation rate is at most ``bound`` (at least 2)."""
    return max(2, int(np.quantile(lengths, 1.0 - bound, method="inverted_cdf")))


def _summary(lengths: np.ndarray) -> Lengths:
    p50, p95, p99 = np.percentile(lengths, [50, 95, 99]).tolist()
    return Lengths(lengths.size, float(lengths.mean()), p50, p95, p99, int(lengths.max()))
