"""The singular values of a cloud of points, and how many dimensions it really fills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LitetextError


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the centred singular value decomposition of N points in D dimensions says.

    Attributes:
        points, dimensions: N and D.
        effective_rank: exp(entropy of the singular values' shares) (Roy & Vetterli 2007): D for a round cloud,
            1 for a line, 0 for a single point repeated.
        dimensions_90, dimensions_95: principal dimensions that hold 90 and 95 % of the variance.
        variance: cumulative share of the variance held by the first 1, 2, ... dimensions.
    """

    points: int
    dimensions: int
    effective_rank: float
    dimensions_90: int
    dimensions_95: int
    variance: list[float]


def spectrum(points: np.ndarray) -> Spectrum:
    """Return the spectrum of ``points``, floating [N, D], about their mean.

    The singular values are the roots of the eigenvalues of the smaller Gram matrix, in double precision:
    far cheaper than a full decomposition for N >> D. Values below a millionth of the largest are rounding and
    count as zero.

    Raises:
        LitetextError: for an empty array or one with NaN or infinite entries.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.size == 0:
        raise LitetextError(f"a spectrum needs points [N, D] with N, D >= 1; got shape {points.shape}")
    if not np.isfinite(points).all():
        raise LitetextError("the points hold NaN or infinite values; check the weights they come from")
    count, dimensions = points.shape
    scale = np.abs(points).max()
    centred = points - points.mean(axis=0)
    gram = centred.T @ centred if dimensions <= count else centred @ centred.T
    variances = np.linalg.eigvalsh(gram)[::-1]
    variances = np.where(variances > max(variances[0] * 1e-12, count * (scale * 1e-12) ** 2), variances, 0.0)
    if variances[0] <= 0:
        return Spectrum(count, dimensions, 0.0, 0, 0, [1.0])
    held = np.cumsum(variances) / variances.sum()
    shares = np.sqrt(variances[variances > 0])
    shares /= shares.sum()
    return Spectrum(
        points=count,
        dimensions=dimensions,
        effective_rank=float(np.exp(-np.sum(shares * np.log(shares)))),
        dimensions_90=_first_at_least(held, 0.90),
        dimensions_95=_first_at_least(held, 0.95),
        variance=np.minimum(held, 1.0).tolist(),
    )


def _first_at_least(rising: np.ndarray, bound: float) -> int:
    return int(np.searchsorted(rising, bound - 1e-12)) + 1
