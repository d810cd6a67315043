"""Curves over subset sizes of known functions, and of sets whose true distance is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from evaluation.metrics.curves import ORDERS, curves
from evaluation.metrics.feature_metrics import FeatureScores

GROUPS = np.repeat(np.arange(80), 2)
OTHERS = -1 - np.arange(40)
"""Photographs of other label maps."""


def test_what_falls_as_1_over_n_is_extrapolated_exactly() -> None:
    seen = []

    def measure(rows: np.ndarray, photographs: np.ndarray) -> Mapping[str, float]:
        seen.append((len(rows), len(photographs), len(set(GROUPS[rows].tolist()))))
        return {"falling": 5 + 30 / len(rows), "constant": 2.0, "nothing": 40 / len(rows)}

    whole = {"falling": 5 + 30 / 160, "constant": 2.0, "nothing": 40 / 160}
    found = curves(measure, GROUPS, OTHERS, whole, {"falling": 0.5})
    # 40 photographs are the fewest: a share of an eighth would leave five of them.
    assert seen[: len(seen) // ORDERS] == [(40, 10, 20), (60, 15, 30), (80, 20, 40), (120, 30, 60)]
    falling = found["falling"]
    assert falling.sizes == (40, 60, 80, 120, 160)
    assert falling.values == pytest.approx([5 + 30 / size for size in falling.sizes])
    assert falling.infinity == pytest.approx(5)
    assert falling.interval == pytest.approx((5 - 1.96 * 0.5, 5 + 1.96 * 0.5))
    assert (falling.stable_from, falling.stable) == (120, True)  # 30 / 120 is 5% of 5
    assert (found["constant"].infinity, found["constant"].stable_from) == (pytest.approx(2), 40)
    assert found["constant"].interval is None
    assert found["nothing"].infinity == pytest.approx(0, abs=1e-9)
    assert not found["nothing"].stable
    unsure = curves(measure, GROUPS, OTHERS, whole, {"falling": 3.0})["falling"]
    assert (unsure.stable_from, unsure.stable) == (None, False)  # 5 - 1.96 * 3 is below 0


def test_a_value_that_wanders_without_a_trend_is_not_stable() -> None:
    """At 40 pictures the four orders are far apart, so that no trend is seen, and their mean is far from the end."""
    smallest = iter((-3.0, 6.0, -2.0, 6.4))

    def measure(rows: np.ndarray, photographs: np.ndarray) -> Mapping[str, float]:
        chance = next(smallest) if len(rows) == 40 else 2.0
        return {"early": chance, "to the end": chance}

    whole = {"early": 2.0, "to the end": 2.6}
    found = curves(measure, GROUPS, OTHERS, whole, {})
    assert (found["early"].sizes[:2], found["early"].stable_from, found["early"].stable) == ((40, 60), 60, True)
    assert (found["to the end"].stable_from, found["to the end"].stable) == (None, False)


def test_small_sets_have_no_curve() -> None:
    assert curves(lambda *_: {}, np.arange(15), -1 - np.arange(100), {"x": 1.0}, {}) == {}
    assert curves(lambda *_: {}, np.arange(100), -1 - np.arange(15), {"x": 1.0}, {}) == {}


def test_photographs_of_the_same_label_maps_are_drawn_with_the_pictures() -> None:
    photographs = np.arange(80)[::-1]

    def measure(rows: np.ndarray, others: np.ndarray) -> Mapping[str, float]:
        assert sorted(photographs[others]) == sorted(set(GROUPS[rows].tolist()))
        return {"x": 1.0}

    assert curves(measure, GROUPS, photographs, {"x": 1.0}, {})["x"].sizes == (20, 40, 60, 80, 120, 160)


@pytest.mark.slow
def test_distances_of_gaussians_come_near_the_truth() -> None:
    """Two Gaussians of 8 dimensions, 1.5 apart along one: the Frechet distance of endless sets is 2.25, MIND's 6.75."""
    random = np.random.default_rng(3)
    one, other = random.normal(0, 1, (240, 8)), random.normal(0, 1, (240, 8))
    one[:, 0] += 1.5
    scores = FeatureScores.of(one, other, np.arange(240), replicates=20)
    frechet, mind = scores.curves["frechet"], scores.curves["mind"]
    assert scores.curves.keys() == {"frechet", "kernel_distance", "mind", "mind_corrected"}
    for curve, truth, value in ((frechet, 2.25, scores.frechet), (mind, 6.75, scores.mind)):
        assert curve.values[0] > curve.values[-1] == value
        assert curve.interval is not None
        assert curve.interval[0] < truth < curve.interval[1]
        assert curve.infinity < value
    kernel = scores.curves["kernel_distance"]
    assert abs(kernel.values[1] - kernel.infinity) < 0.2 * kernel.infinity  # unbiased
