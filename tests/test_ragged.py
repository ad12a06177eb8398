"""Rows of unequal length, end to end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.ragged import Ragged, padded

ROWS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=6), min_size=1, max_size=8)


@given(ROWS, st.data())
def test_rows_come_out_as_they_went_in(rows: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged.of(rows)
    assert [ragged[i].tolist() for i in range(len(ragged))] == rows
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), np.int64)
    assert ragged.take(chosen).tolist() == [value for row in chosen for value in rows[row]]
    assert [row.tolist() for row in map(ragged.select(chosen).__getitem__, range(len(chosen)))] == [
        rows[row] for row in chosen
    ]
    assert Ragged.joined([ragged, ragged]).values.tolist() == 2 * [value for row in rows for value in row]


def test_padding_goes_after_the_row() -> None:
    ragged = Ragged.of([[1, 2, 3], [4]])
    assert padded(ragged, np.array([1, 0]), 9).tolist() == [[4, 9, 9], [1, 2, 3]]
    assert padded(ragged, np.array([1]), 0, 4).tolist() == [[4, 0, 0, 0]]


def test_offsets_must_fit() -> None:
    with pytest.raises(LitetextError, match="offsets must run from 0 to the 3 values"):
        Ragged(np.arange(3), np.array([0, 2]))
