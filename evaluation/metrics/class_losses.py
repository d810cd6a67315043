"""Losses of pixels by class: means, and the share beyond a limit."""

from __future__ import annotations

import numpy as np

BINS_PER_OCTAVE, LEAST, OCTAVES = 32, -24, 32
"""Of the histograms of losses: from 2^-24 to 2^8 nats."""


class ClassLosses:
    """Means and histograms of pixels' losses by class, from sums that are divided last.

    >>> losses = ClassLosses(3)
    >>> losses.update(np.array([1.0, 3.0, 5.0, 7.0], np.float32), np.array([0, 0, 1, -1]))
    >>> losses.means().tolist()  # of class 2 there is no pixel; the last pixel is void
    [2.0, 5.0, nan]
    >>> losses.shares_above(np.array([2.0, 4.0, 1.0])).tolist()
    [0.5, 1.0, nan]
    """

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros(classes, np.float64)
        self.histogram = np.zeros((classes, BINS_PER_OCTAVE * OCTAVES), np.int64)

    def update(self, loss: np.ndarray, target: np.ndarray) -> None:
        """Add pixels: their losses `[...]`, and their classes, integers of the same shape; negative ones are void."""
        known = target >= 0
        classes, values = target[known].astype(np.int64), loss[known].astype(np.float64)
        self.sums += np.bincount(classes, values, len(self.sums))
        bins = _places(values).astype(np.int64) + classes * self.histogram.shape[1]
        self.histogram += np.bincount(bins, minlength=self.histogram.size).reshape(self.histogram.shape)

    @property
    def pixels(self) -> np.ndarray:
        """int64 `[classes]`."""
        return self.histogram.sum(1)

    def means(self) -> np.ndarray:
        """float64 `[classes]`: the mean loss of each class; NaN for those without a pixel."""
        return np.divide(self.sums, self.pixels, out=np.full(len(self.sums), np.nan), where=self.pixels > 0)

    def shares_above(self, limits: np.ndarray) -> np.ndarray:
        """float64 `[classes]`: the share of each class's pixels whose loss exceeds its limit; NaN without pixels.

        Inside of the bin of a limit, which is 2% wide, losses count as spread evenly.
        """
        shares = np.full(len(limits), np.nan)
        for index in np.flatnonzero(self.pixels):
            place = _places(limits[index])
            first = int(place)
            counts = self.histogram[index]
            above = counts[first + 1 :].sum() + counts[first] * (first + 1 - place)
            shares[index] = above / counts.sum()
        return shares


def _places(losses: np.ndarray) -> np.ndarray:
    """float64: places on the axis of the histograms, from 0 to just below the number of bins."""
    octaves = np.log2(np.maximum(losses, 2.0**LEAST)) - LEAST
    return (BINS_PER_OCTAVE * octaves).clip(0, BINS_PER_OCTAVE * OCTAVES - 1e-6)
