"""Texture statistics of single pictures, and the scores of sets of them against the photographs of the same maps."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.metrics.feature_metrics import Interval, interval_around, resampled
from evaluation.metrics.texture import (
    COLUMNS,
    DIRECTIONS,
    PERIODS,
    TextureStatistics,
    lattice_scores,
    octave_power,
)

if TYPE_CHECKING:
    from evaluation.scoring.image_results import ImageResults

FILE_NAME = "texture.csv"
FEWEST_WINDOWS = 8
"""Of a class at a period; of fewer nothing is said."""
REPLICATES = 1000


@dataclass(frozen=True)
class Textures:
    """The texture statistics of pictures, of the classes in which a picture has windows."""

    classes: int
    offsets: np.ndarray
    """int64 `[N + 1]`: picture i has the rows `offsets[i] .. offsets[i + 1] - 1`."""
    names: np.ndarray
    """int32 `[rows]`: classes."""
    sums: np.ndarray
    """float64 `[rows, periods, columns]`: see `evaluation/metrics/texture.py`."""

    @classmethod
    def of(cls, statistics: Sequence[TextureStatistics], classes: int) -> Textures:
        """From the statistics of a picture each."""
        found = [np.flatnonzero(part.windows.any(1)) for part in statistics]
        offsets = np.cumsum([0, *(len(names) for names in found)]).astype(np.int64)
        none = np.zeros((0, len(PERIODS), len(COLUMNS)))
        return cls(
            classes,
            offsets,
            np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int32),
            np.concatenate([none, *(part.sums[names] for part, names in zip(statistics, found, strict=True))]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Textures]) -> Textures:
        """Those of several sets of pictures, one set after the other."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            parts[0].classes,
            np.cumsum([0, *lengths]).astype(np.int64),
            np.concatenate([part.names for part in parts]),
            np.concatenate([part.sums for part in parts]),
        )

    def total(self) -> TextureStatistics:
        """The statistics of all pictures."""
        sums = np.zeros((self.classes, len(PERIODS), len(COLUMNS)))
        np.add.at(sums, self.names, self.sums)
        return TextureStatistics(self.classes, sums)

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """The sums where pictures count `weights` times, `[draws, N]`: `[draws, classes, periods, columns]`."""
        pictures = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        totals = np.zeros((len(weights), self.classes, len(PERIODS) * len(COLUMNS)))
        for name in np.unique(self.names):
            rows = np.flatnonzero(self.names == name)
            totals[:, name] = weights[:, pictures[rows]].astype(np.float64) @ self.sums[rows].reshape(len(rows), -1)
        return totals.reshape(-1, self.classes, len(PERIODS), len(COLUMNS))

    def statistics(self, index: int) -> TextureStatistics:
        """Those of one picture."""
        found = TextureStatistics(self.classes)
        rows = slice(self.offsets[index], self.offsets[index + 1])
        found.sums[self.names[rows]] = self.sums[rows]
        return found

    def of_class(self, name: int) -> np.ndarray:
        """The sums of one class in every picture, float64 `[N, periods, columns]`."""
        rows = np.flatnonzero(self.names == name)
        sums = np.zeros((len(self), len(PERIODS), len(COLUMNS)))
        sums[np.searchsorted(self.offsets, rows, side="right") - 1] = self.sums[rows]
        return sums

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class ClassTexture:
    """Texture inside the regions of one class, by period in pixels ("2", "4", "8", "16"); None where too few windows
    lie inside the class."""

    windows: dict[str, int]
    power: dict[str, float | None]
    """Of the octave from that period to its double, in grey levels squared."""
    log_ratio: dict[str, float | None]
    """log2 of that power over the photographs': 0 as in photographs, 1 twice as much, -1 half."""
    axes: dict[str, float | None]
    """Lattice score along rows and columns: power at the period over that around it; 1 is none."""
    diagonal: dict[str, float | None]
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95% over resampled label maps, by name and period, such as "axes 2"."""


FIGURES = ("power", "log_ratio", *DIRECTIONS)
"""Those of a `ClassTexture`."""


@dataclass(frozen=True)
class TextureScores:
    """The texture of a set of pictures against that of photographs of the same label maps."""

    power_factor: float | None
    """By which factor the power of an octave is off the photographs', up or down: the geometric mean over octaves and
    classes. 1 is best."""
    lattice_factor: float | None
    """How many times the photographs' lattice scores the pictures' are, in the worse direction, those below counted as
    equal: the geometric mean over periods and classes. 1 is best."""
    classes: dict[str, ClassTexture]
    """Of the classes with windows enough."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95% over resampled label maps, by the names above."""

    @classmethod
    def of(
        cls, generated: ImageResults, real: ImageResults, classes: Sequence[str], *, replicates: int = REPLICATES
    ) -> TextureScores | None:
        """From the results of pictures and of photographs; None where a picture has none (of an earlier version).

        Both are resampled by the same label maps, so that intervals of ratios are those of pairs.
        """
        if generated.texture is None or real.texture is None:
            return None
        sums, photographs = generated.texture.total().sums, real.texture.total().sums
        times = resampled(np.array(sorted(set(generated.ids.tolist()))), replicates)
        position = {name: index for index, name in enumerate(sorted(set(generated.ids.tolist())))}
        drawn = [_weighted(results, times, position) for results in (generated, real)]
        figures, others = _figures(sums, photographs), _figures(*drawn)
        factors, spread = _factors(sums, photographs), _factors(*drawn)
        intervals = {
            name: interval_around(float(value), spread[name][~np.isnan(spread[name])].tolist(), least=1.0)
            for name, value in factors.items()
            if not np.isnan(value) and (~np.isnan(spread[name])).sum() > 1
        }
        known = np.flatnonzero((sums[..., 0] >= FEWEST_WINDOWS).any(1)).tolist()
        return cls(
            **{name: None if np.isnan(value) else float(value) for name, value in factors.items()},
            classes={classes[index]: _class_texture(index, sums, figures, others) for index in known},
            intervals=intervals,
        )


