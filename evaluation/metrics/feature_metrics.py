"""How near the features of pictures are to those of photographs: beyond one distance, in which way they differ.

Kernel distance (Binkowski et al. 2018; KID on Inception features), precision and recall (Kynkaanniemi et al. 2019),
density and coverage (Naeem et al. 2020); MIND (`mind.py`) and, on CLIP's features, CMMD (`cmmd.py`). All of them in
float64, on feature vectors `[N, d]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.metrics.cmmd import cmmd
from evaluation.metrics.curves import Curve, curves
from evaluation.metrics.frechet import FeatureStatistics, frechet_distance
from evaluation.metrics.mind import Mind, Projected, sliced_wasserstein

NEIGHBOURS = 5
"""k of precision, recall, density and coverage."""
SUBSETS, SUBSET_SIZE = 100, 1000
"""Of the kernel distance, as in the public implementations; smaller sets give smaller subsets."""
SLICED = 20
"""Replicates of the interval of MIND, each of which sorts all projections."""
BLOCK = 1024
"""Rows of a matrix of distances that are in memory at a time."""

Interval = tuple[float, float]
"""The ends of a 95% interval."""


@dataclass(frozen=True)
class FeatureScores:
    """One set of pictures against photographs, on one kind of features; None where there are too few pictures."""

    frechet: float
    """Frechet distance; FID on Inception features. Lower is better."""
    kernel_distance: float
    """Unbiased squared MMD with a cubic kernel, mean over subsets; KID on Inception features. Lower is better."""
    precision: float | None
    """The share of the pictures among the photographs (within the neighbourhood of one)."""
    recall: float | None
    """The share of the photographs among the pictures."""
    density: float | None
    """Like precision, but counting how many photographs' neighbourhoods a picture is in; may exceed 1."""
    coverage: float | None
    """The share of the photographs that have a picture in their neighbourhood."""
    diversity: float | None
    """Mean distance between pictures of one label map, as a share of that between photographs; None without samples."""
    mind: float | None = None
    """Sliced Wasserstein distance, as published. Lower is better."""
    mind_corrected: float | None = None
    """Without what sets of this size are apart even if drawn alike; may be negative."""
    cmmd: float | None = None
    """Squared MMD with a Gaussian kernel, in thousandths; on CLIP's features only."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """By the names above: over resampled label maps, the photographs staying what they are; of the kernel distance,
    percentiles over its subsets. Left out where there are too few label maps."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """The distances over the number of pictures, by name; none for small sets."""

    @classmethod
    def of(
        cls,
        generated: np.ndarray,
        real: np.ndarray,
        groups: np.ndarray,
        *,
        replicates: int = 100,
        clip: bool = False,
        photographs: np.ndarray | None = None,
    ) -> FeatureScores:
        """From feature vectors `[N, d]` and `[M, d]`, two or more each; equal `groups` share a label map.

        `photographs`, `[M]`, are the label maps of the second set; None where they are others. `clip` says that the
        features are CLIP's, of length 1, whose Gaussian MMD is CMMD.
        """
        scores: dict[str, float | None] = {"diversity": diversity(generated, real, groups)}
        intervals: dict[str, Interval] = {}
        times = resampled(groups, replicates)
        if min(len(generated), len(real)) > NEIGHBOURS:
            neighbourhoods = Neighbourhoods.of(generated, real)
            scores |= neighbourhoods.scores()
            intervals |= neighbourhoods.intervals(times)
        else:
            scores |= dict.fromkeys(_MANIFOLD)
        distances = Distances(generated, real, clip=clip)
        whole = distances.whole()
        intervals |= distances.intervals(whole, times)
        # The upper half: the lower one may end at 0.
        deviations = {name: (intervals[name][1] - whole[name]) / 1.96 for name in whole if name in intervals}
        theirs = -1 - np.arange(len(real)) if photographs is None else photographs
        found = curves(distances.measure, groups, theirs, whole, deviations)
        if scores["diversity"] is not None and (interval := _diversity_interval(generated, real, groups)):
            intervals["diversity"] = interval
        return cls(**whole, **scores, intervals=intervals, curves=found)  # type: ignore[arg-type]


class Distances:
    """The distances between two sets, and between subsets of them."""

    def __init__(self, generated: np.ndarray, real: np.ndarray, *, clip: bool) -> None:
        """Of feature vectors `[N, d]` and `[M, d]`, two or more each; with `clip` CMMD as well."""
        self.generated, self.real, self.clip = generated, real, clip
        self.slices, self.real_slices = Projected.of(generated), Projected.of(real)
        self._kernel = kernel_distance(generated, real)

    def measure(self, rows: np.ndarray, photographs: np.ndarray) -> dict[str, float]:
        """The distances by name between vectors of these indices, two or more each."""
        one, other = self.generated[rows], self.real[photographs]
        mind = Mind.of(self.slices.some(rows), self.real_slices.some(photographs))
        found = {
            "frechet": frechet_distance(FeatureStatistics(one), FeatureStatistics(other)),
            "kernel_distance": kernel_distance(one, other, subsets=10)[0],
            "mind": mind.published,
            "mind_corrected": mind.corrected,
        }
        return found | ({"cmmd": float(cmmd(one, other)[0])} if self.clip else {})

    def whole(self) -> dict[str, float]:
        """Those between all vectors."""
        found = self.measure(np.arange(len(self.generated)), np.arange(len(self.real)))
        return found | {"kernel_distance": self._kernel[0]}

    def intervals(self, whole: dict[str, float], times: np.ndarray) -> dict[str, Interval]:
        """Around the distances `whole`; pictures count `times`, `[replicates, N]`. Of the kernel distance always."""
        found: dict[str, Interval] = {"kernel_distance": self._kernel[1]}
        if not len(times):
            return found
        photographs = FeatureStatistics(self.real)
        repeated = [np.repeat(np.arange(len(self.generated)), row) for row in times]
        frechet = [frechet_distance(FeatureStatistics(self.generated[rows]), photographs) for rows in repeated]
        mind = [sliced_wasserstein(self.slices.some(rows), self.real_slices) for rows in repeated[:SLICED]]
        found["frechet"] = interval_around(whole["frechet"], frechet)
        found["mind"] = interval_around(whole["mind"], mind)
        # A resample's own correction would take its repetitions for a narrower distribution.
        found["mind_corrected"] = interval_around(whole["mind_corrected"], mind, least=-np.inf)
        if self.clip:
            found["cmmd"] = interval_around(whole["cmmd"], cmmd(self.generated, self.real, times).tolist())
        return found


_MANIFOLD = ("precision", "recall", "density", "coverage")


def resampled(groups: np.ndarray, replicates: int, *, seed: int = 0) -> np.ndarray:
    """int64 `[replicates, N]`: how often each picture is drawn where label maps are, with all their pictures.

    No rows with fewer than three label maps, of which nothing can be said.
    """
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 3:
        return np.zeros((0, len(groups)), np.int64)
    random = np.random.default_rng(seed)
    count = len(names)
    return np.stack([np.bincount(random.integers(0, count, count), minlength=count)[index] for _ in range(replicates)])


def interval_around(
    estimate: float | None, drawn: Sequence[float], *, least: float = 0.0, most: float = np.inf
) -> Interval:
    """A 95% interval: the estimate and 1.96 standard deviations of replicates to both sides, within `least` and `most`.

    The replicates' own percentiles would not do: a resample repeats pictures, which adds to any Frechet distance and
    takes from recall and coverage, and that shift is no part of the uncertainty.
    """
    assert estimate is not None
    reach = 1.96 * float(np.std(drawn, ddof=1))
    return max(least, estimate - reach), min(most, estimate + reach)


def kernel_distance(
    one: np.ndarray, other: np.ndarray, *, subsets: int = SUBSETS, size: int = SUBSET_SIZE, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Unbiased MMD^2 with the kernel (x y / d + 1)^3: the mean over random subsets, and a 95% interval over them.

    Of feature vectors `[N, d]` and `[M, d]`; KID of Binkowski et al. (ICLR 2018) where they are Inception's. Sets that
    are no larger than a subset are taken whole for the mean; for the interval they are halved.
    """
    size = min(size, len(one), len(other))
    random = np.random.default_rng(seed)

    def draws(count: int) -> list[float]:
        return [
            _mmd(one[random.permutation(len(one))[:count]], other[random.permutation(len(other))[:count]])
            for _ in range(subsets)
        ]

    whole = size in (len(one), len(other))
    values = draws(max(2, size // 2) if whole else size)
    mean = _mmd(one, other) if whole and max(len(one), len(other)) <= SUBSET_SIZE else float(np.mean(values))
    return mean, (float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5)))


