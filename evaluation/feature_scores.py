"""How near the features of pictures are to those of photographs: beyond one distance, in which way they differ.

Kernel distance (Binkowski et al. 2018; KID on Inception features), precision and recall (Kynkaanniemi et al. 2019),
density and coverage (Naeem et al. 2020). All of them in float64, on feature vectors `[N, d]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.frechet import FeatureStatistics, frechet_distance

NEIGHBOURS = 5
"""k of precision, recall, density and coverage."""
SUBSETS, SUBSET_SIZE = 100, 1000
"""Of the kernel distance, as in the public implementations; smaller sets give smaller subsets."""
BLOCK = 1024
"""Rows of a matrix of distances that are in memory at a time."""


@dataclass(frozen=True)
class FeatureScores:
    """One set of pictures against photographs, on one kind of features; None where there are too few pictures."""

    frechet: float
    """Frechet distance; FID on Inception features. Lower is better."""
    frechet_interval: tuple[float, float] | None
    """95%, over resampled label maps."""
    kernel_distance: float
    """Unbiased squared MMD with a cubic kernel, mean over subsets; KID on Inception features. Lower is better."""
    kernel_interval: tuple[float, float]
    """2.5th and 97.5th percentile over the subsets."""
    precision: float | None
    """The share of the pictures among the photographs (within the neighbourhood of one)."""
    recall: float | None
    """The share of the photographs among the pictures."""
    density: float | None
    """Like precision, but counting how many photographs' neighbourhoods a picture is in; may exceed 1."""
    coverage: float | None
    """The share of the photographs that have a picture in their neighbourhood."""
    diversity: float | None
    """Mean distance between pictures of one label map, as a share of that between photographs; None without samples."""

    @classmethod
    def of(cls, made: np.ndarray, real: np.ndarray, groups: np.ndarray, *, replicates: int = 100) -> FeatureScores:
        """From feature vectors `[N, d]` and `[M, d]`, two or more each; equal `groups` share a label map."""
        kernel, interval = kernel_distance(made, real)
        neighbours = manifold_scores(made, real) if min(len(made), len(real)) > NEIGHBOURS else dict.fromkeys(_MANIFOLD)
        return cls(
            frechet=frechet_distance(_statistics(made), _statistics(real)),
            frechet_interval=_frechet_interval(made, real, groups, replicates),
            kernel_distance=kernel,
            kernel_interval=interval,
            diversity=diversity(made, real, groups),
            **neighbours,
        )


_MANIFOLD = ("precision", "recall", "density", "coverage")


def kernel_distance(
    one: np.ndarray, other: np.ndarray, *, subsets: int = SUBSETS, size: int = SUBSET_SIZE, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Unbiased MMD^2 with the kernel (x y / d + 1)^3: the mean over random subsets, and a 95% interval over them.

    Sets that are no larger than a subset are taken whole for the mean; for the interval they are halved.
    """
    size = min(size, len(one), len(other))
    random = np.random.default_rng(seed)

    def draws(count: int) -> list[float]:
        return [
            _mmd(one[random.permutation(len(one))[:count]], other[random.permutation(len(other))[:count]])
            for _ in range(subsets)
        ]

    whole = size in (len(one), len(other))
    values = draws(max(2, size // 2) if whole else size)
    mean = _mmd(one, other) if whole and max(len(one), len(other)) <= SUBSET_SIZE else float(np.mean(values))
    return mean, (float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5)))


def _mmd(one: np.ndarray, other: np.ndarray) -> float:
    x, y = one.astype(np.float64), other.astype(np.float64)
    count, others = len(x), len(y)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / x.shape[1] + 1) ** 3

    within, across = kernel(x, x), kernel(y, y)
    return float(
        (within.sum() - np.trace(within)) / (count * (count - 1))
        + (across.sum() - np.trace(across)) / (others * (others - 1))
        - 2 * kernel(x, y).mean()
    )


def manifold_scores(made: np.ndarray, real: np.ndarray, *, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Precision, recall, density and coverage, by balls that reach to each vector's k-th nearest neighbour.

    >>> line = np.arange(6.0)[:, None]
    >>> scores = manifold_scores(line + 0.1, line, neighbours=1)
    >>> {name: round(value, 2) for name, value in scores.items()}
    {'precision': 1.0, 'recall': 1.0, 'density': 1.83, 'coverage': 1.0}
    """
    made, real = made.astype(np.float64), real.astype(np.float64)
    real_radii, made_radii = _radii(real, neighbours), _radii(made, neighbours)
    among_real, inside, among_made, covered = [], [], [], np.zeros(len(real), bool)
    for start in range(0, len(made), BLOCK):
        distances = _distances(made[start : start + BLOCK], real)  # [block, M]
        balls = distances <= real_radii
        among_real.append(balls.any(1))
        inside.append(balls.sum(1))
        covered |= balls.any(0)
    for start in range(0, len(real), BLOCK):
        among_made.append((_distances(real[start : start + BLOCK], made) <= made_radii).any(1))
    return {
        "precision": float(np.concatenate(among_real).mean()),
        "recall": float(np.concatenate(among_made).mean()),
        "density": float(np.concatenate(inside).mean() / neighbours),
        "coverage": float(covered.mean()),
    }


def diversity(made: np.ndarray, real: np.ndarray, groups: np.ndarray) -> float | None:
    """Mean distance between pictures of one group over that between photographs; None where no group has two."""
    within = []
    for group in np.unique(groups):
        members = made[groups == group].astype(np.float64)
        if len(members) > 1:
            distances = _distances(members, members)
            within.append(distances[np.triu_indices(len(members), 1)].mean())
    some = real[np.linspace(0, len(real) - 1, min(len(real), BLOCK)).astype(int)].astype(np.float64)
    among = _distances(some, some)[np.triu_indices(len(some), 1)]
    return float(np.mean(within) / among.mean()) if within and among.size and among.mean() > 0 else None


def _frechet_interval(
    made: np.ndarray, real: np.ndarray, groups: np.ndarray, replicates: int
) -> tuple[float, float] | None:
    """Percentiles over resampled label maps.

    A resample repeats vectors, which adds to any Frechet distance; so the spread of the replicates is put around the
    estimate, rather than taking the replicates themselves.
    """
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 3 or replicates < 2:
        return None
    members = [np.flatnonzero(index == group) for group in range(len(names))]
    photographs = _statistics(real)
    random = np.random.default_rng(0)
    values = []
    for _ in range(replicates):
        rows = np.concatenate([members[group] for group in random.integers(0, len(names), len(names))])
        values.append(frechet_distance(_statistics(made[rows]), photographs))
    centre = frechet_distance(_statistics(made), photographs) - np.mean(values)
    low, high = np.percentile(values, [2.5, 97.5]) + centre
    return max(0.0, float(low)), float(high)


def _statistics(features: np.ndarray) -> FeatureStatistics:
    result = FeatureStatistics(features.shape[1])
    result.update(features)
    return result


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each vector to its k-th nearest neighbour, itself not counted."""
    radii = [
        np.partition(_distances(features[start : start + BLOCK], features), neighbours, axis=1)[:, neighbours]
        for start in range(0, len(features), BLOCK)
    ]
    return np.concatenate(radii)


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances `[len(one), len(other)]`."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0))
