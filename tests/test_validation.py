"""A dataclass is made of a file's values as its hints and ranges allow, or the file and the key are named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from litetext.errors import LitetextError
from litetext.validation import check_ranges, from_values, ranged


@dataclass(frozen=True)
class Inner:
    rate: float = ranged(0, 1, 0.5)
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    count: int = ranged(1, 10)
    names: list[str] | None = None
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.count == 7:
            raise LitetextError("seven is unlucky")


def test_values_that_fit() -> None:
    assert from_values(Outer, {"count": 2, "names": ["x"], "inner": {"rate": 1}}, "f") == Outer(2, ["x"], Inner(1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "f: its top is [], where an object with keys should stand"),
        ({}, "f: key 'count' is missing"),
        ({"count": 0}, "f: key 'count' is 0, where a whole number from 1 to 10 should stand"),
        ({"count": 2.0}, "f: key 'count' is 2.0, where a whole number from 1 to 10"),
        ({"count": True}, "f: key 'count' is True, where"),
        ({"count": None}, "f: key 'count' is None, where"),
        ({"count": 1, "names": [1]}, "f: key 'names' is [1], where a list, each entry a text, or null should stand"),
        ({"count": 1, "more": 1}, "f: unknown key 'more'; known are count, names, inner"),
        ({"count": 1, "inner": 3}, "f: key 'inner' is 3, where an object"),
        ({"count": 1, "inner": {"rate": float("nan")}}, "f: key 'inner.rate' is nan, where a number from 0 to 1"),
        ({"count": 1, "inner": {"kind": ["a"]}}, "f: key 'inner.kind' is ['a'], where one of a, b should stand"),
        ({"count": 7}, "f: seven is unlucky"),
    ],
)
def test_values_that_do_not(values: Any, message: str) -> None:
    with pytest.raises(LitetextError) as caught:
        from_values(Outer, values, "f")
    assert str(caught.value).startswith(message)


def test_callers_are_told_the_same() -> None:
    with pytest.raises(LitetextError, match="count is 11, where a whole number from 1 to 10 should stand"):
        Outer(11)
