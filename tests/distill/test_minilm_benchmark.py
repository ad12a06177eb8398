"""The MiniLM experiment's own parts (benchmarks/minilm.py), on small made-up tables; the whole takes an hour."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from litetext.distill import Examples  # noqa: E402
from litetext.ragged import Ragged, padded  # noqa: E402

CLS, SEP = 7, 11  # as arbitrary as in a real vocabulary
PIECES, WIDTH = 40, 16


@pytest.fixture(scope="module")
def minilm() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "minilm.py"
    spec = importlib.util.spec_from_file_location("minilm_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ids() -> Ragged:
    """Fifty phrases of one to five of the pieces 12 to 31; piece 12 is the commonest, 32 and later never occur."""
    rng = np.random.default_rng(0)
    return Ragged.of([[CLS, *np.minimum(rng.geometric(0.2, n) + 11, 31), SEP] for n in rng.integers(1, 6, 50)])


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return torch.randn(PIECES, WIDTH, generator=torch.Generator().manual_seed(0))


def examples(minilm: ModuleType, ids: Ragged, table: torch.Tensor, rows: int) -> Examples:
    row, _ = minilm.piece_rows(ids, table, rows, CLS, SEP)
    targets = table[torch.from_numpy(ids.values).long()].numpy().astype(np.float16)
    return Examples(minilm.in_rows(ids, row), Ragged(targets, ids.offsets))


def test_every_piece_reads_a_row_and_only_sep_reads_the_last(
    minilm: ModuleType, ids: Ragged, table: torch.Tensor
) -> None:
    row, owners = minilm.piece_rows(ids, table, 8, CLS, SEP)
    assert len(row) == PIECES and row.min() == 0 and row.max() == 7
    assert row[CLS] == 0 and row[SEP] == 7
    counts = np.bincount(ids.values, minlength=PIECES)
    counts[[CLS, SEP]] = 0
    common = np.argsort(-counts, kind="stable")[:6]
    assert len(set(row[common].tolist())) == 6  # a row of their own
    unit = torch.nn.functional.normalize(table, dim=1).numpy()
    common.sort()
    assert owners.tolist() == [CLS, *common, SEP]
    for piece in range(32, PIECES):
        assert row[piece] - 1 == (unit[common] @ unit[piece]).argmax()


def test_piece_rows_never_exceed_the_pieces_that_occur(minilm: ModuleType, ids: Ragged, table: torch.Tensor) -> None:
    row, _ = minilm.piece_rows(ids, table, 1_000, CLS, SEP)
    assert row.max() + 1 == len(np.unique(ids.values))


def test_sep_ends_a_phrase_even_if_another_piece_lies_next_to_it(minilm: ModuleType, ids: Ragged) -> None:
    table = torch.eye(PIECES)
    table[35] = table[SEP]
    row, _ = minilm.piece_rows(ids, table, 8, CLS, SEP)
    assert (row == row[SEP]).sum() == 1 and (row == row[CLS]).sum() == 1


def test_piece_means_average_the_teacher(minilm: ModuleType, ids: Ragged, table: torch.Tensor) -> None:
    exact = examples(minilm, ids, table, 1_000)
    words = sorted(set(ids.values.tolist()) - {CLS, SEP})
    assert torch.allclose(minilm.piece_means(exact), table[[CLS, *words, SEP]], atol=2e-3)


def test_student_starts_at_a_context_free_teacher_and_ignores_padding(
    minilm: ModuleType, ids: Ragged, table: torch.Tensor
) -> None:
    learn = examples(minilm, ids, table, 1_000)
    means = minilm.piece_means(learn)
    shape = minilm.Shape(rows=1_000, rank=WIDTH, width=32, layers=1, ffn=32)
    started, drawn = (minilm.new_student(shape, start, len(means), WIDTH).eval() for start in (means, None))
    for student in (started, drawn):
        minilm.solve_projector(student, learn)
    truth = learn.targets.take(np.arange(len(ids))).astype(np.float32)

    def features(student: torch.nn.Module) -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate(
                [student(torch.from_numpy(learn.ids[i][None].astype(np.int64)))[0][0] for i in range(len(ids))]
            )

    assert np.square(features(started) - truth).mean() < np.square(truth - truth.mean(0)).mean() / 10
    long = padded(learn.ids, np.arange(2), 0, length=12)
    with torch.inference_mode():
        batch = started(torch.from_numpy(long))[0]
    alone = features(started)[: learn.ids.lengths[0]]
    assert np.allclose(batch[0, : len(alone)], alone, atol=1e-5)


def test_comparison_is_perfect_with_itself_and_blind_to_scale(minilm: ModuleType, ids: Ragged) -> None:
    tokens = np.random.default_rng(0).normal(size=(len(ids.values), WIDTH)).astype(np.float32)
    perfect = minilm.compared(3 * tokens, tokens, ids)
    assert set(perfect.values()) == {1.0}
    other = np.random.default_rng(1).normal(size=tokens.shape).astype(np.float32)
    by_chance = minilm.compared(other, tokens, ids)
    assert by_chance["retrieval_overlap"] < 0.5 and abs(by_chance["token_cosine"]) < 0.1


def test_neighbours_leave_out_the_phrase_itself(minilm: ModuleType) -> None:
    points = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = minilm.neighbours(points)
    assert all(i not in row and len(set(row.tolist())) == 10 for i, row in enumerate(found))


def test_rarest_piece_sorts_every_phrase_once(minilm: ModuleType, ids: Ragged) -> None:
    tokens = np.random.default_rng(0).normal(size=(len(ids.values), WIDTH)).astype(np.float32)
    counts = np.full(PIECES, 200)
    counts[[12, 13, 14]] = 0, 9, 10
    found = minilm.by_rarest_piece(tokens, tokens, ids, counts)
    with_12 = sum(12 in ids[i] for i in range(len(ids)))
    assert found["never"] == [with_12, 1.0] and sum(phrases for phrases, _ in found.values()) == len(ids)
