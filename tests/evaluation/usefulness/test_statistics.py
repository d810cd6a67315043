"""Means, gains and exchange rates from trainings whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.scoring.image_results import Confusions
from evaluation.trainings.estimates import draw_maps, gain
from evaluation.usefulness.statistics import ArmScores, exchange

MAPS = 40
DRAWS = draw_maps(MAPS, replicates=400)


def training(share: float, *, spread: float = 0.0, seed: int = 0, maps: int = MAPS) -> Confusions:
    """Two classes of 500 pixels each on every map, of which about `share` are found."""
    random = np.random.default_rng(seed)
    matrices = []
    for _ in range(maps):
        right = np.clip(np.round(500 * (share + spread * random.normal(size=2))), 0, 500).astype(np.int64)
        counts = np.zeros((3, 3), np.int64)
        counts[0, :2] = right[0], 500 - right[0]
        counts[1, :2] = 500 - right[1], right[1]
        matrices.append(ConfusionMatrix(2, counts))
    return Confusions.of(matrices, 2)


def arm(*shares: float) -> ArmScores:
    return ArmScores.of([training(share) for share in shares], DRAWS)


def iou(share: float) -> float:
    return share / (2 - share)


def test_mean_iou_is_that_of_the_whole_set_and_of_each_class() -> None:
    one = training(0.8, spread=0.1, seed=1)
    scores = ArmScores.of([one, training(0.6)], DRAWS)
    assert scores.values.tolist() == pytest.approx([one.total().mean_iou(), iou(0.6)])
    assert scores.class_iou[0].tolist() == pytest.approx(one.total().class_iou().tolist())
    drawn = one.total(DRAWS[7].astype(np.int64))
    assert scores.resampled[0, 7] == pytest.approx(drawn.mean_iou())


def test_a_class_that_no_test_map_has_is_left_out() -> None:
    matrices = [ConfusionMatrix(3, np.diag([5, 5, 0, 0]).astype(np.int64)) for _ in range(MAPS)]
    assert ArmScores.of([Confusions.of(matrices, 3)] * 2, DRAWS).values.tolist() == [1.0, 1.0]


def test_spread_between_seeds_alone_gives_students_interval() -> None:
    """All maps alike, so that resampling them changes nothing."""
    found = arm(0.7, 0.8, 0.9).estimate()
    values = [iou(share) for share in (0.7, 0.8, 0.9)]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5
    assert (found.value, found.high - found.value) == pytest.approx((np.mean(values), half))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_a_gain_between_seeds_is_welchs() -> None:
    one, other = (0.70, 0.72, 0.75), (0.60, 0.66, 0.63)
    found = gain(arm(*one), arm(*other))
    welch = stats.ttest_ind([iou(s) for s in one], [iou(s) for s in other], equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(welch.confidence_interval()))


def test_test_maps_count_as_chance_too_but_what_they_share_cancels() -> None:
    hard = [training(0.7, spread=0.2, seed=5)] * 2
    alone = ArmScores.of(hard, DRAWS).estimate()
    assert alone.high - alone.low > 0.02
    same = gain(ArmScores.of(hard, DRAWS), ArmScores.of(hard, DRAWS))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def curve(*points: tuple[int, float], jitter: float = 0.002) -> list[tuple[int, ArmScores]]:
    return [(count, arm(share - jitter, share, share + jitter)) for count, share in points]


def test_exchange_is_read_off_the_curve_between_its_points() -> None:
    """Half of the way in score is half of the way in the logarithm."""
    points = curve((100, 0.60), (400, 0.70))
    low, high = (each.mean for _, each in points)
    middle = (low + high) / 2
    share = 2 * middle / (1 + middle)
    found = exchange(arm(share, share + 1e-4, share - 1e-4), 100, points)
    assert found.worth == pytest.approx(200, rel=0.01)
    assert found.further == pytest.approx(100, rel=0.02)
    assert found.low < found.worth < found.high
    assert not found.extrapolated


def test_exchange_beyond_the_curve_goes_on_with_its_slope_and_ends_somewhere() -> None:
    points = curve((100, 0.60), (200, 0.62), (400, 0.64))
    beyond = exchange(arm(0.66, 0.661, 0.659), 400, points)
    assert beyond.worth == pytest.approx(800, rel=0.05)
    assert beyond.extrapolated
    assert 400 < beyond.low < beyond.worth
    assert exchange(arm(0.95, 0.951, 0.949), 400, points).worth == float("inf")


def test_an_interval_that_reaches_beyond_the_curve_has_no_upper_end() -> None:
    """Curves flatten: 50 landscapes with 50 further ones were read as 3 further, 9 fewer to 23."""
    points = curve((25, 0.60), (50, 0.65))
    found = exchange(arm(0.655, 0.656, 0.654), 50, points)
    assert found.worth == pytest.approx(53.5, abs=1)
    assert (found.extrapolated, found.high) == (True, float("inf"))
    inside = exchange(arm(0.63, 0.64, 0.65), 25, points)
    assert (inside.worth < 50, inside.extrapolated, inside.high) == (True, False, float("inf"))
    assert exchange(arm(0.62, 0.621, 0.619), 25, points).high < 50


def test_harm_is_fewer_photographs_and_no_gain_is_none() -> None:
    points = curve((100, 0.60), (200, 0.65), (400, 0.70))
    assert exchange(arm(0.62, 0.621, 0.619), 400, points).further < -200
    none = exchange(points[-1][1], 400, points)
    assert none.further == pytest.approx(0)
    assert none.low < 400 < none.high == float("inf")


def test_a_dent_in_the_curve_is_smoothed() -> None:
    points = curve((100, 0.60), (200, 0.59), (400, 0.70))
    assert exchange(arm(0.55, 0.551, 0.549), 100, points).worth == 100
    assert 200 < exchange(arm(0.62, 0.621, 0.619), 100, points).worth < 400
