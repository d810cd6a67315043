"""CMMD: the squared MMD of CLIP's embeddings with a Gaussian kernel (Jayasumana et al., "Rethinking FID: Towards a
Better Evaluation Metric for Image Generation", CVPR 2024). It is called that only on CLIP's features of length 1."""

from __future__ import annotations

import numpy as np

SIGMA, SCALE = 10.0, 1000.0
"""Of the kernel exp(-|x - y|^2 / (2 sigma^2)), and of the squared MMD, as in the authors' `distance.py`."""
BLOCK = 1024
"""Rows of a kernel matrix that are in memory at a time."""


def cmmd(generated: np.ndarray, real: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """The biased estimate (Gretton et al. 2012, eq. 5), as the authors take it, at least 0: float64 `[draws]`.

    Of feature vectors `[N, d]` and `[M, d]`; `times`, `[draws, N]`, counts the first ones so many times (None: a single
    draw in which each counts once). Equal sets are 0 apart.

    >>> cmmd(np.array([[0.0], [0.0]]), np.array([[10.0]])).round(6).tolist()  # 2 - 2 exp(-1/2), in thousandths
    [786.938681]
    """
    weights = np.ones((1, len(generated))) if times is None else times.astype(np.float64)
    weights = weights / weights.sum(1, keepdims=True)
    equal = np.full((1, len(real)), 1 / len(real))
    vectors, photographs = generated.astype(np.float64), real.astype(np.float64)
    within = _mean_kernel(vectors, vectors, weights, weights)
    among = _mean_kernel(photographs, photographs, equal, equal)
    across = _mean_kernel(photographs, vectors, np.broadcast_to(equal, (len(weights), len(real))), weights)
    # The kernel of a vector with itself is 1 up to rounding: below that nothing is known.
    return SCALE * np.maximum(within + among - 2 * across, 0)


def _mean_kernel(x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray) -> np.ndarray:
    """Weighted means of the kernel over all pairs, `[draws]`; weights are `[draws, len(x)]` and `[draws, len(y)]`."""
    means = np.zeros(len(of_y))
    lengths = (y**2).sum(1)
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK]
        squares = (rows**2).sum(1)[:, None] + lengths - 2 * rows @ y.T
        kernel = np.exp(-np.maximum(squares, 0) / (2 * SIGMA**2))
        means += (of_x[:, start : start + BLOCK] * (of_y @ kernel.T)).sum(1)
    return means
