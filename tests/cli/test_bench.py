"""``litetext bench text``: one document, the keys that the issue of table 8 names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KEYS = {"name", "L", "batch", "threads", "texts_per_s", "vs_teacher", "vs_s0_eager", "parameters", "live_parameters",
        "gflops", "bytes", "peak_mb"}  # fmt: skip


def test_json_rows(litetext: Callable[..., Any]) -> None:
    arguments = ("--row", "s0-16", "--batch", 1, "--rounds", 1, "--threads", 1)
    (row,) = litetext("bench", "text", *arguments, "--json").json["rows"]
    assert row.keys() == KEYS
    assert (row["name"], row["L"], row["batch"], row["threads"]) == ("s0", 16, 1, 1)
    assert row["peak_mb"] > 170  # its float32 weights alone


def test_refusals(refused: Callable[..., str]) -> None:
    assert "row 'nope'" in refused("bench", "text", "--row", "nope")
    assert "no such file" in refused("bench", "text", "--prompts", "nowhere.txt")
