"""CMMD against the definition, pair by pair, and figures of the public implementations."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.cmmd import BLOCK, cmmd


def unit(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(shift, 1, (count, 12))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def plain(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.exp(-((p - q) ** 2).sum() / 200) for p in a for q in b]))

    return 1000 * (k(x, x) + k(y, y) - 2 * k(x, y))


def test_it_is_the_definition() -> None:
    one, other = unit(0, 20), unit(1, 15, shift=0.5)
    assert cmmd(one, other)[0] == pytest.approx(plain(one, other), rel=1e-9)
    # What clip-mmd 0.0.2 says of the same vectors in float64.
    assert cmmd(one, other)[0] == pytest.approx(GOLDEN, rel=1e-9)
    assert cmmd(one, one)[0] < 1e-10


GOLDEN = 3.735200989105847


def test_vectors_that_count_twice_are_there_twice() -> None:
    one, other = unit(0, 6), unit(1, 5)
    times = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 3, 0, 0]])
    expected = [plain(np.repeat(one, row, 0), other) for row in times]
    np.testing.assert_allclose(cmmd(one, other, times), expected, rtol=1e-9)


def test_large_sets_are_taken_in_blocks() -> None:
    one, other = unit(0, BLOCK + 3), unit(1, 7)
    few = cmmd(np.repeat(one[:5], 300, 0), other)[0]
    assert few == pytest.approx(cmmd(one[:5], other)[0], rel=1e-9)
    assert cmmd(other, one)[0] == pytest.approx(cmmd(one, other)[0], rel=1e-9)
