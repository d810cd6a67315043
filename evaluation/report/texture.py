"""Texture in a report: the table by class, and the worst regions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.texture import COLUMNS, DIRECTIONS, PERIODS, octave_power, window_side, window_sums
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.picture_sets import Key, PictureSet, Selection
from evaluation.scoring.scorer import ImageScorer
from evaluation.scoring.scores import Scores
from evaluation.scoring.textures import ClassTexture, TextureScores
from pipeline.pages.format import NONE, factor, interval, number
from pipeline.pages.tables import Cell, Row, Table

MOST_CLASSES = 24
"""Rows of the table; texture.csv has all."""
REGIONS = 4
"""Regions that are shown, half of them for their lattice, half for their power."""
REGION_SIDE = 32
"""Pixels around the window; larger windows are shown whole."""
RARE = 0.01
"""Of all windows of a period: a class with a smaller share is no example of what is wrong."""
FEW = 4
"""Windows in a picture that is shown, where there is one with as many."""


def shown_periods(scores: Scores) -> list[int]:
    """The periods at which any class of the synthesized pictures has windows enough."""
    found = scores.synthesized.texture.classes.values() if scores.synthesized.texture else ()
    return [period for period in PERIODS if any(part.power[str(period)] is not None for part in found)]


def texture_table(scores: Scores) -> Table | None:
    """By class, those with most windows first: the power of each octave as a multiple of the photographs', and the
    lattice score at each period (along the axes, unless only the diagonal's is above the photographs'). None where no
    class has windows enough."""
    ours, theirs = scores.synthesized.texture, scores.ceiling.texture
    if ours is None or theirs is None:
        return None
    periods = shown_periods(scores)
    names = sorted(ours.classes, key=lambda name: -ours.classes[name].windows[str(PERIODS[0])])
    rows = [
        Row(
            name,
            (
                *(_power(ours.classes[name], str(period)) for period in periods),
                *(_lattice(ours.classes[name], theirs.classes.get(name), str(period)) for period in periods),
            ),
        )
        for name in names[:MOST_CLASSES]
    ]
    heads = [f"power {period}–{2 * period} px" for period in periods] + [f"lattice {period} px" for period in periods]
    return Table("texture", "class", tuple(heads), tuple(rows)) if rows else None


def _power(ours: ClassTexture, period: str) -> Cell:
    log_ratio = ours.log_ratio[period]
    if log_ratio is None:
        return Cell(NONE)
    found = ours.intervals.get(f"log_ratio {period}")
    ends = None if found is None else (2 ** found[0], 2 ** found[1])
    small = interval(ends, factor).removeprefix("×")
    return Cell(factor(2**log_ratio), (small,), 2**log_ratio, ends, "off" if abs(log_ratio) > 1 else "")


def _lattice(ours: ClassTexture, theirs: ClassTexture | None, period: str) -> Cell:
    cells = []
    for direction, own, other, off in _lattices(ours, theirs, period):
        along = ", diagonal" if direction == "diagonal" else ""
        small = f"{number(other)} in photographs{along}"
        cells.append(Cell(number(own), (small,), own, tone="off" if off else ""))
    return next((cell for cell in cells if cell.tone), cells[0] if cells else Cell(NONE))


def _lattices(ours: ClassTexture, theirs: ClassTexture | None, period: str) -> Iterator[tuple[str, float, float, bool]]:
    """Direction, lattice scores of pictures and photographs, and whether the first is above the second's interval."""
    for direction in DIRECTIONS if theirs is not None else ():
        own, other = (getattr(part, direction)[period] for part in (ours, theirs))
        if theirs is not None and own is not None and other is not None:
            _, highest = theirs.intervals.get(f"{direction} {period}", (other, other))
            yield direction, own, other, own > highest


@dataclass(frozen=True)
class Region:
    """A piece of a picture whose texture is far from the photographs', and the same piece of the photograph."""

    id: str
    sample: int
    title: str
    """The class, and what is wrong with it."""
    window: tuple[slice, slice]
    """The part of it that lies inside the class, where its texture was measured."""
    image: np.ndarray
    """uint8 `[side, side, 3]`, synthesized."""
    photograph: np.ndarray
    """uint8 `[side, side, 3]`."""


