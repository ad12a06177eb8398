"""Question 5, the manifold: on how many dimensions do the output features really live (paper, figure 5)?

Two estimators read the dimension off distances to nearest neighbours: TwoNN (Facco et al. 2017) from the ratio
of the second to the first, and the maximum-likelihood estimator of Levina & Bickel (2004) from the first k,
combined over points by the harmonic mean (MacKay & Ghahramani 2005). Neighbours are found once, exactly.

Both read high dimensions low when points are few: in 24 dimensions 5,000 points are nearly all border. So a
reading comes with the *bias curve*, the same estimators on balls of known dimension with as many points, and
with the dimension whose ball would have given that reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import LitetextError
from ..ragged import Ragged
from .spectrum import Spectrum, spectrum
from .subject import pooled

DEFAULT_SAMPLE = 5_000
DEFAULT_NEIGHBOURS = (5, 10, 20, 50)
CURVE_DIMENSIONS = (2, 4, 8, 12, 16, 20, 24, 32, 48)
_DISCARD = 0.1  # TwoNN leaves out the tenth of points with the largest ratios, as its authors do


@dataclass(frozen=True, slots=True)
class Reading:
    """One estimate with its bootstrap interval (95 %)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Dimension:
    """What both estimators read from one set of points.

    Attributes:
        points: distinct points used.
        repeated: points left out because they coincide with another.
        two_nn: TwoNN's reading.
        mle: k -> the maximum-likelihood reading from k neighbours.
        mle_mean: the mean of these over k, as the paper reports it.
        skipped: values of k that need more points than there are.
    """

    points: int
    repeated: int
    two_nn: Reading
    mle: dict[int, Reading]
    mle_mean: float
    skipped: list[int]


@dataclass(frozen=True, slots=True)
class BiasCurve:
    """What the estimators read from ``points`` points in balls of known dimension (each list as long as ``true``)."""

    points: int
    true: list[int]
    two_nn: list[float]
    mle_mean: list[float]

    def true_dimension(self, reading: float, estimator: str = "mle_mean") -> float | None:
        """The dimension whose ball gives this reading, interpolated; None off the curve."""
        readings = self.two_nn if estimator == "two_nn" else self.mle_mean
        rises = len(readings) > 1 and bool(np.all(np.diff(readings) > 0))  # a handful of points gives mere noise
        if not rises or not readings[0] <= reading <= readings[-1]:
            return None
        return float(np.interp(reading, readings, self.true))


@dataclass(frozen=True, slots=True)
class FeatureCloud:
    """Spectrum and dimension of one kind of features; ``dimension`` is None where fewer than 4 points differ."""

    spectrum: Spectrum
    dimension: Dimension | None


@dataclass(frozen=True, slots=True)
class Manifold:
    """The answer to question 5: features pooled over each prompt's real tokens, and single real tokens."""

    pooled: FeatureCloud
    tokens: FeatureCloud
    bias: BiasCurve


def manifold(
    features: Ragged,
    *,
    sample: int = DEFAULT_SAMPLE,
    neighbours: Sequence[int] = DEFAULT_NEIGHBOURS,
    seed: int = 0,
) -> Manifold:
    """Return the manifold figures of the features of some prompts.

    Args:
        features: floating [T, D], the real tokens of N prompts.
        sample: at most this many single tokens are looked at (drawn with ``seed``).
        neighbours: the k of the maximum-likelihood estimator.
        seed: of what is drawn.
    """
    tokens = features.values
    if len(tokens) > sample:
        tokens = tokens[np.sort(np.random.default_rng(seed).choice(len(tokens), sample, replace=False))]
    clouds = [_cloud(points, neighbours, seed) for points in (pooled(features), tokens)]
    counts = [cloud.dimension.points for cloud in clouds if cloud.dimension]
    return Manifold(clouds[0], clouds[1], bias_curve(max(counts, default=0), neighbours=neighbours, seed=seed))


def _cloud(points: np.ndarray, neighbours: Sequence[int], seed: int) -> FeatureCloud:
    distinct = len(np.unique(points, axis=0))
    return FeatureCloud(spectrum(points), dimension(points, neighbours, seed=seed) if distinct >= 4 else None)


def dimension(
    points: np.ndarray, neighbours: Sequence[int] = DEFAULT_NEIGHBOURS, *, seed: int = 0, replicates: int = 200
) -> Dimension:
    """Return both estimators' readings of the intrinsic dimension of ``points``, floating [N, D].

    Coinciding points are counted once. Points that are all equally far apart show no dimension but the space's
    own: the readings are then D. The interval resamples points with their neighbour distances fixed, for
    a resample of the points themselves would be full of coinciding neighbours.

    Raises:
        LitetextError: for fewer than 4 distinct points.
    """
    distinct = np.unique(np.asarray(points, dtype=np.float32), axis=0)
    count = len(distinct)
    if count < 4:
        raise LitetextError(f"an intrinsic dimension needs at least 4 distinct points; got {count} of {len(points)}")
    usable = [k for k in neighbours if k < count] or [count - 1]
    distances = neighbour_distances(distinct, max(max(usable), 2))
    rng = np.random.default_rng(seed)
    draws = rng.integers(count, size=(replicates, count))
    log_ratios = np.log(distances[:, 1] / distances[:, 0])
    width = distinct.shape[1]
    two_nn = Reading(_two_nn(log_ratios, width), *_interval([_two_nn(log_ratios[draw], width) for draw in draws]))
    mle = {}
    for k in usable:
        local = _local_inverse(distances[:, :k])
        value, *replicas = _inverted(np.array([local.mean(), *local[draws].mean(axis=1)]), width)
        mle[k] = Reading(value, *_interval(replicas))
    mean = float(np.mean([reading.value for reading in mle.values()]))
    return Dimension(count, len(points) - count, two_nn, mle, mean, [k for k in neighbours if k >= count])


