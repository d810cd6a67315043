"""What is read off the trainings of `usefulness`: mean IoU by arm, and how many photographs a gain is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import isotonic_regression

from evaluation.scoring.image_results import Confusions
from evaluation.trainings.estimates import SeedScores, class_iou, count_pixels, mean_iou

LARGEST_FACTOR = 8.0
"""Beyond so many times the largest real set of a curve, nothing is read off it."""


@dataclass(frozen=True)
class ArmScores(SeedScores):
    """The mean IoU of one arm's trainings on the test maps, and on resamples of them."""

    class_iou: np.ndarray = field(kw_only=True)
    """float64 `[S, classes]`; NaN for classes without a test pixel."""

    @classmethod
    def of(cls, trainings: Sequence[Confusions], draws: np.ndarray) -> ArmScores:
        """`trainings`: a seed each, of the same test maps in the same order; `draws` from `draw_maps`."""
        counts = np.stack([count_pixels(training) for training in trainings])  # [S, N, classes, 3]
        everything = counts.sum(1)
        resampled = np.stack([mean_iou(np.tensordot(draws, each, 1)) for each in counts])  # [S, R]
        return cls(mean_iou(everything), counts.shape[1], resampled=resampled, class_iou=class_iou(everything))


@dataclass(frozen=True)
class Exchange:
    """How many real photographs an arm is worth, read off the curve of real ones alone."""

    real: int
    """Photographs that the arm itself has."""
    worth: float
    """Photographs with which real data alone are expected to score as much; `inf`: more than the curve can tell."""
    low: float
    high: float
    """The ends of the 95% interval of `worth`; `high` is `inf` where it is beyond the largest real set of the curve."""
    extrapolated: bool
    """Whether `worth` is beyond the largest real set of the curve, where it is an extrapolation."""

    @property
    def further(self) -> float:
        """Photographs that would have to be taken to gain as much; negative: the synthetic pictures did harm."""
        return self.worth - self.real


def exchange(arm: ArmScores, real: int, curve: Sequence[tuple[int, ArmScores]], *, seed: int = 0) -> Exchange:
    """What `arm`, with `real` photographs of its own, is worth on the `curve` of (photographs, scores).

    The curve is made monotone (isotonic regression) and is straight between its points over the logarithm of their
    numbers; beyond the last it continues with the least-squares slope over all of them. What is read there is usually
    too low, as learning curves flatten, and far too high where the measured curve is flat by chance; an interval that
    reaches beyond has no upper end. It is that of the inverse over resampled test maps, and over Student's chance
    between seeds, whose variance the points share.
    """
    numbers = np.array([count for count, _ in curve], np.float64)
    scores = [each for _, each in curve]
    freedom = sum(each.seeds - 1 for each in scores)
    pooled = sum(each.seed_variance * (each.seeds - 1) for each in scores) / freedom
    worth = _invert(numbers, np.array([each.mean for each in scores]), arm.mean)
    random = np.random.default_rng(seed)

    def drawn(each: ArmScores, variance: float, degrees: int) -> np.ndarray:
        assert each.resampled is not None
        chance = random.standard_t(degrees, each.resampled.shape[1])
        return each.resampled.mean(0) + chance * (variance / each.seeds) ** 0.5

    points = np.stack([drawn(each, pooled, freedom) for each in scores], 1)  # [R, points]
    own = drawn(arm, arm.seed_variance, arm.seeds - 1)
    found = [_invert(numbers, row, value) for row, value in zip(points, own, strict=True)]
    low, high = (float(np.quantile(found, share, method="nearest")) for share in (0.025, 0.975))
    beyond = numbers[-1]
    return Exchange(real, worth, low, high if high <= beyond else float("inf"), bool(worth > beyond))


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