def texture_rows(sets: Iterable[tuple[str, TextureScores | None]]) -> Iterator[dict[str, Any]]:
    """A row for each named set, class and period: the figures of `ClassTexture`, with `..._low` and `..._high`."""
    for name, scores in sets:
        for title, found in (scores.classes if scores else {}).items():
            for period in map(str, PERIODS):
                row = {"set": name, "class": title, "period": int(period), "windows": found.windows[period]}
                for figure in FIGURES:
                    low, high = found.intervals.get(f"{figure} {period}", (None, None))
                    row |= {figure: getattr(found, figure)[period], f"{figure}_low": low, f"{figure}_high": high}
                yield row


def to_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows of equal keys as CSV with a heading, undefined figures empty; no text without rows."""
    rows = list(rows)
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def picture_distances(generated: ImageResults, real: ImageResults) -> np.ndarray:
    """How far each picture's texture is from that of the photograph of its label map, float64 `[N]`.

    The mean over the picture's windows of |log2| of the ratio of their power, plus log2 of the ratio of their lattice
    scores where the picture's is higher. 0 is best; NaN where no window lies inside a class, or nothing is known.
    """
    distances = np.full(len(generated), np.nan)
    if generated.texture is None or real.texture is None:
        return distances
    photographs = {name: index for index, name in enumerate(real.ids.tolist())}
    for index, name in enumerate(generated.ids.tolist()):
        if name in photographs:
            sums = generated.texture.statistics(index).sums
            ratios, lattices = _compared(sums, real.texture.statistics(photographs[name]).sums)
            found = np.abs(ratios) + lattices
            weights = np.where(np.isnan(found), 0, sums[..., 0])
            if weights.any():
                distances[index] = (np.nan_to_num(found) * weights).sum() / weights.sum()
    return distances


def _weighted(results: ImageResults, times: np.ndarray, position: dict[str, int]) -> np.ndarray:
    """The sums of drawn label maps, float64 `[draws, classes, periods, columns]`."""
    assert results.texture is not None
    index = np.array([position.get(name, -1) for name in results.ids.tolist()], np.int64)
    return results.texture.totals(np.where(index >= 0, times[:, index], 0))


def _compared(sums: np.ndarray, photographs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log2 of the ratio of powers, and of lattice scores in the worse direction (0 below 0), `[..., periods]` each."""
    ratios = np.log2(octave_power(sums) / octave_power(photographs))
    lattices = np.log2(lattice_scores(sums) / lattice_scores(photographs)).max(-1)
    return ratios, np.maximum(lattices, 0)


def _enough(values: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The values `[..., classes, periods]`, NaN where there are too few windows."""
    return np.where(sums[..., 0] >= FEWEST_WINDOWS, values, np.nan)


def _figures(sums: np.ndarray, photographs: np.ndarray) -> dict[str, np.ndarray]:
    """The `FIGURES` of sums `[..., classes, periods, columns]`, each `[..., classes, periods]`."""
    lattice = lattice_scores(sums)
    figures = {"power": octave_power(sums), "log_ratio": _compared(sums, photographs)[0]}
    figures |= {name: lattice[..., index] for index, name in enumerate(DIRECTIONS)}
    return {name: _enough(values, sums) for name, values in figures.items()}


def _factors(sums: np.ndarray, photographs: np.ndarray) -> dict[str, np.ndarray]:
    """The factors of `TextureScores`, `[...]`; NaN where no class has windows enough."""
    ratios, lattices = _compared(sums, photographs)
    return {
        "power_factor": _geometric_mean(_enough(np.abs(ratios), sums)),
        "lattice_factor": _geometric_mean(_enough(lattices, sums)),
    }


def _geometric_mean(logarithms: np.ndarray) -> np.ndarray:
    """2 to the mean over the last two axes, NaN left out."""
    known = ~np.isnan(logarithms)
    count = known.sum((-2, -1))
    total = np.where(known, logarithms, 0).sum((-2, -1))
    return 2 ** np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _class_texture(
    index: int, sums: np.ndarray, figures: dict[str, np.ndarray], drawn: dict[str, np.ndarray]
) -> ClassTexture:
    names = [str(period) for period in PERIODS]
    found: dict[str, dict[str, float | None]] = {}
    intervals = {}
    for figure, values in figures.items():
        row = values[index]
        found[figure] = {
            name: None if np.isnan(value) else float(value) for name, value in zip(names, row, strict=True)
        }
        for place, name in enumerate(names):
            several = drawn[figure][:, index, place]
            several = several[~np.isnan(several)]
            if found[figure][name] is not None and len(several):
                low, high = np.percentile(several, [2.5, 97.5])
                intervals[f"{figure} {name}"] = (float(low), float(high))
    windows = dict(zip(names, sums[index, :, 0].astype(int).tolist(), strict=True))
    return ClassTexture(windows=windows, intervals=intervals, **found)
