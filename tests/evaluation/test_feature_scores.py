"""Kernel distance, precision, recall, density, coverage and diversity against definitions written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.feature_scores import FeatureScores, diversity, kernel_distance, manifold_scores


def normal(seed: int, count: int, dimensions: int = 8, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


def plain_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, pair by pair."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    within = [k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    across = [k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    return float(np.mean(within) + np.mean(across) - 2 * np.mean([k(a, b) for a in x for b in y]))


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    one, other = normal(0, 30), normal(1, 25, shift=0.5)
    value, (low, high) = kernel_distance(one, other)
    assert value == pytest.approx(plain_mmd(one, other), rel=1e-9)
    assert low < value < high


def test_kernel_distance_of_equal_distributions_is_about_zero_and_may_be_negative() -> None:
    values = [kernel_distance(normal(seed, 60), normal(seed + 50, 60), subsets=2)[0] for seed in range(20)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 0.04
    assert kernel_distance(normal(0, 60), normal(1, 60, shift=1))[0] > 0.5


def test_large_sets_are_judged_by_subsets() -> None:
    one, other = normal(0, 300), normal(1, 300, shift=0.5)
    value, (low, high) = kernel_distance(one, other, size=50)
    assert low < value < high
    assert value == pytest.approx(kernel_distance(one, other)[0], rel=0.2)


def plain_manifold(made: np.ndarray, real: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, vector by vector."""

    def radius(point: np.ndarray, points: np.ndarray) -> float:
        return float(np.sort(np.linalg.norm(points - point, axis=1))[k])

    real_radii, made_radii = [radius(p, real) for p in real], [radius(p, made) for p in made]
    inside = [[np.linalg.norm(m - r) <= radius for r, radius in zip(real, real_radii, strict=True)] for m in made]
    back = [[np.linalg.norm(r - m) <= radius for m, radius in zip(made, made_radii, strict=True)] for r in real]
    return {
        "precision": float(np.mean([any(row) for row in inside])),
        "recall": float(np.mean([any(row) for row in back])),
        "density": float(np.mean([sum(row) / k for row in inside])),
        "coverage": float(np.mean(np.any(inside, axis=0))),
    }


@pytest.mark.parametrize("shift", [0.0, 0.7, 20.0])
def test_manifold_scores(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.feature_scores.BLOCK", 7)
    made, real = normal(2, 40, 3, shift), normal(3, 50, 3)
    ours = manifold_scores(made, real)
    assert ours == pytest.approx(plain_manifold(made, real, 5))
    if shift == 20:
        assert set(ours.values()) == {0.0}


def test_diversity_is_relative_to_the_photographs() -> None:
    real = np.array([[0.0], [2.0]])
    made = np.array([[5.0], [6.0], [1.0], [1.0]])
    groups = np.array(["a", "a", "b", "b"])
    assert diversity(made, real, groups) == pytest.approx((1 + 0) / 2 / 2)
    assert diversity(made, real, np.array(list("abcd"))) is None


def test_few_pictures_leave_out_what_needs_neighbours() -> None:
    scores = FeatureScores.of(normal(0, 4), normal(1, 4), np.arange(4))
    assert scores.precision is None
    assert scores.frechet > 0
    assert scores.frechet_interval is not None
    low, high = scores.frechet_interval
    assert low <= scores.frechet <= high