def neighbour_distances(points: np.ndarray, k: int) -> np.ndarray:
    """Return the distances float64 [N, k] of each of N points to its k nearest others, rising; exact.

    Candidates come from a float32 matrix product, whose rounding could matter between close points; their
    distances are then taken again from the differences in double precision.
    """
    points = np.asarray(points, dtype=np.float64)
    count = len(points)
    single = (points - points.mean(axis=0)).astype(np.float32)
    norms = np.einsum("nd,nd->n", single, single)
    spare = min(count - 1, k + 5)
    nearest = np.empty((count, k))
    for start in range(0, count, 512):
        rows = np.arange(start, min(start + 512, count))
        squared = norms - 2 * (single[rows] @ single.T)  # the row's own norm shifts all alike
        squared[np.arange(len(rows)), rows] = np.inf
        candidates = np.argpartition(squared, spare - 1, axis=1)[:, :spare]
        for row, chosen in zip(rows, candidates, strict=True):
            exact = np.sqrt(np.square(points[chosen] - points[row]).sum(axis=1))
            nearest[row] = np.sort(exact)[:k]
    return np.maximum(nearest, np.finfo(np.float64).tiny)


def _two_nn(log_ratios: np.ndarray, width: int) -> float:
    """Slope through the origin of -log(1 - F) over log(r2 / r1) (Facco et al. 2017, equation 5)."""
    count = len(log_ratios)
    kept = max(int(count * (1 - _DISCARD)), 2)
    x = np.sort(log_ratios)[:kept]
    y = -np.log1p(-np.arange(1, kept + 1) / max(count, kept + 1))
    return _inverted(np.array([x @ x / max(x @ y, np.finfo(np.float64).tiny)]), width)[0]


def _local_inverse(distances: np.ndarray) -> np.ndarray:
    """1 / dimension about each point, from its k nearest distances (Levina & Bickel 2004, equation 8)."""
    k = distances.shape[1]
    inverse: np.ndarray = np.log(distances[:, -1:] / distances[:, :-1]).sum(axis=1) / (k - 1)
    return inverse


def _inverted(inverse: np.ndarray, width: int) -> list[float]:
    """Dimensions from their inverses; the width of the space where no difference of distances is left."""
    flat = inverse < 1e-9
    values: list[float] = np.where(flat, width, 1 / np.where(flat, 1.0, inverse)).tolist()
    return values


def _interval(replicates: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(replicates, [2.5, 97.5]).tolist()
    return low, high


def bent_ball(points: int, dimension: int, width: int, seed: int = 0) -> np.ndarray:
    """Return ``points`` points, float64 [points, width], drawn evenly from a ``dimension``-ball bent into ``width``.

    Each coordinate of the ball runs along a circle of its own, and the whole is turned at random: no linear
    projection flattens it, yet small distances are kept, so its intrinsic dimension is known.
    """
    if width < 2 * dimension:
        raise LitetextError(f"bending {dimension} dimensions takes a width of at least {2 * dimension}; got {width}")
    rng = np.random.default_rng(seed)
    ball = _ball(points, dimension, rng)
    circles = np.concatenate([np.cos(ball), np.sin(ball)], axis=1)
    frame, _ = np.linalg.qr(rng.standard_normal((width, 2 * dimension)))
    bent: np.ndarray = circles @ frame.T
    return bent


def _ball(points: int, dimension: int, rng: np.random.Generator) -> np.ndarray:
    directions = rng.standard_normal((points, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ball: np.ndarray = directions * rng.random((points, 1)) ** (1 / dimension)
    return ball


def bias_curve(
    points: int,
    true: Sequence[int] = CURVE_DIMENSIONS,
    *,
    neighbours: Sequence[int] = DEFAULT_NEIGHBOURS,
    seed: int = 0,
) -> BiasCurve:
    """Return what the estimators read from ``points`` points drawn evenly from flat balls of dimension ``true``.

    Empty for fewer than 4 points.
    """
    if points < 4:
        return BiasCurve(points, [], [], [])
    rng = np.random.default_rng(seed)
    readings = [dimension(_ball(points, d, rng), neighbours, replicates=1) for d in true]
    return BiasCurve(points, list(true), [r.two_nn.value for r in readings], [r.mle_mean for r in readings])
