"""Question 4, positions: do the later rows of the position table still differ from one another (paper, figure 4)?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LitetextError
from .spectrum import Spectrum, spectrum

BORDER = 8
"""The paper's border between early positions (0 to 7) and late ones (8 and up)."""


@dataclass(frozen=True, slots=True)
class Positions:
    """The answer to question 4.

    Attributes:
        rows: L, the rows of the table.
        cosine: [L][L], cosine of every two rows (0 where a row is zero).
        early, late: mean cosine of different rows within 0..7, and within 8 and up; None with fewer than two rows.
        ratio: late / early; None without both, or where early is not above zero.
        spectrum: centred spectrum of the table.
    """

    rows: int
    cosine: list[list[float]]
    early: float | None
    late: float | None
    ratio: float | None
    spectrum: Spectrum


def positions(table: np.ndarray) -> Positions:
    """Return the figures of a position table, floating [L, D]."""
    table = np.asarray(table, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0:
        raise LitetextError(f"a position table has the shape [L, D]; got {table.shape}")
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    units = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)
    cosine = np.clip(units @ units.T, -1.0, 1.0)
    early, late = _mean_between(cosine[:BORDER, :BORDER]), _mean_between(cosine[BORDER:, BORDER:])
    ratio = late / early if early is not None and late is not None and early > 0 else None
    return Positions(len(table), cosine.tolist(), early, late, ratio, spectrum(table))


def _mean_between(cosine: np.ndarray) -> float | None:
    """Mean cosine of two different rows, or None where there are no two."""
    return float(cosine[np.triu_indices(len(cosine), 1)].mean()) if len(cosine) > 1 else None
