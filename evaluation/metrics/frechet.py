"""The Frechet distance between two sets of feature vectors, each taken as a Gaussian (Heusel et al. 2017, eq. 6).

It is called FID only where the features are those of FID's Inception network (`evaluation/metrics/inception.py`).
"""

from __future__ import annotations

import numpy as np


class FeatureStatistics:
    """Count, mean and scatter of feature vectors in float64, so that parts computed anywhere add up.

    Up to as many vectors as dimensions are kept as they are, which takes less memory than their scatter matrix and
    keeps the distance exact and cheap. Beyond that, parts are combined as Chan, Golub and LeVeque (1979) do, which is
    as accurate as two passes over all the vectors. How the vectors were sharded moves only the last digits.

    >>> one, other = FeatureStatistics(1), FeatureStatistics(1)
    >>> one.update(np.array([[1.0], [2.0]]))
    >>> other.update(np.array([[6.0]]))
    >>> both = one.merge(other)
    >>> both.count, both.mean.tolist(), both.covariance().tolist()
    (3, [3.0], [[7.0]])
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.count = 0
        self._kept: list[np.ndarray] = []
        self._mean = np.zeros(dimensions, np.float64)
        self._scatter: np.ndarray | None = None  # None while all vectors are kept

    def update(self, features: np.ndarray) -> None:
        """Add feature vectors, `[count, dimensions]` of any floating type."""
        assert features.ndim == 2
        assert features.shape[1] == self.dimensions, (features.shape, self.dimensions)
        if len(features):
            self._add(len(features), [features.astype(np.float64)], None)

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """The statistics of both sets of vectors."""
        assert self.dimensions == other.dimensions, (self.dimensions, other.dimensions)
        merged = FeatureStatistics(self.dimensions)
        for part in (self, other):
            if part.count:
                merged._add(part.count, part._kept, part._scatter, part._mean)
        return merged

    @property
    def vectors(self) -> np.ndarray | None:
        """float64 `[count, dimensions]`: all the vectors, or None where there are more than dimensions."""
        return np.concatenate([np.zeros((0, self.dimensions)), *self._kept]) if self._scatter is None else None

    @property
    def mean(self) -> np.ndarray:
        """float64 `[dimensions]`."""
        vectors = self.vectors
        return self._mean if vectors is None else vectors.mean(0)

    def covariance(self) -> np.ndarray:
        """float64 `[dimensions, dimensions]`, unbiased (divided by `count - 1`), as every public FID does."""
        assert self.count >= 2, "a covariance takes two vectors or more"
        scatter = self._scatter if self._scatter is not None else _moments(self._kept)[1]
        return scatter / (self.count - 1)

    def factor(self) -> np.ndarray:
        """F, float64 `[dimensions, rank or more]`, with F F^T the covariance."""
        assert self.count >= 2, "a covariance takes two vectors or more"
        vectors = self.vectors
        if vectors is not None:
            return (vectors - vectors.mean(0)).T / (self.count - 1) ** 0.5
        return _factor(self.covariance())

    def _add(
        self, count: int, kept: list[np.ndarray], scatter: np.ndarray | None, mean: np.ndarray | None = None
    ) -> None:
        total = self.count + count
        if self._scatter is None and scatter is None and total <= self.dimensions:
            self._kept = [*self._kept, *kept]
            self.count = total
            return
        if scatter is None:
            mean, scatter = _moments(kept)
        assert mean is not None
        if self._scatter is None:
            self._mean, self._scatter = _moments(self._kept) if self._kept else (mean, np.zeros_like(scatter))
            self._kept = []
        shift = mean - self._mean
        self._scatter = self._scatter + scatter + np.outer(shift, shift) * (self.count * count / total)
        self._mean = self._mean + shift * (count / total)
        self.count = total


def frechet_distance(one: FeatureStatistics, other: FeatureStatistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two statistics of at least two vectors each.

    With C = F F^T the trace of the root is the nuclear norm of F1^T F2, the sum of its singular values. With fewer
    vectors than dimensions no root is taken of anything close to 0, so it is exact there too, where the matrix root of
    the public tools is off from the sixth digit on; and it takes next to no time. With more, Cholesky factors make it
    a tenth of the time of scipy's `sqrtm` at 2048 dimensions.

    >>> near, far = FeatureStatistics(1), FeatureStatistics(1)
    >>> near.update(np.array([[-1.0], [1.0]]))
    >>> far.update(np.array([[1.0], [5.0]]))
    >>> frechet_distance(near, near), round(frechet_distance(near, far), 9)  # 3^2 + (sqrt(2) - sqrt(8))^2
    (0.0, 11.0)
    """
    assert one.dimensions == other.dimensions, (one.dimensions, other.dimensions)
    shift = one.mean - other.mean
    factors = one.factor(), other.factor()
    spread = float(sum((factor**2).sum() for factor in factors))  # tr(C1 + C2)
    product = factors[0].T @ factors[1]
    if one.vectors is None and other.vectors is None:
        # The squares of the singular values, from the smaller side: a third of the time, and well conditioned here.
        gram = product @ product.T if len(product) <= product.shape[1] else product.T @ product
        root = float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum())
    else:
        root = float(np.linalg.svd(product, compute_uv=False).sum())
    distance = float(shift @ shift) + spread - 2 * root
    # Rounding leaves about 1e-15 of the spread where the true distance is 0; a distance is never negative.
    return distance if distance > 1e-12 * spread else 0.0


def _moments(kept: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter matrix of vectors."""
    vectors = np.concatenate(kept)
    mean = vectors.mean(0)
    centred = vectors - mean
    return mean, centred.T @ centred


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with F F^T the covariance: Cholesky's where it is safely positive definite, else from the eigenvectors."""
    tolerance = len(covariance) * float(np.finfo(np.float64).eps)
    try:
        factor = np.linalg.cholesky(covariance)
        diagonal = np.diagonal(factor)
        if (diagonal.min() / diagonal.max()) ** 2 > tolerance:
            return factor
    except np.linalg.LinAlgError:
        pass  # dead or repeated features
    values, vectors = np.linalg.eigh(covariance)
    # What the solver returns below its own accuracy is noise, and the root of noise is not small.
    start = int(np.searchsorted(values, values[-1] * tolerance, side="right"))
    return vectors[:, start:] * np.sqrt(values[start:])
