"""Kernel distance, precision, recall, density, coverage and diversity against definitions written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from evaluation.metrics.feature_metrics import (
    FeatureScores,
    Neighbourhoods,
    diversity,
    interval_around,
    kernel_distance,
    mean_interval,
    resampled,
)


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


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kernel_distance_is_torchmetrics_kid_on_whole_sets() -> None:
    class Pixels(torch.nn.Module):
        num_features = 8

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    one, other = normal(0, 40), normal(1, 40, shift=0.5)
    metric = KernelInceptionDistance(feature=Pixels(), subsets=1, subset_size=40, normalize=True)
    metric.set_dtype(torch.float64)
    for features, real in ((one, False), (other, True)):
        metric.update(torch.from_numpy(features).view(-1, 2, 2, 2), real=real)
    assert kernel_distance(one, other)[0] == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_kernel_distance_of_equal_distributions_is_about_zero_and_may_be_negative() -> None:
    values = [kernel_distance(normal(seed, 60), normal(seed + 50, 60), subsets=2)[0] for seed in range(20)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 0.04
    assert kernel_distance(normal(0, 60), normal(1, 60, shift=1))[0] > 0.5


def test_large_sets_are_scored_by_subsets() -> None:
    one, other = normal(0, 300), normal(1, 300, shift=0.5)
    value, (low, high) = kernel_distance(one, other, size=50)
    assert low < value < high
    assert value == pytest.approx(kernel_distance(one, other)[0], rel=0.2)


def plain_manifold(generated: np.ndarray, real: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, vector by vector."""

    def radius(point: np.ndarray, points: np.ndarray) -> float:
        return float(np.sort(np.linalg.norm(points - point, axis=1))[k])

    real_radii, made_radii = [radius(p, real) for p in real], [radius(p, generated) for p in generated]
    inside = [[np.linalg.norm(m - r) <= radius for r, radius in zip(real, real_radii, strict=True)] for m in generated]
    back = [[np.linalg.norm(r - m) <= radius for m, radius in zip(generated, made_radii, strict=True)] for r in real]
    return {
        "precision": float(np.mean([any(row) for row in inside])),
        "recall": float(np.mean([any(row) for row in back])),
        "density": float(np.mean([sum(row) / k for row in inside])),
        "coverage": float(np.mean(np.any(inside, axis=0))),
    }


@pytest.mark.parametrize("shift", [0.0, 0.7, 20.0])
def test_manifold_scores(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.metrics.feature_metrics.BLOCK", 7)
    generated, real = normal(2, 40, 3, shift), normal(3, 50, 3)
    neighbourhoods = Neighbourhoods.of(generated, real)
    ours = neighbourhoods.scores()
    assert ours == pytest.approx(plain_manifold(generated, real, 5))
    # A picture that is drawn twice counts twice, one that is not drawn reaches and covers nothing; the radii stay.
    times = np.array([2, 0, 1, 3] * 10)
    weighted = neighbourhoods.scores(times)
    rows = np.repeat(np.arange(40), times)
    balls = [[np.sort(np.linalg.norm(points - p, axis=1))[5] for p in points] for points in (generated, real)]
    near = np.linalg.norm(generated[:, None] - real[None], axis=2)
    inside, reached = near <= np.array(balls[1]), near <= np.array(balls[0])[:, None]
    assert weighted == pytest.approx(
        {
            "precision": inside[rows].any(1).mean(),
            "recall": reached[rows].any(0).mean(),
            "density": inside[rows].sum(1).mean() / 5,
            "coverage": inside[rows].any(0).mean(),
        }
    )
    if shift == 20:
        assert set(ours.values()) == {0.0}


def test_diversity_is_relative_to_the_photographs() -> None:
    real = np.array([[0.0], [2.0]])
    generated = np.array([[5.0], [6.0], [1.0], [1.0]])
    groups = np.array(["a", "a", "b", "b"])
    assert diversity(generated, real, groups) == pytest.approx((1 + 0) / 2 / 2)
    assert diversity(generated, real, np.array(list("abcd"))) is None


def test_few_pictures_leave_out_what_needs_neighbours() -> None:
    scores = FeatureScores.of(normal(0, 4), normal(1, 4), np.arange(4))
    assert scores.precision is None
    assert scores.frechet > 0
    low, high = scores.intervals["frechet"]
    assert low <= scores.frechet <= high
    assert set(scores.intervals) == {"frechet", "kernel_distance", "mind", "mind_corrected"}
    assert scores.curves == {}
    assert set(FeatureScores.of(normal(0, 4), normal(1, 4), np.array([1, 1, 2, 2])).intervals) == {"kernel_distance"}


def test_every_score_has_an_interval_around_it() -> None:
    generated, real, groups = normal(2, 60, 4, 0.3), normal(3, 50, 4), np.arange(60) // 3
    scores = FeatureScores.of(generated, real, groups)
    names = {
        "mind",
        "mind_corrected",
        "frechet",
        "kernel_distance",
        "precision",
        "recall",
        "density",
        "coverage",
        "diversity",
    }
    assert set(scores.intervals) == names
    for name, (low, high) in scores.intervals.items():
        assert low < getattr(scores, name) < high, name
    assert scores.intervals["precision"][1] <= 1


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Coverage of the interval of precision, of pictures that are drawn anew, against fixed photographs."""
    real = normal(100, 60, 3)
    truth = np.mean([Neighbourhoods.of(normal(seed, 60, 3, 0.5), real).scores()["precision"] for seed in range(300)])
    hits = 0
    times = resampled(np.arange(60), 100)
    for seed in range(1000, 1040):
        low, high = Neighbourhoods.of(normal(seed, 60, 3, 0.5), real).intervals(times)["precision"]
        hits += low <= truth <= high
    assert hits >= 33  # 38 expected; 33 or fewer has a probability of about 2 per cent


def test_samples_of_a_label_map_are_drawn_together() -> None:
    times = resampled(np.array(["a", "a", "b", "c", "b"]), 50)
    assert times.shape == (50, 5)
    assert (times[:, 0] == times[:, 1]).all()
    assert (times[:, 2] == times[:, 4]).all()
    assert (times[:, [0, 2, 3]].sum(1) == 3).all()
    assert len({tuple(row) for row in times.tolist()}) > 5


def test_intervals_of_means_and_around_estimates() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = mean_interval(values)
    assert interval is not None
    expected = values.mean() + 1.96 * values.std() / 20 * np.array([-1, 1])
    np.testing.assert_allclose(interval, expected, atol=0.03)
    assert mean_interval(values[:2]) is None
    low, high = interval_around(5.0, [10.0, 11.0, 12.0])
    assert (low, high) == pytest.approx((5 - 1.96, 5 + 1.96))
    assert interval_around(0.9, [0.1, 0.9], most=1) == (0, 1)
