"""What trainings with several seeds say together: means, and differences of means, with intervals.

Two kinds of chance move a score: the seed of a training, and which label maps happen to be in the test set. The
variance of a mean over seeds is the sum of both parts: between seeds, `s**2 / seeds`; over test maps, the variance of
that mean when the maps are resampled (bootstrap), the same maps for all that are compared. Intervals are Student's,
with the degrees of freedom of Satterthwaite (1946).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.metrics.label_totals import Averaging, LabelTotals
from evaluation.scoring.image_results import Confusions

REPLICATES = 1000
CLAIM_SEEDS = 3
"""Fewer seeds than that are told to be few."""


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, in the score's own unit."""

    value: float
    low: float
    high: float
    """The ends of the 95% interval."""
    p: float
    """Two-sided, of a value of zero."""
    spread: float | None
    """The standard deviation between seeds: of a score, or of either side's (the larger one) for a difference. None of
    a single seed."""

    @property
    def significant(self) -> bool:
        """Whether chance would hardly do it (p < 0.05)."""
        return self.p < 0.05


@dataclass(frozen=True)
class SeedScores:
    """One score of trainings that differ in their seed, on the same test maps."""

    values: np.ndarray
    """float64 `[S]`: of each seed."""
    maps: int
    """How many test maps there are."""
    map_deviation: float = 0.0
    """The standard deviation of the mean over seeds where the maps are resampled; what `resampled` says, where that
    is known."""
    resampled: np.ndarray | None = None
    """float64 `[S, R]`: on resamples of the maps, the same for all scores that are compared."""

    @property
    def seeds(self) -> int:
        """How many trainings."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.values.mean())

    @property
    def spread(self) -> float | None:
        """The standard deviation between seeds (with n - 1); None of one."""
        return self.seed_variance**0.5 if self.seeds > 1 else None

    @property
    def seed_variance(self) -> float:
        """Between seeds (with n - 1); 0 of one, which says nothing about it."""
        return float(self.values.var(ddof=1)) if self.seeds > 1 else 0.0

    @property
    def map_variance(self) -> float:
        """Of the mean over seeds, by the choice of test maps."""
        return self.map_deviation**2 if self.resampled is None else float(self.resampled.mean(0).var(ddof=1))

    def estimate(self) -> Estimate:
        """The mean over seeds with its interval."""
        return _estimate(self.mean, self.map_variance, [self], self.maps)


def gain(one: SeedScores, base: SeedScores) -> Estimate:
    """How much higher `one` is than `base`: paired over test maps where both are known on the same resamples.

    Elsewhere the variances over maps add up, which makes the interval wider than it need be, as what is hard in a map
    is hard for both.
    """
    if one.resampled is None or base.resampled is None:
        variance = one.map_variance + base.map_variance
    else:
        variance = float((one.resampled.mean(0) - base.resampled.mean(0)).var(ddof=1))
    return _estimate(one.mean - base.mean, variance, [one, base], one.maps)


def draw_maps(maps: int, *, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """How often each of the test maps is in each resample of them: float64 `[replicates, maps]`."""
    random = np.random.default_rng(seed)
    return random.multinomial(maps, np.full(maps, 1 / maps), replicates).astype(np.float64)


def count_pixels(training: Confusions) -> np.ndarray:
    """int64 `[N, classes, 3]`: correct, true and predicted pixels of each class on each map, void left out."""
    matrices = [training.matrix(index) for index in range(len(training))]
    columns = [(each.correct_pixels, each.target_pixels, each.predicted_pixels) for each in matrices]
    return np.stack([np.stack(column, 1) for column in columns])


def class_iou(counts: np.ndarray, averaging: Averaging = "present") -> np.ndarray:
    """Counts `[..., classes, 3]` to the IoU of each class, float64 `[..., classes]`; NaN for those that `averaging`
    leaves out."""
    return _totals(counts).averaged_iou(averaging)


def mean_iou(counts: np.ndarray, averaging: Averaging = "present") -> np.ndarray:
    """The mean over classes as `ConfusionMatrix.mean_iou` takes it: counts `[..., classes, 3]` to float64 `[...]`."""
    return _totals(counts).mean_iou(averaging)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """The share of the known pixels that are right: counts `[..., classes, 3]` to float64 `[...]`."""
    return _totals(counts).accuracy()


def _totals(counts: np.ndarray) -> LabelTotals:
    correct, target, predicted = np.moveaxis(counts, -1, 0)
    return LabelTotals(correct, target, predicted, target.sum(-1))  # void pixels, left out, are in none of these scores


def _estimate(value: float, map_variance: float, sides: Sequence[SeedScores], maps: int) -> Estimate:
    several = [side for side in sides if side.seeds > 1]
    widest = max((side.seed_variance**0.5 for side in several), default=None)
    parts = [(map_variance, maps - 1), *((side.seed_variance / side.seeds, side.seeds - 1) for side in several)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0, widest)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = variance**0.5
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, value - half, value + half, p, widest)