@dataclass(frozen=True)
class _Fault:
    """What is wrong with a class: its lattice in a direction, or its power (None), at a period."""

    size: float
    """log2 of a factor; less than 0 is too little power."""
    name: str
    period: int
    direction: str | None

    @property
    def title(self) -> str:
        times = factor(2**self.size)
        if self.direction is None:
            return f"{self.name}: {times} the photographs' power at {self.period} to {2 * self.period} pixels"
        along = "the axes" if self.direction == "axes" else "the diagonal"
        return f"{self.name}: {times} the photographs' lattice of {self.period} pixels, along {along}"

    def _power(self, sums: np.ndarray) -> np.ndarray:
        """The power in question, of sums `[..., columns]`: of the octave, or of the lattice beyond what is around."""
        if self.direction is None:
            return octave_power(sums)
        peak = COLUMNS.index(self.direction)
        with np.errstate(invalid="ignore"):
            return (sums[..., peak] - sums[..., peak + 1]) / sums[..., 0]

    def worse(self, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """By how much power sums `[..., columns]` differ in the way of the fault; -inf if unknown.

        That is what is seen; the largest ratio would be found where there is next to nothing.
        """
        worse = np.sign(self.size) * (self._power(ours) - self._power(theirs))
        return np.where(np.isnan(worse), -np.inf, worse)


def worst_regions(
    scorer: ImageScorer,
    pictures: PictureSet,
    photographs: PictureSet,
    results: tuple[ImageResults, ImageResults],
    textures: tuple[TextureScores | None, TextureScores | None],
    photographs_as: Selection,
) -> list[Region]:
    """The classes whose lattice and power are furthest from the photographs', each where it is worst.

    `results` and `textures` are those of the synthesized pictures and of the photographs.
    """
    if textures[0] is None or textures[1] is None:
        return []
    regions = []
    for fault in _faults(textures[0], textures[1]):
        name = scorer.space.classes.index(fault.name)
        key = _worst_picture(fault, *results, name)
        if key is None:
            continue
        (picture,) = pictures.pictures([key], Selection())
        (photograph,) = photographs.pictures([(key[0], 0)], photographs_as)
        classes = scorer.data_classes(picture)
        places, ours = window_sums(picture.image, classes, name, fault.period)
        _, theirs = window_sums(photograph.image, classes, name, fault.period)
        place = places[int(fault.worse(ours, theirs).argmax())]
        side = window_side(fault.period)
        box = _around(place, side, picture.image.shape[:2])
        top, left = (int(first) - part.start for first, part in zip(place, box, strict=True))
        window = slice(top, top + side), slice(left, left + side)
        regions.append(Region(*key, fault.title, window, picture.image[box], photograph.image[box]))
    return regions


def _faults(ours: TextureScores, theirs: TextureScores) -> Iterator[_Fault]:
    """The largest of what the table marks, of a class each: those of the lattice first."""
    totals = {period: sum(found.windows[str(period)] for found in ours.classes.values()) for period in PERIODS}
    lattices, powers = [], []
    for name, found in ours.classes.items():
        for period in PERIODS:
            if found.windows[str(period)] < RARE * totals[period]:
                continue
            log_ratio = found.log_ratio[str(period)]
            if log_ratio is not None and abs(log_ratio) > 1:
                powers.append(_Fault(log_ratio, name, period, None))
            for direction, own, other, off in _lattices(found, theirs.classes.get(name), str(period)):
                if off:
                    lattices.append(_Fault(float(np.log2(own / other)), name, period, direction))
    seen: set[str] = set()
    for faults in (lattices, powers):
        wanted = REGIONS // 2
        for fault in sorted(faults, key=lambda fault: -abs(fault.size)):
            if wanted and fault.name not in seen:
                seen.add(fault.name)
                wanted -= 1
                yield fault


def _worst_picture(fault: _Fault, generated: ImageResults, real: ImageResults, name: int) -> Key | None:
    """The picture with the largest fault against its own photograph, of those with `FEW` windows of the class.

    None where no picture and its photograph both have one.
    """
    assert generated.texture is not None
    assert real.texture is not None
    place = PERIODS.index(fault.period)
    photographs = {key: index for index, key in enumerate(real.ids.tolist())}
    ours = generated.texture.of_class(name)[:, place]
    theirs = real.texture.of_class(name)[[photographs[key] for key in generated.ids.tolist()], place]
    worse = fault.worse(ours, theirs)
    enough = ours[:, 0] >= min(FEW, ours[:, 0].max())
    worse = np.where(enough, worse, -np.inf)
    index = int(worse.argmax())
    return None if np.isneginf(worse[index]) else (str(generated.ids[index]), int(generated.samples[index]))


def _around(place: np.ndarray, window: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """The part of a picture of this size that is shown of a window."""
    found = []
    for first, length in zip(place.tolist(), size, strict=True):
        side = min(max(REGION_SIDE, window), length)
        start = min(max(0, first + window // 2 - side // 2), length - side)
        found.append(slice(start, start + side))
    return found[0], found[1]
