"""Rows of unequal length, end to end: how prompts' ids and the features of their real tokens are held everywhere here.

No padding is stored, moved or computed on: N prompts with T tokens in all are one array of T and N + 1 offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import LitetextError


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """N rows of unequal length.

    Attributes:
        values: [T, ...], all rows end to end.
        offsets: int64 [N + 1]; row i is ``values[offsets[i] : offsets[i + 1]]``.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.values):
            raise LitetextError(f"offsets must run from 0 to the {len(self.values)} values, got {self.offsets[:1]}…")

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]] | Sequence[np.ndarray], dtype: str = "int32") -> Ragged:
        """Return ragged rows of numbers."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        values = np.concatenate([np.asarray(row, dtype) for row in rows]) if len(rows) else np.zeros(0, dtype)
        return cls(values, offsets_of(lengths))

    @classmethod
    def joined(cls, parts: Iterable[Ragged]) -> Ragged:
        """Return the rows of all parts, one part after the other."""
        parts = list(parts)
        return cls(
            np.concatenate([part.values for part in parts]),
            offsets_of(np.concatenate([part.lengths for part in parts])),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self.offsets)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 [t]: where the values of ``rows`` stand, row after row."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        return np.arange(total) + np.repeat(self.offsets[rows] - (ends - lengths), lengths)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the values of ``rows``, row after row: [t, ...]."""
        return self.values[self.places(rows)]

    def select(self, rows: np.ndarray) -> Ragged:
        """Return some of the rows, in the order asked for."""
        return Ragged(self.take(rows), offsets_of(self.offsets[rows + 1] - self.offsets[rows]))


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Return int64 [N + 1], where rows of these lengths begin and end."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def padded(ids: Ragged, rows: np.ndarray, pad_id: int, length: int | None = None) -> np.ndarray:
    """Return int64 [B, L]: the ids of ``rows``, padded to the longest of them or to ``length``."""
    lengths = ids.offsets[rows + 1] - ids.offsets[rows]
    width = int(lengths.max()) if length is None else length
    batch = np.full((len(rows), width), pad_id, np.int64)
    batch[np.arange(width) < lengths[:, None]] = ids.take(rows)
    return batch
