"""Copies of training photographs and repetitions among pictures: shares, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.metrics.feature_metrics import Interval
from evaluation.metrics.nearest import Neighbours

REPLICATES = 1000
BINS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, np.inf)
"""Of the closeness to the nearest photograph, in the chart."""


@dataclass(frozen=True)
class Copies:
    """How near a set of pictures is to the training photographs and to itself. Shares of 1."""

    name: str
    pictures: int
    label_maps: int
    authentic: float
    """Farther from the nearest photograph than that is from the nearest other (Alaa et al., ICML 2022)."""
    copies: float
    """At most half as far from the nearest photograph as that is from the nearest other."""
    near_duplicates: float
    """At most half as far from another picture of the set as photographs are from each other there."""
    near_duplicates_across_maps: float
    """The same, where the nearest other picture is of another label map."""
    own_map: float | None
    """Nearest to the photograph of their own label map, of the pictures whose map was trained on; None without any."""
    histogram: tuple[float, ...]
    """Shares of the pictures by closeness, in `BINS`."""
    intervals: dict[str, Interval | None]
    """95% over label maps: of `authentic`, `copies` and `near_duplicates`."""

    @classmethod
    def of(cls, name: str, ids: np.ndarray, found: Neighbours, trained_on: np.ndarray) -> Copies:
        """From the neighbours of N pictures, the ids of their label maps, str `[N]`, and those of the photographs."""
        shares = {
            key: share(values, ids)
            for key, values in (
                ("authentic", found.authentic),
                ("copies", found.copies),
                ("near_duplicates", found.repeated),
            )
        }
        across = found.repeated & (ids[found.other] != ids)
        known = np.isin(ids, trained_on)
        own = trained_on[found.photograph] == ids
        counts, _ = np.histogram(found.closeness, [*BINS[:-1], np.finfo(np.float64).max])
        return cls(
            name=name,
            pictures=len(ids),
            label_maps=len(set(ids.tolist())),
            **{key: value for key, (value, _) in shares.items()},
            near_duplicates_across_maps=float(across.mean()),
            own_map=float(own[known].mean()) if known.any() else None,
            histogram=tuple((counts / len(ids)).tolist()),
            intervals={key: ends for key, (_, ends) in shares.items()},
        )


def share(values: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> tuple[float, Interval | None]:
    """The share of N pictures of which `values`, bool `[N]`, is true, and its 95% bootstrap interval.

    Label maps (equal `groups`, `[N]`) are drawn with all their pictures. No interval with fewer than three.
    """
    _, index = np.unique(groups, return_inverse=True)
    sizes, hits = np.bincount(index), np.bincount(index, values)
    if len(sizes) < 3:
        return float(values.mean()), None
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(REPLICATES):
        chosen = random.integers(0, len(sizes), len(sizes))
        drawn.append(hits[chosen].sum() / sizes[chosen].sum())
    return float(values.mean()), (float(np.percentile(drawn, 2.5)), float(np.percentile(drawn, 97.5)))
