"""Several sources as one endless sequence of draws, any place of which is found without those before it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

ROUND = 1000
"""Draws in which shares by weight are met, at least: to a thousandth."""


class Mixture:
    """Which source each draw comes from, and which of that source's own draws it is.

    Draws come in rounds. Each round has the same number from every source, in an order of its own, so that the shares
    are exact over rounds; the order is a function of the seed and the round alone.
    """

    def __init__(self, rows: Sequence[int], weights: Sequence[float] | None = None, *, seed: int = 0) -> None:
        """From the number of records of each source, one or more each.

        Without `weights` (positive) a round has every record once. With them it has as many draws as there are records,
        and no fewer than `ROUND`, shared out by largest remainders; a source has one draw at least.

        >>> Mixture([30, 10]).draws, Mixture([30, 10], [1, 1]).draws, Mixture([30, 10], [2, 1]).draws
        ((30, 10), (500, 500), (667, 333))
        """
        self.seed = seed
        self.draws = tuple(rows) if weights is None else _share_out(max(sum(rows), ROUND), weights)
        self.round = sum(self.draws)
        self._round = functools.lru_cache(maxsize=3)(self._make_round)

    def find(self, place: int) -> tuple[int, int]:
        """The number of the source at a place, and the place in the endless sequence of that source's own records."""
        if len(self.draws) == 1:
            return 0, place
        number, offset = divmod(place, self.round)
        order, places = self._round(number)
        source = int(order[offset])
        return source, number * self.draws[source] + int(np.searchsorted(places[source], offset))

    def before(self, place: int) -> list[int]:
        """How many of the draws before a place come from each source."""
        if len(self.draws) == 1:
            return [place]
        number, offset = divmod(place, self.round)
        counts = [int(np.searchsorted(own, offset)) for own in self._round(number)[1]]
        return [number * draws + count for draws, count in zip(self.draws, counts, strict=True)]

    def _make_round(self, number: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """The source of each draw of a round, and the draws of each source."""
        sources = np.repeat(np.arange(len(self.draws), dtype=np.int32), self.draws)
        order = np.random.default_rng([self.seed, number, len(self.draws)]).permutation(sources)
        return order, [np.flatnonzero(order == source) for source in range(len(self.draws))]


def _share_out(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers in proportion to weights, each 1 or more, that add up to `total` (where that is large enough)."""
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    shares = np.maximum(np.floor(exact).astype(np.int64), 1)
    for index in np.argsort(shares - exact, kind="stable")[: max(0, total - int(shares.sum()))]:
        shares[index] += 1
    return tuple(shares.tolist())
