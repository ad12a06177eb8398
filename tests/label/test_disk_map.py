"""A dictionary on disk against one in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from litetext.label.disk_map import DiskMap

KEYS = st.text(st.characters(), max_size=3)
"""Lone surrogates too."""


@given(st.lists(st.tuples(st.booleans(), KEYS, st.integers(0, 1 << 62))))
def test_it_is_a_dictionary(acts: list[tuple[bool, str, int]]) -> None:
    on_disk: DiskMap[int] = DiskMap()
    wanted: dict[str, int] = {}
    for keep, key, value in acts:
        if keep:
            assert on_disk.setdefault(key, value) == wanted.setdefault(key, value)
        else:
            on_disk[key] = wanted[key] = value
        assert len(on_disk) == len(wanted)
    assert all(on_disk.get(key) == value and key in on_disk for key, value in wanted.items())
    assert on_disk.get("another") is None and "another" not in on_disk


@given(KEYS, KEYS)
def test_texts_as_values(first: str, second: str) -> None:
    names: DiskMap[str] = DiskMap()
    assert names.setdefault("a", first) == first
    assert names.setdefault("a", second) == first
