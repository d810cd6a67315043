"""Estimates over seeds and label maps by value: one seed, scores without resamples, the rules of averaging."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.image_results import Confusions
from evaluation.trainings.estimates import SeedScores, accuracy, count_pixels, draw_maps, gain, mean_iou


def test_of_one_seed_only_the_maps_are_known() -> None:
    one = SeedScores(np.array([5.0]), 11, map_deviation=0.5)
    found = one.estimate()
    half = 0.5 * stats.t.ppf(0.975, 10)
    assert (found.value, found.low, found.high) == pytest.approx((5, 5 - half, 5 + half))
    assert found.spread is None
    change = gain(SeedScores(np.array([6.0]), 11, map_deviation=0.5), one)
    assert change.high - change.value == pytest.approx(0.5**0.5 * stats.t.ppf(0.975, 10))  # 0.25 + 0.25, ten each
    assert change.p == pytest.approx(2 * stats.t.sf(1 / 0.5**0.5, 10))


def test_variances_of_maps_and_seeds_add_up() -> None:
    found = SeedScores(np.array([1.0, 2.0, 3.0]), 101, map_deviation=2.0).estimate()
    assert found.spread == 1
    variance = 4 + 1 / 3
    freedom = variance**2 / (4**2 / 100 + (1 / 3) ** 2 / 2)
    assert found.high - found.value == pytest.approx(variance**0.5 * stats.t.ppf(0.975, freedom))


def test_what_is_hard_in_a_map_for_both_cancels_only_where_resamples_are_known() -> None:
    random = np.random.default_rng(0)
    resampled = random.normal(0.5, 0.1, (2, 400))
    values = np.array([0.5, 0.52])
    one, other = SeedScores(values + 0.1, 30, resampled=resampled + 0.1), SeedScores(values, 30, resampled=resampled)
    paired = gain(one, other)
    seeds = 2 * values.var(ddof=1) / 2
    assert paired.high - paired.value == pytest.approx(seeds**0.5 * stats.t.ppf(0.975, 2), rel=1e-3)
    deviation = one.map_variance**0.5
    loose = gain(SeedScores(one.values, 30, deviation), SeedScores(other.values, 30, deviation))
    assert loose.value == paired.value == pytest.approx(0.1)
    assert loose.high - loose.low > 3 * (paired.high - paired.low)


@pytest.mark.parametrize("averaging", ["present", "union", "all"])
def test_resamples_are_averaged_as_the_protocol_says(averaging: str) -> None:
    """Four classes: one is always there, one only predicted, one on one map of three only, one nowhere."""
    random = np.random.default_rng(1)
    matrices = []
    for index in range(3):
        counts = np.zeros((5, 5), np.int64)
        counts[0, :2] = random.integers(1, 50, 2)
        if index == 2:
            counts[2, :3] = random.integers(1, 50, 3)
        counts[4, 0] = 7  # void
        counts[0, 4] = 3  # no class of ours
        matrices.append(ConfusionMatrix(4, counts))
    confusions = Confusions.of(matrices, 4)
    draws = draw_maps(3, replicates=20)
    found = np.tensordot(draws, count_pixels(confusions), 1)
    totals = [confusions.total(row.astype(np.int64)) for row in draws]
    assert mean_iou(found, averaging).tolist() == pytest.approx([total.mean_iou(averaging) for total in totals])
    assert accuracy(found).tolist() == pytest.approx([total.accuracy() for total in totals])
