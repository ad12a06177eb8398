"""Questions 3, 4 and 5 on clouds of points whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.anatomy.embedding import token_embedding
from litetext.anatomy.manifold import BiasCurve, bent_ball, bias_curve, dimension, manifold, neighbour_distances
from litetext.anatomy.positions import positions
from litetext.anatomy.spectrum import spectrum
from litetext.anatomy.subject import pooled
from litetext.errors import LitetextError
from litetext.ragged import Ragged, offsets_of


def planted(points: int, width: int, rank: int, seed: int = 0) -> np.ndarray:
    """Points whose centred singular values are ``rank`` equal numbers, the rest zero."""
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((points, rank))
    left, _ = np.linalg.qr(left - left.mean(axis=0))
    right, _ = np.linalg.qr(rng.standard_normal((width, rank)))
    return left @ right.T + rng.standard_normal(width)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 1e4]))
def test_a_planted_rank_is_read_exactly(rank: int, seed: int, scale: float) -> None:
    result = spectrum(scale * planted(60, 16, rank, seed))
    assert result.effective_rank == pytest.approx(rank, rel=1e-6)
    assert result.dimensions_90 == int(np.ceil(0.9 * rank - 1e-9))
    assert result.dimensions_95 == int(np.ceil(0.95 * rank - 1e-9))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 30), st.integers(1, 30), st.integers(0, 99))
def test_spectrum_equals_the_plain_decomposition(points: int, width: int, seed: int) -> None:
    cloud = np.random.default_rng(seed).standard_normal((points, width))
    values = np.linalg.svd(cloud - cloud.mean(axis=0), compute_uv=False)[: min(points - 1, width)]
    shares = values / values.sum()
    result = spectrum(cloud)
    assert result.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    held = np.cumsum(values**2) / (values**2).sum()
    assert result.dimensions_90 == 1 + int(np.argmax(held >= 0.9 - 1e-12))


def test_spectrum_of_degenerate_clouds() -> None:
    assert spectrum(np.full((5, 4), 7.3)).effective_rank == 0.0
    assert spectrum(np.zeros((1, 4))).dimensions_90 == 0
    assert spectrum(np.outer(np.arange(9.0), [1, 2, 3])).effective_rank == pytest.approx(1)
    for bad in (np.zeros((0, 3)), np.zeros(3), np.array([[np.nan, 1]])):
        with pytest.raises(LitetextError):
            spectrum(bad)


def test_the_used_rows_have_a_spectrum_of_their_own() -> None:
    table = np.zeros((10, 6))
    table[:4, :2] = planted(4, 2, 1)
    table[4:] = np.random.default_rng(0).standard_normal((6, 6))
    result = token_embedding(table, np.arange(4))
    assert result.used.effective_rank == pytest.approx(1) and result.used.points == 4
    assert result.full.effective_rank > 3


def test_positions_of_known_tables() -> None:
    orthogonal = positions(np.eye(16))
    assert (orthogonal.early, orthogonal.late, orthogonal.ratio) == (0, 0, None)
    constant = positions(np.full((16, 5), 2.0))
    assert constant.early == pytest.approx(1) and constant.ratio == pytest.approx(1)
    assert constant.spectrum.effective_rank == 0
    half = positions(np.concatenate([np.eye(8, 9), np.tile(np.eye(1, 9, 8), (8, 1))]))
    assert half.early == 0 and half.late == pytest.approx(1)
    assert positions(np.ones((8, 3))).late is None
    assert positions(np.zeros((12, 3))).early == 0  # zero rows have no direction: cosine 0, never NaN
    # early rows at 60 degrees (cosine 1/2), late rows equal: the ratio is 2
    early = np.ones((8, 9)) / 3 * 0 + np.sqrt(0.5) * np.eye(8, 9) + np.sqrt(0.5) * np.eye(1, 9, 8)
    assert positions(np.concatenate([early, np.ones((4, 9))])).ratio == pytest.approx(2)


@pytest.mark.parametrize("true", [2, 4, 8])
def test_planted_balls_bent_into_256_dimensions_read_within_15_percent(true: int) -> None:
    result = dimension(bent_ball(5_000, true, 256, seed=true), replicates=50)
    assert result.two_nn.value == pytest.approx(true, rel=0.15)
    assert result.mle_mean == pytest.approx(true, rel=0.15)
    for reading in (result.two_nn, *result.mle.values()):
        assert reading.low < reading.value < reading.high
    assert list(result.mle) == [5, 10, 20, 50] and result.skipped == []


def test_both_estimators_agree_with_scikit_dimension() -> None:
    skdim = pytest.importorskip("skdim")
    points = bent_ball(1_500, 10, 64, seed=5)
    ours = dimension(points, replicates=2)
    assert ours.two_nn.value == pytest.approx(skdim.id.TwoNN(discard_fraction=0.1).fit(points).dimension_, rel=0.02)
    for k in (5, 20):
        theirs = skdim.id.MLE(K=k).fit(points, n_neighbors=k).dimension_
        assert ours.mle[k].value == pytest.approx(theirs, rel=0.02)


@settings(deadline=None, max_examples=20)
@given(st.integers(5, 60), st.integers(1, 8), st.integers(0, 99))
def test_neighbours_equal_the_full_distance_matrix(points: int, width: int, seed: int) -> None:
    cloud = np.random.default_rng(seed).standard_normal((points, width))
    full = np.sort(np.linalg.norm(cloud[:, None] - cloud[None], axis=2), axis=1)[:, 1:5]
    np.testing.assert_allclose(neighbour_distances(cloud, 4), full, rtol=1e-9)


def test_dimension_is_unchanged_by_scale_rotation_and_repeats() -> None:
    points = bent_ball(600, 3, 12, seed=1)
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((12, 12)))
    base, moved = dimension(points), dimension(np.concatenate([1e3 * points @ turn, 1e3 * points[:50] @ turn]))
    assert moved.two_nn.value == pytest.approx(base.two_nn.value, rel=1e-2)
    assert moved.mle_mean == pytest.approx(base.mle_mean, rel=1e-3)
    assert (moved.points, moved.repeated) == (600, 50)


def test_few_and_degenerate_points() -> None:
    few = dimension(np.random.default_rng(0).standard_normal((12, 3)))
    assert list(few.mle) == [5, 10] and few.skipped == [20, 50]
    assert list(dimension(np.random.default_rng(0).standard_normal((4, 3)), [5]).mle) == [3]
    with pytest.raises(LitetextError, match="at least 4 distinct points; got 1 of 9"):
        dimension(np.ones((9, 3)))
    equidistant = dimension(np.eye(20))
    assert equidistant.two_nn.value == equidistant.mle_mean == 20  # no dimension shows but the space's own


def test_the_bias_curve_rises_lies_below_the_truth_and_inverts() -> None:
    curve = bias_curve(2_000, (8, 16, 32))
    for readings in (curve.two_nn, curve.mle_mean):
        assert readings == sorted(readings)
        assert all(reading < true for reading, true in zip(readings, curve.true, strict=True))
    assert curve.true_dimension(curve.mle_mean[1]) == pytest.approx(16)
    assert curve.true_dimension(curve.two_nn[2], "two_nn") == pytest.approx(32)
    assert curve.true_dimension(500) is None and curve.true_dimension(0.1) is None
    assert bias_curve(3).true == [] and bias_curve(3).true_dimension(4) is None
    assert BiasCurve(9, [2, 4], [3, 2], [3, 2]).true_dimension(2.5) is None


def test_pooling_takes_the_mean_of_each_prompts_tokens() -> None:
    tokens = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert pooled(Ragged(tokens, np.array([0, 2, 3]))).tolist() == [[2, 3, 4, 5], [8, 9, 10, 11]]


def test_manifold_of_features_and_of_identical_prompts() -> None:
    tokens = np.random.default_rng(0).standard_normal((600, 6)).astype(np.float32)
    result = manifold(Ragged(tokens, offsets_of(np.full(200, 3))), sample=300)
    assert result.pooled.dimension is not None and result.pooled.dimension.points == 200
    assert result.tokens.dimension is not None and result.tokens.dimension.points == 300
    assert result.tokens.dimension.two_nn.value == pytest.approx(6, rel=0.25)
    assert result.bias.points == 300
    same = manifold(Ragged(np.ones((15, 6), np.float32), offsets_of(np.full(5, 3))))
    assert same.pooled.dimension is None and same.pooled.spectrum.effective_rank == 0 and same.bias.true == []
