"""Label scores of many resamples at once: a matrix product of how often maps are drawn and what each picture adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.boundaries import COLUMNS
from evaluation.metrics.label_totals import LabelTotals
from evaluation.scoring.image_results import ImageResults

PICTURES = 2048
"""Whose sums are in memory at a time: 20 MB with 182 classes."""
REPLICATES = 128
"""Resamples in memory at a time: 100 MB of 100,000 label maps."""


def draws(maps: int, replicates: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each label map is drawn, some resamples at a time: int64 `[up to REPLICATES, maps]` each."""
    random = np.random.default_rng(seed)
    for start in range(0, replicates, REPLICATES):
        count = min(REPLICATES, replicates - start)
        yield np.stack([np.bincount(random.integers(0, maps, maps), minlength=maps) for _ in range(count)])


@dataclass(frozen=True)
class LabelSums:
    """What each picture adds to the totals by which predicted labels are scored, by one protocol."""

    results: ImageResults
    protocol: str
    maps: np.ndarray
    """int64 `[N]`: which of the label maps a picture is of; -1 where it is none of them, and does not count."""

    @classmethod
    def of(cls, results: ImageResults, protocol: str, position: Mapping[str, int]) -> LabelSums:
        """`position` is that of a label map, by id, among those that are drawn; pictures of others do not count."""
        return cls(results, protocol, np.array([position.get(name, -1) for name in results.ids.tolist()], np.int64))

    def totals(self, times: np.ndarray) -> tuple[LabelTotals, np.ndarray]:
        """The totals `[R]` and boundary counts `[R, classes, 4]` where maps count `times`, integers `[R, maps]`.

        Sums are of integers in float64, which holds them exactly up to 2^53.
        """
        classes, count = self.results.confusions[self.protocol].classes, len(times)
        sums = np.zeros((count, 3 * classes + 1 + classes * len(COLUMNS)))
        for start in range(0, len(self.maps), PICTURES):
            maps = self.maps[start : start + PICTURES]
            weights = np.where(maps >= 0, times[:, maps], 0).astype(np.float64)
            sums += weights @ self._columns(start, start + len(maps))
        correct, target, predicted = sums[:, : 3 * classes].reshape(count, 3, classes).swapaxes(0, 1)
        boundaries = sums[:, 3 * classes + 1 :].reshape(count, classes, len(COLUMNS))
        return LabelTotals(correct, target, predicted, sums[:, 3 * classes]), boundaries

    def _columns(self, start: int, stop: int) -> np.ndarray:
        """float64 `[stop - start, columns]` of some pictures: correct, true and predicted pixels of each class, all
        pixels, boundary counts."""
        confusions = self.results.confusions[self.protocol]
        classes, side, count = confusions.classes, confusions.classes + 1, stop - start
        offsets = confusions.offsets[start : stop + 1]
        cells, pixels = (each[offsets[0] : offsets[-1]] for each in (confusions.cells, confusions.pixels))
        true, guess = cells // side, cells % side
        width = 3 * classes + 1
        first = np.repeat(np.arange(count) * width, np.diff(offsets))
        known = true < classes
        parts = (
            (true, known & (true == guess)),
            (true + classes, known),
            (guess + 2 * classes, known & (guess < classes)),
            (np.full(len(cells), 3 * classes), np.ones(len(cells), bool)),
        )
        keys = np.concatenate([(first + column)[chosen] for column, chosen in parts])
        values = np.concatenate([pixels[chosen] for _, chosen in parts])
        found = np.bincount(keys, values, count * width).reshape(count, width)
        boundaries = self.results.boundaries[self.protocol][start:stop].reshape(count, -1)
        return np.concatenate([found, boundaries], 1)