def _mmd(one: np.ndarray, other: np.ndarray) -> float:
    x, y = one.astype(np.float64), other.astype(np.float64)
    count, others = len(x), len(y)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / x.shape[1] + 1) ** 3

    within, across = kernel(x, x), kernel(y, y)
    return float(
        (within.sum() - np.trace(within)) / (count * (count - 1))
        + (across.sum() - np.trace(across)) / (others * (others - 1))
        - 2 * kernel(x, y).mean()
    )


@dataclass(frozen=True)
class Neighbourhoods:
    """Who is in whose neighbourhood, the ball that reaches to a vector's k-th nearest neighbour in its own set.

    >>> line = np.arange(6.0)[:, None]
    >>> scores = Neighbourhoods.of(line + 0.1, line, neighbours=1).scores()
    >>> {name: round(value, 2) for name, value in scores.items()}
    {'precision': 1.0, 'recall': 1.0, 'density': 1.83, 'coverage': 1.0}
    """

    around: np.ndarray
    """int64 `[N]`: in how many photographs' neighbourhoods a picture is."""
    covers: np.ndarray
    """bool `[N, M]`, bits packed along N: a picture is in a photograph's neighbourhood."""
    reaches: np.ndarray
    """bool `[N, M]`, bits packed along N: a photograph is in a picture's neighbourhood."""
    neighbours: int

    @classmethod
    def of(cls, generated: np.ndarray, real: np.ndarray, *, neighbours: int = NEIGHBOURS) -> Neighbourhoods:
        """From feature vectors `[N, d]` and `[M, d]`, more than `neighbours` each."""
        generated, real = generated.astype(np.float64), real.astype(np.float64)
        real_radii, made_radii = _radii(real, neighbours), _radii(generated, neighbours)
        around, covers, reaches = np.zeros(len(generated), np.int64), [], []
        for start in range(0, len(real), BLOCK):
            stop = start + BLOCK
            distances = _distances(generated, real[start:stop])  # [N, block]
            inside = distances <= real_radii[start:stop]
            around += inside.sum(1)
            covers.append(np.packbits(inside, 0))
            reaches.append(np.packbits(distances <= made_radii[:, None], 0))
        return cls(around, np.concatenate(covers, 1), np.concatenate(reaches, 1), neighbours)

    def scores(self, times: np.ndarray | None = None) -> dict[str, float]:
        """Precision, recall, density and coverage, each picture counted `times[i]` times (`[N]`; None: once)."""
        times = np.ones(len(self.around), np.int64) if times is None else times
        there = np.packbits(times > 0)[:, None]
        return {
            "precision": float(times[self.around > 0].sum() / times.sum()),
            "recall": float((self.reaches & there).any(0).mean()),
            "density": float((times * self.around).sum() / times.sum() / self.neighbours),
            "coverage": float((self.covers & there).any(0).mean()),
        }

    def intervals(self, times: np.ndarray) -> dict[str, Interval]:
        """Around these scores, where pictures count `times`, `[replicates, N]`; empty without replicates."""
        drawn = [self.scores(row) for row in times]
        return {
            name: interval_around(score, [each[name] for each in drawn], most=np.inf if name == "density" else 1.0)
            for name, score in self.scores().items()
            if drawn
        }


