"""What trainings with several seeds say: means, gains with intervals, and how many photographs a gain is worth.

Two kinds of chance move a score: the seed of a training, and which label maps happen to be in the test set. The
variance of a mean over seeds is the sum of both parts: between seeds, `s**2 / seeds`; over test maps, the variance of
that mean when the maps are resampled (bootstrap), the same maps for all arms of a comparison. Intervals are Student's,
with the degrees of freedom of Satterthwaite (1946).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import isotonic_regression

from evaluation.scoring.image_results import Confusions

REPLICATES = 1000
LARGEST_FACTOR = 8.0
"""Beyond so many times the largest real set of a curve, nothing is read off it."""


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores; shares of 1."""

    value: float
    low: float
    high: float
    """The ends of the 95% interval."""
    p: float
    """Two-sided, of a value of zero."""
    spread: float
    """The standard deviation between seeds: of a score, or of either arm's (the larger one) for a difference."""

    @property
    def significant(self) -> bool:
        """Whether chance would hardly do it (p < 0.05)."""
        return self.p < 0.05


class ArmScores:
    """The mean IoU of one arm's trainings on the test maps, and on resamples of them."""

    def __init__(self, trainings: Sequence[Confusions], draws: np.ndarray) -> None:
        """`trainings`: a seed each, of the same test maps in the same order; `draws` from `draw_maps`."""
        counts = np.stack([_counts(training) for training in trainings])  # [S, N, classes, 3]
        everything = counts.sum(1)
        self.class_iou = _iou(everything)  # [S, classes]
        self.values = _mean_iou(everything)  # [S]
        self.maps = counts.shape[1]
        self.resampled = np.stack(
            [_mean_iou(np.tensordot(draws, each, 1)) for each in counts]  # [S, R]
        )

    @property
    def seeds(self) -> int:
        """How many trainings."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.values.mean())

    @property
    def spread(self) -> float:
        """The standard deviation between seeds (with n - 1)."""
        return float(self.values.std(ddof=1))

    def estimate(self) -> Estimate:
        """The mean over seeds with its interval."""
        return _estimate(self.mean, self.resampled.mean(0), [(self.spread, self.seeds)], self.maps)


def draw_maps(maps: int, *, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """How often each of the test maps is in each resample of them: float64 `[replicates, maps]`."""
    random = np.random.default_rng(seed)
    return random.multinomial(maps, np.full(maps, 1 / maps), replicates).astype(np.float64)


def gain(arm: ArmScores, base: ArmScores) -> Estimate:
    """How much better `arm` is than `base`, paired over test maps."""
    return _estimate(
        arm.mean - base.mean,
        arm.resampled.mean(0) - base.resampled.mean(0),
        [(arm.spread, arm.seeds), (base.spread, base.seeds)],
        arm.maps,
    )


def _estimate(value: float, resampled: np.ndarray, seeds: Sequence[tuple[float, int]], maps: int) -> Estimate:
    parts = [(float(resampled.var(ddof=1)), maps - 1), *((s**2 / count, count - 1) for s, count in seeds)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0, max(s for s, _ in seeds))
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = variance**0.5
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, value - half, value + half, p, max(s for s, _ in seeds))


@dataclass(frozen=True)
class Exchange:
    """How many real photographs an arm is worth, read off the curve of real ones alone."""

    real: int
    """Photographs that the arm itself has."""
    worth: float
    """Photographs with which real data alone are expected to score as much; `inf`: more than the curve can tell."""
    low: float
    high: float
    """The ends of the 95% interval of `worth`."""
    extrapolated: bool
    """Whether `worth` is beyond the largest real set of the curve."""

    @property
    def further(self) -> float:
        """Photographs that would have to be taken to gain as much; negative: the synthetic pictures did harm."""
        return self.worth - self.real


def exchange(arm: ArmScores, real: int, curve: Sequence[tuple[int, ArmScores]], *, seed: int = 0) -> Exchange:
    """What `arm`, with `real` photographs of its own, is worth on the `curve` of (photographs, scores).

    The curve is made monotone (isotonic regression) and is straight between its points over the logarithm of their
    numbers; beyond the last it continues with the least-squares slope over all of them. The interval is that of the
    inverse over resampled test maps, and over Student's chance between seeds, whose variance the points share.
    """
    numbers = np.array([count for count, _ in curve], np.float64)
    scores = [each for _, each in curve]
    freedom = sum(each.seeds - 1 for each in scores)
    pooled = (sum(each.spread**2 * (each.seeds - 1) for each in scores) / freedom) ** 0.5
    worth = _invert(numbers, np.array([each.mean for each in scores]), arm.mean)
    random = np.random.default_rng(seed)
    replicates = arm.resampled.shape[1]

    def drawn(each: ArmScores, spread: float, degrees: int) -> np.ndarray:
        return each.resampled.mean(0) + random.standard_t(degrees, replicates) * spread / each.seeds**0.5

    points = np.stack([drawn(each, pooled, freedom) for each in scores], 1)  # [R, points]
    own = drawn(arm, arm.spread, arm.seeds - 1)
    found = [_invert(numbers, row, value) for row, value in zip(points, own, strict=True)]
    low, high = (float(np.quantile(found, share, method="nearest")) for share in (0.025, 0.975))
    return Exchange(real, worth, low, high, bool(worth > numbers[-1]))


def _invert(numbers: np.ndarray, scores: np.ndarray, value: float) -> float:
    """The number of photographs with which the curve reaches `value`; `inf` where it does not within reason."""
    rising = isotonic_regression(scores).x
    places = np.log2(numbers)
    if value <= rising[0]:
        return float(numbers[0])
    if value <= rising[-1]:
        last = int(np.searchsorted(rising, value))  # rising[last - 1] < value <= rising[last]
        share = (value - rising[last - 1]) / (rising[last] - rising[last - 1])
        return float(2 ** (places[last - 1] + share * (places[last] - places[last - 1])))
    slope = float(np.polyfit(places, rising, 1)[0])
    limit = float(np.log2(LARGEST_FACTOR))
    beyond = (value - rising[-1]) / slope if slope > 0 else np.inf
    return float(numbers[-1] * 2**beyond) if beyond <= limit else float("inf")


def _counts(training: Confusions) -> np.ndarray:
    """int64 `[N, classes, 3]`: correct, true and predicted pixels of each class on each map, void left out."""
    matrices = [training.matrix(index) for index in range(len(training))]
    columns = [(each.correct_pixels, each.target_pixels, each.predicted_pixels) for each in matrices]
    return np.stack([np.stack(column, 1) for column in columns])


def _iou(counts: np.ndarray) -> np.ndarray:
    """`[..., classes, 3]` to the IoU of each class `[..., classes]`; NaN for those without a true pixel."""
    correct, true, predicted = np.moveaxis(counts, -1, 0).astype(np.float64)
    union = true + predicted - correct
    return np.divide(correct, union, out=np.full(union.shape, np.nan), where=true > 0)


def _mean_iou(counts: np.ndarray) -> np.ndarray:
    """The mean over the classes that have true pixels: `ConfusionMatrix.mean_iou("present")`."""
    return np.nanmean(_iou(counts), -1)
