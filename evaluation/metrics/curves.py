"""How a distance between sets depends on their size, and what it would be of sets without end.

Distances of finite sets are biased, most by about a constant over the number of pictures, so that the line through
values of subsets over 1/N meets N = infinity near the true distance (Chong and Forsyth, "Effectively Unbiased FID and
Inception Score and Where to Find Them", CVPR 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4)
"""Of both sets, in the subsets."""
ORDERS = 4
"""Random orders of a set, whose beginnings are the subsets."""
FEWEST = 8
"""Label maps, or photographs, in the smallest subset; no curve with fewer than twice as many."""
TOLERANCE = 0.05
"""Of the extrapolation: so near to it a value counts as stable."""

Measure = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
"""From indices of pictures and of photographs to distances by name."""


@dataclass(frozen=True)
class Curve:
    """A distance over the number of pictures."""

    sizes: tuple[int, ...]
    """Pictures, ascending; the last is the whole set."""
    values: tuple[float, ...]
    """Means over subsets of that size."""
    infinity: float
    """The extrapolation; may fall below 0 where the true distance is near it."""
    interval: tuple[float, float] | None
    """95%: of the whole set's value over label maps, and of the line over the choice of subsets."""
    stable_from: int | None
    """The number of pictures from which the line is within 5% of the extrapolation, perhaps more than there are, and
    the values of all larger subsets too. None where they are not, and where 0 is in the interval of the extrapolation,
    no share of which is known then."""

    @property
    def stable(self) -> bool:
        """Whether there are as many pictures."""
        return self.stable_from is not None and self.stable_from <= self.sizes[-1]


def curves(
    measure: Measure,
    groups: np.ndarray,
    photographs: np.ndarray,
    whole: Mapping[str, float],
    deviations: Mapping[str, float],
    *,
    seed: int = 0,
) -> dict[str, Curve]:
    """The curve of each distance in `whole`, which are those of all pictures and all photographs.

    Pictures of equal `groups` (`[N]`: label maps) are drawn together, and with them the `photographs` (`[M]`: theirs)
    of the same label maps: those are nearer than others, in the whole sets too. Where photographs are of other label
    maps, as large a share of them is drawn. `deviations` are the standard deviations of `whole` over label maps, where
    they are known. Empty for sets that are too small.
    """
    names, index = np.unique(groups, return_inverse=True)
    paired = np.array_equal(names, np.unique(photographs))
    least = min(len(names), len(photographs))
    if least < 2 * FEWEST:
        return {}
    shares = [share for share in SHARES if round(share * least) >= FEWEST]
    random = np.random.default_rng(seed)
    found: list[list[Mapping[str, float]]] = []  # by order and share
    counts = np.zeros((ORDERS, len(shares)))
    for order in range(ORDERS):
        maps, others = random.permutation(len(names)), random.permutation(len(photographs))
        found.append([])
        for place, share in enumerate(shares):
            drawn = maps[: round(share * len(names))]
            rows = np.flatnonzero(np.isin(index, drawn))
            counts[order, place] = len(rows)
            own = np.flatnonzero(np.isin(photographs, names[drawn]))
            found[-1].append(measure(rows, own if paired else others[: round(share * len(photographs))]))
    sizes = [*counts.mean(0).round().astype(int).tolist(), len(groups)]
    return {
        name: _curve(sizes, np.array([[each[name] for each in row] + [value] for row in found]), deviations.get(name))
        for name, value in whole.items()
    }


def _curve(sizes: list[int], values: np.ndarray, deviation: float | None) -> Curve:
    """From values `[orders, sizes]`, whose last column is of the whole set."""
    inverse = 1 / np.array(sizes, np.float64)
    slopes, ends = np.polyfit(inverse, values.T, 1)  # of each order
    infinity, slope = float(ends.mean()), float(slopes.mean())
    errors = [float(part.std(ddof=1)) / math.sqrt(len(part)) for part in (ends, slopes)]
    interval = None
    if deviation is not None:
        reach = 1.96 * math.hypot(errors[0], deviation)
        interval = (infinity - reach, infinity + reach)
    stable: int | None = sizes[0]
    if abs(slope) > max(T_95 * errors[1], sizes[0] * ROUNDING * float(np.abs(values).max())):
        known = infinity > 0 and (interval is None or interval[0] > 0)
        stable = max(sizes[0], math.ceil(abs(slope) / (TOLERANCE * infinity) - ROUNDING)) if known else None
    means = values.mean(0)
    return Curve(tuple(sizes), tuple(means.tolist()), infinity, interval, _wandered(sizes, means, infinity, stable))


def _wandered(sizes: list[int], means: np.ndarray, infinity: float, stable: int | None) -> int | None:
    """`stable`, or the size after the last one from there on whose own value is further off: chance, where no trend is
    seen, which is no less unstable. None where that is the whole set's."""
    if stable is None:
        return None
    reach = TOLERANCE * abs(infinity) + ROUNDING * float(np.abs(means).max())
    off = np.flatnonzero((abs(means - infinity) > reach) & (np.array(sizes) >= stable))
    if not len(off):
        return stable
    return sizes[off[-1] + 1] if off[-1] + 1 < len(sizes) else None


ROUNDING = 1e-9
"""A trend below this share of the largest value is of floating point."""
T_95 = 3.18
"""Student's t at 97.5% with `ORDERS` - 1 degrees of freedom."""