def diversity(generated: np.ndarray, real: np.ndarray, groups: np.ndarray) -> float | None:
    """Mean distance between pictures of one group over that between photographs; None where no group has two.

    Features are `[N, d]` and `[M, d]`, and `groups` `[N]`.
    """
    within, among = _within(generated, groups), _among(real)
    return float(np.mean(within) / among) if len(within) and among > 0 else None


def mean_interval(values: np.ndarray, *, replicates: int = 1000, seed: int = 0) -> Interval | None:
    """The percentile interval of the mean of independent values `[G]`; None with fewer than three."""
    if len(values) < 3:
        return None
    random = np.random.default_rng(seed)
    drawn = values[random.integers(0, len(values), (replicates, len(values)))].mean(1)
    return float(np.percentile(drawn, 2.5)), float(np.percentile(drawn, 97.5))


def _diversity_interval(generated: np.ndarray, real: np.ndarray, groups: np.ndarray) -> Interval | None:
    interval = mean_interval(_within(generated, groups))
    return None if interval is None else (interval[0] / _among(real), interval[1] / _among(real))


def _within(generated: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """float64: the mean distance between the pictures of each group that has two or more."""
    within = []
    for group in np.unique(groups):
        members = generated[groups == group].astype(np.float64)
        if len(members) > 1:
            within.append(_distances(members, members)[np.triu_indices(len(members), 1)].mean())
    return np.array(within)


def _among(real: np.ndarray) -> float:
    """The mean distance between photographs, of a thousand or so."""
    some = real[np.linspace(0, len(real) - 1, min(len(real), BLOCK)).astype(int)].astype(np.float64)
    return float(_distances(some, some)[np.triu_indices(len(some), 1)].mean()) if len(some) > 1 else 0.0


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each vector to its k-th nearest neighbour, itself not counted."""
    radii = [
        np.partition(_distances(features[start : start + BLOCK], features), neighbours, axis=1)[:, neighbours]
        for start in range(0, len(features), BLOCK)
    ]
    return np.concatenate(radii)


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances `[len(one), len(other)]`."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0))
