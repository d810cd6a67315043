"""Texture by class: how much fine structure the regions of a class have, and whether a lattice runs through it.

Of every window that lies inside one class the luminance's power spectrum is taken (Hann window, mean removed), and
of that, for the periods 2, 4, 8 and 16 pixels, which are those of a generator's enlargements,

- the power of the octave from a period to its double: its radial spectrum, which falls steeply in natural images
  (Field 1987) and shows a generator that blurs or that adds grain;
- the power at exactly that period along the axes and along the diagonals, and that of the ring around: their ratio,
  the lattice score, is 1 where no direction and no period stands out. Enlargements leave such peaks (Odena et al. 2016,
  "Deconvolution and checkerboard artifacts"; Zhang et al. 2019, "Detecting and simulating artifacts in GAN fake
  images").

Photographs have preferred directions of their own, such as those of waves and fences, so that scores are read beside
those of photographs of the same label maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

PERIODS = (2, 4, 8, 16)
"""Pixels. Octave i is that of the periods `PERIODS[i]` to twice as many; the first has all shorter ones too."""
DIRECTIONS = ("axes", "diagonal")
COLUMNS = ("windows", "octave", "axes", "axes_ring", "diagonal", "diagonal_ring")
"""Of the sums, by class and period: windows that were counted, and power (grey levels squared a bin) of parts of the
spectrum, added up over windows."""
ROUNDING = (0.299**2 + 0.587**2 + 0.114**2) / 12
"""The power, at any frequency, of rounding red, green and blue to whole grey levels: less than that is nothing, so it
is added to both sides of a ratio. A region without any structure has the lattice score 1."""
CHUNK = 2048
"""Windows that are transformed at a time."""


def window_side(period: int) -> int:
    """The side in pixels of the windows in which a period is looked for: four periods or more.

    >>> [window_side(period) for period in PERIODS]
    [16, 16, 32, 64]
    """
    return max(16, 4 * period)


class TextureStatistics:
    """Sums over the windows of images, in float64, so that parts computed anywhere add up.

    >>> statistics = TextureStatistics(2)
    >>> stripes = np.tile(np.uint8([100, 140]), (64, 32))[..., None].repeat(3, 2)  # of period 2
    >>> statistics.update(stripes, np.zeros((64, 64), int))
    >>> statistics.windows[:, 0].tolist()  # of 16x16 pixels, every 8 pixels; none of class 1
    [49, 0]
    >>> bool(statistics.lattice()[0, 0, 0] > 1000), statistics.lattice()[0, 1:].round(2).tolist()
    (True, [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    """

    def __init__(self, classes: int, sums: np.ndarray | None = None) -> None:
        """Nothing yet of the classes `0 .. classes - 1`, or given sums, float64 `[classes, periods, columns]`."""
        shape = (classes, len(PERIODS), len(COLUMNS))
        self.classes = classes
        self.sums = np.zeros(shape, np.float64) if sums is None else sums
        assert self.sums.shape == shape, (self.sums.shape, shape)

    def update(self, image: np.ndarray, classes: np.ndarray) -> None:
        """Count the windows of an image, uint8 `[H, W, 3]`, with its classes, integers `[H, W]`; others are void."""
        light = luminance(image)
        for index, side in enumerate(map(window_side, PERIODS)):
            if index and side == window_side(PERIODS[index - 1]):
                continue  # their spectra were looked at with the period before
            alike = [place for place, period in enumerate(PERIODS) if window_side(period) == side]
            for names, _, spectra in _spectra(light, classes, self.classes, side):
                for name in np.unique(names):
                    chosen = spectra[names == name]
                    power = chosen.sum(0).ravel()
                    for place in alike:
                        self.sums[name, place, 0] += len(chosen)
                        self.sums[name, place, 1:] += _masks(PERIODS[place]) @ power

    def merge(self, other: TextureStatistics) -> TextureStatistics:
        """The statistics of both sets of images."""
        return TextureStatistics(self.classes, self.sums + other.sums)

    @property
    def windows(self) -> np.ndarray:
        """int64 `[classes, periods]`: windows that lie inside the class."""
        return self.sums[..., 0].astype(np.int64)

    def power(self) -> np.ndarray:
        """float64 `[classes, periods]`: `octave_power` of the sums."""
        return octave_power(self.sums)

    def lattice(self) -> np.ndarray:
        """float64 `[classes, periods, 2]`: `lattice_scores` of the sums."""
        return lattice_scores(self.sums)


def octave_power(sums: np.ndarray) -> np.ndarray:
    """Sums `[..., columns]` to the mean power of the octave, float64 `[...]`; NaN without windows.

    In grey levels squared, `ROUNDING` included: white noise of deviation s has s^2 in every octave.
    """
    return _per_window(sums, 1) + ROUNDING


def lattice_scores(sums: np.ndarray) -> np.ndarray:
    """Sums `[..., columns]` to power at the period over that of the ring around, float64 `[..., 2]` by `DIRECTIONS`.

    1 where nothing stands out, NaN without windows.
    """
    parts = [(_per_window(sums, peak) + ROUNDING) / (_per_window(sums, peak + 1) + ROUNDING) for peak in (2, 4)]
    return np.stack(parts, -1)


def luminance(image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` to float64 `[H, W]`, 0 to 255, by the weights of ITU-R BT.601."""
    return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def window_sums(image: np.ndarray, classes: np.ndarray, name: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the windows of class `name` are, and the sums of each.

    int64 `[windows, 2]`, row and column of their upper left corners, and float64 `[windows, columns]`. Arguments as for
    `TextureStatistics.update`.
    """
    places, sums = [np.zeros((0, 2), np.int64)], [np.zeros((0, len(COLUMNS)))]
    only = np.where(classes == name, 0, -1)
    for _, found, spectra in _spectra(luminance(image), only, 1, window_side(period)):
        places.append(found)
        parts = spectra.reshape(len(found), -1) @ _masks(period).T
        sums.append(np.concatenate([np.ones((len(found), 1)), parts], 1))
    return np.concatenate(places), np.concatenate(sums)


def _per_window(sums: np.ndarray, column: int) -> np.ndarray:
    count = sums[..., 0]
    return np.divide(sums[..., column], count, out=np.full(count.shape, np.nan), where=count > 0)


def _spectra(
    light: np.ndarray, classes: np.ndarray, count: int, side: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The windows of one class each, half a side apart: class `[n]`, place `[n, 2]`, power spectrum `[n, side, side]`.

    Power is that of white noise of the same power in every bin: its expectation there is the noise's variance.
    """
    if min(light.shape) < side:
        return
    step = side // 2
    labels = sliding_window_view(classes, (side, side))[::step, ::step]
    names = labels[..., 0, 0]
    inside = (labels.min((2, 3)) == names) & (labels.max((2, 3)) == names) & (names >= 0) & (names < count)
    rows, columns = np.nonzero(inside)
    lights = sliding_window_view(light, (side, side))[::step, ::step]
    taper = np.outer(_hann(side), _hann(side))
    for start in range(0, len(rows), CHUNK):
        place = rows[start : start + CHUNK], columns[start : start + CHUNK]
        windows = lights[place]
        means = (windows * taper).sum((1, 2), keepdims=True) / taper.sum()
        spectra = np.abs(np.fft.fft2((windows - means) * taper)) ** 2 / (taper**2).sum()
        yield names[place], step * np.stack(place, 1), spectra


def _hann(side: int) -> np.ndarray:
    """The periodic Hann window: a wave of a whole number of periods reaches no further than the bins beside its own."""
    return np.hanning(side + 1)[:-1]


@cache
def _masks(period: int) -> np.ndarray:
    """float64 `[columns - 1, side * side]`: which bins of a spectrum are averaged for each column after the first."""
    side = window_side(period)
    bins = np.abs(np.fft.fftfreq(side)) * side
    rows, columns = np.meshgrid(bins, bins, indexing="ij")
    radius, peak = np.hypot(rows, columns), side // period
    outer = np.inf if period == PERIODS[0] else peak

    def off(row: int, column: int) -> np.ndarray:
        """How many bins away from a peak, and its mirror images."""
        return np.maximum(abs(rows - row), abs(columns - column))

    axes = np.minimum(off(peak, 0), off(0, peak))
    diagonal = off(peak, peak)
    # A lattice of this period has peaks at half of it too. The Hann window spreads each by a bin.
    halves = [off(2 * peak, 0), off(0, 2 * peak), off(2 * peak, peak), off(peak, 2 * peak)]
    around = np.minimum.reduce([axes, diagonal, *halves]) > 1
    masks = [
        (radius > peak / 2) & (radius <= outer),
        axes == 0,
        (abs(radius - peak) <= 1) & around,
        diagonal == 0,
        (abs(radius - peak * 2**0.5) <= 2) & around,
    ]
    return np.stack([mask.ravel() / mask.sum() for mask in masks])
