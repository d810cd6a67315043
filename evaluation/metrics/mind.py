"""MIND, the sliced Wasserstein distance between two sets of feature vectors (Berthet et al., "MIND: Monge Inception
Distance for Generative Models Evaluation", arXiv 2605.06797, 2026), made for small sets: no covariance is estimated.

Along random directions both sets are numbers, between which the optimal transport is that of sorted values. The scale
and the directions are those of torch-fidelity's `metric_mind.py` (alpha = 3 d; 1,000 projections, seed 2020), so that
sets of equal size get its figure up to float32's rounding; there the larger of two sets is cut to the size of the
smaller, here the transport is exact for any sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

PROJECTIONS, SEED = 1000, 2020
SCALE = 3
"""Of the squared distance, times the dimensions: near FID's range."""
BLOCK = 250
"""Directions that are projected on at a time."""


@dataclass(frozen=True)
class Projected:
    """Feature vectors along random directions."""

    values: np.ndarray
    """float64 `[projections, N]`, in the order of the vectors."""
    dimensions: int

    @classmethod
    def of(cls, features: np.ndarray, *, projections: int = PROJECTIONS, seed: int = SEED) -> Projected:
        """Of vectors `[N, d]`; the directions depend on d, their number and the seed alone."""
        directions = _directions(features.shape[1], projections, seed)
        vectors = features.astype(np.float64)
        parts = [directions[start : start + BLOCK] @ vectors.T for start in range(0, projections, BLOCK)]
        return cls(np.concatenate(parts), features.shape[1])

    def __len__(self) -> int:
        return self.values.shape[1]

    def some(self, index: np.ndarray) -> Projected:
        """The vectors of these indices, `[K]`; some of them several times, if they are."""
        return Projected(self.values[:, index], self.dimensions)


@dataclass(frozen=True)
class Mind:
    """The distance of two sets."""

    published: float
    """As the public implementation computes it; two sets drawn alike are about a constant over their size apart."""
    corrected: float
    """Without what sets of this size are apart even if drawn alike, so that it may be negative; see `of`."""

    @classmethod
    def of(cls, one: Projected, other: Projected, *, seed: int = 0) -> Mind:
        """From two sets, projected on the same directions, of two vectors or more each.

        The distance of n and m vectors drawn from one distribution is expected to be about c (1/n + 1/m), and that of
        the halves of a set so 4 c / n: a quarter of it, from both sets, is taken off. (The correction is by the order
        1/n; what is left is of the tails.)
        """
        random = np.random.default_rng(seed)
        distance = sliced_wasserstein(one, other)
        return cls(distance, distance - _own(one, random) - _own(other, random))


def sliced_wasserstein(one: Projected, other: Projected) -> float:
    """3 d times the mean over directions of the squared Wasserstein-2 distance, at least 0; equal sets are 0 apart.

    >>> points = np.array([[0.0], [2.0]])
    >>> sliced_wasserstein(Projected.of(points), Projected.of(points + 1))  # all are moved by 1, in one dimension
    3.0
    >>> sliced_wasserstein(Projected.of(points), Projected.of(np.array([[1.0]])))  # each by 1
    3.0
    """
    assert one.dimensions == other.dimensions, (one.dimensions, other.dimensions)
    # Between the ends of the steps of either quantile function both are constant.
    ends = np.union1d(np.arange(1, len(one) + 1) * len(other), np.arange(1, len(other) + 1) * len(one))
    shares = np.diff(ends, prepend=0) / (len(one) * len(other))
    first, second = (ends - 1) // len(other), (ends - 1) // len(one)
    total = 0.0
    for start in range(0, len(one.values), BLOCK):
        ours, theirs = (np.sort(part.values[start : start + BLOCK], 1) for part in (one, other))
        total += float(((ours[:, first] - theirs[:, second]) ** 2 @ shares).sum())
    return SCALE * one.dimensions * total / len(one.values)


def _own(part: Projected, random: np.random.Generator) -> float:
    """The share of a distance that a set has by its size; 0 with fewer than four vectors, of which nothing is known."""
    if len(part) < 4:
        return 0.0
    order, half = random.permutation(len(part)), len(part) // 2
    return sliced_wasserstein(part.some(order[:half]), part.some(order[half : 2 * half])) / 4


@cache
def _directions(dimensions: int, projections: int, seed: int) -> np.ndarray:
    """float64 `[projections, dimensions]`, of length 1; drawn in float32, as torch-fidelity draws them."""
    drawn = torch.randn(projections, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    directions = drawn.double().numpy()
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)
