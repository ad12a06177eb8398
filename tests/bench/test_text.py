"""The figures of `bench text` that do not depend on the machine, and the shape of those that do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from litetext.bench.memory import peak_resident_bytes
from litetext.bench.text import Candidate, _row_of, bench_text, candidates, gflops
from litetext.encoders import save_encoder
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config


@pytest.mark.parametrize("structure", ["s0", "s1", "teacher"])
def test_arithmetic_is_what_torch_counts(structure: str) -> None:
    module = random_encoder(small_config(structure)).folded()
    # of attention's kernels, torch counts the plain one in every version
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.ones(1, 16, dtype=torch.long))
    assert gflops(module.config, 16) == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)


def test_table_8_rows_carry_published_sizes() -> None:
    rows = {(row.name, row.length): row for row in candidates()}
    assert rows["s0", 16].parameters == rows["s0-eager", 16].parameters == 42_541_312
    assert rows["teacher", 32].parameters == 353_724_672
    assert rows["s1", 32].parameters == 63_536_384  # its table has 32 rows
    assert rows["eva02-clip-bigE", 77].parameters == 694_333_184
    assert rows["bert-base", 32].live_parameters == 109_088_512
    assert rows["teacher", 32].gflops > rows["l", 32].gflops > rows["s1", 32].gflops > rows["s0", 32].gflops
    with pytest.raises(LitetextError, match="row 's9'; choose one of"):
        candidates(["s9"])


def _fake(name: str, calls: list[tuple[str, int]]) -> Candidate:
    def ready(device: str) -> Callable[[Sequence[str]], Any]:
        def encode(prompts: Sequence[str]) -> None:
            calls.append((name, len(prompts)))
            total = sum(i for i in range(20_000 * len(prompts)))
            assert total >= 0

        return encode

    return Candidate(name, 16, 10, 8, 0.5, 40, ready)


def test_rows_take_turns_and_ratios_need_their_reference() -> None:
    calls: list[tuple[str, int]] = []
    rows = bench_text(
        [_fake("teacher", calls), _fake("x", calls)], ["a", "b", "c"], batches=[1, 4], rounds=3, memory=False
    )
    assert [(row.name, row.batch) for row in rows] == [("teacher", 1), ("x", 1), ("teacher", 4), ("x", 4)]
    assert {size for _, size in calls} == {1, 4}
    for row in rows:
        assert row.texts_per_s > 0 and row.vs_s0_eager is None and row.peak_mb == 0
        assert row.vs_teacher is not None and row.vs_teacher > 0
    assert rows[0].vs_teacher == rows[2].vs_teacher == 1.0


def test_a_checkpoint_with_the_name_of_a_row_is_measured_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(random_encoder(small_config("s1", output_dim=64)), Tokenizer(), "s0")
    large, small = candidates(["s0-16"], ["s0"])
    assert (small.name, small.length) == (large.name, large.length)
    task = {"name": "s0", "L": 16, "dtype": None}
    assert _row_of({**task, "of_file": True}).parameters == small.parameters
    assert _row_of({**task, "of_file": False}).parameters == large.parameters != small.parameters


def test_a_checkpoint_with_the_name_of_the_reference_is_not_it() -> None:
    mine = replace(_fake("teacher", []), file="teacher")
    (row,) = bench_text([mine], ["a"], batches=[1], rounds=1, memory=False)
    assert row.vs_teacher is None


def test_no_prompts_is_an_error() -> None:
    with pytest.raises(LitetextError, match="one prompt or more"):
        bench_text([_fake("x", [])], [])


def test_peak_memory_is_this_process_own() -> None:
    before = peak_resident_bytes()
    block = torch.ones(64 << 20, dtype=torch.uint8)
    assert int(block[0]) == 1
    assert peak_resident_bytes() >= before
    assert peak_resident_bytes() > 64 << 20
