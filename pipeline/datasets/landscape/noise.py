"""Fractal noise with a stream of random numbers for every name, so that one field never changes another."""

from __future__ import annotations

import zlib

import numpy as np

Array = np.ndarray

_SPREAD = 0.6924
"""Standard deviation of a cubic B-spline through unit normal values, per dimension: sqrt(151 / 315)."""


class Noise:
    """The random numbers of one scene: everything drawn depends on (seed, index, name) and on nothing else."""

    def __init__(self, seed: int, index: int) -> None:
        self._key = (seed, index)
        self._splines: dict[tuple[bytes, float], tuple[Array, Array]] = {}

    def stream(self, name: str, level: int = 0) -> np.random.Generator:
        """The generator of random numbers that belongs to `name`."""
        return np.random.default_rng((*self._key, zlib.crc32(name.encode()), level))

    def line(self, name: str, at: Array, frequency: float, octaves: int = 6, gain: float = 0.5) -> Array:
        """Fractal noise along a line, about unit normal: positions `[N]` in picture heights to values `[N]`.

        `frequency` is in bumps per picture height at the first octave; each octave doubles it and multiplies
        the amplitude by `gain`.
        """
        total, power = np.zeros(at.shape, np.float32), 0.0
        for octave in range(octaves):
            weights, taps = self._spline(at, frequency * 2**octave)
            values = self.stream(name, octave).standard_normal(int(taps.max()) + 1, np.float32)
            total += gain**octave * np.einsum("kn,kn->n", weights, values[taps])
            power += gain ** (2 * octave)
        return total / np.float32(_SPREAD * power**0.5)

    def plane(
        self,
        name: str,
        rows: Array,
        columns: Array,
        frequency: tuple[float, float],
        octaves: int = 5,
        gain: float = 0.5,
    ) -> Array:
        """Fractal noise over a grid, about unit normal: coordinates `[H]` and `[W]` to values `[H, W]`.

        The coordinates need not be evenly spaced, which is how perspective comes in. Octaves finer than the
        grid are left out, as they would only alias.
        """
        total, power = np.zeros((len(rows), len(columns)), np.float32), 0.0
        finest = 0.6 / max(_spacing(rows) * frequency[0], _spacing(columns) * frequency[1], 1e-9)
        for octave in range(octaves):
            if octave and 2**octave > finest:
                break
            row_weights, row_taps = self._spline(rows, frequency[0] * 2**octave)
            column_weights, column_taps = self._spline(columns, frequency[1] * 2**octave)
            shape = (int(row_taps.max()) + 1, int(column_taps.max()) + 1)
            values = self.stream(name, octave).standard_normal(shape, np.float32)
            down = sum(row_weights[k, :, None] * values[row_taps[k]] for k in range(4))
            across = np.ascontiguousarray(np.asarray(down).T)  # whole rows are quicker to gather than columns
            total += gain**octave * sum(column_weights[k, :, None] * across[column_taps[k]] for k in range(4)).T
            power += gain ** (2 * octave)
        return total / np.float32(_SPREAD**2 * power**0.5)

    def ground(
        self,
        name: str,
        nearness: Array,
        columns: Array,
        frequency: float,
        stretch: float = 1.0,
        octaves: int = 3,
        gain: float = 0.5,
    ) -> Array:
        """Noise on a plane seen in perspective, about unit normal: `[H]` (1 near, 0 at the horizon), `[W]` to `[H, W]`.

        `frequency` is what it is at nearness 1; towards the horizon the bumps shrink with the nearness, by
        blending bands of doubled frequency (like the levels of a mip map, and as free of aliasing). `stretch`
        is how much wider than high the bumps look.
        """
        total = np.zeros((len(nearness), len(columns)), np.float32)
        depth = -np.log2(np.clip(nearness, 1 / 64, None)).astype(np.float32)
        for band in range(7):
            weight = np.clip(1 - np.abs(depth - band), 0, None)
            touched = np.flatnonzero(weight)
            if not len(touched) or frequency * 2**band * _spacing(columns) > 0.7:
                continue  # bumps finer than pixels average out
            rows = slice(touched[0], touched[-1] + 1)
            # Bumps shrink with nearness in both directions if the row coordinate is its logarithm.
            down = (depth.max() - depth[rows]) * np.float32(np.log(2) * stretch)
            field = self.plane(f"{name} {band}", down, columns, (frequency, frequency * 2**band), octaves, gain)
            total[rows] += weight[rows, None] * field
        norm = np.sqrt(sum(np.clip(1 - np.abs(depth - band), 0, None) ** 2 for band in range(7)))
        # At the very horizon the bumps are finer than any pixel: they average out.
        return total * (np.clip(nearness * 48, 0, 1) / np.maximum(norm, 0.5))[:, None]

    def _spline(self, at: Array, frequency: float) -> tuple[Array, Array]:
        """`_spline` of the scaled coordinates; most fields share their columns, so it is kept."""
        key = (at.tobytes(), frequency)
        if key not in self._splines:
            self._splines[key] = _spline(at * frequency)
        return self._splines[key]


def _spline(at: Array) -> tuple[Array, Array]:
    """Weights and lattice positions, both `[4, N]`, of the cubic B-spline at coordinates `[N]` shifted to 0."""
    at = np.asarray(at, np.float64)
    at = at - np.floor(at.min())
    base = np.floor(at).astype(np.intp)
    f = (at - base).astype(np.float32)
    weights = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]) / np.float32(6)
    return weights, base + np.arange(4)[:, None]


def _spacing(at: Array) -> float:
    return float(np.abs(np.diff(at)).min()) if len(at) > 1 else 1.0
