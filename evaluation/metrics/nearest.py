"""Nearest neighbours among feature vectors, and what they tell of copies: authenticity (Alaa et al., ICML 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS, COLUMNS = 256, 8192
"""Of the block of a matrix of distances that is in memory at a time."""
CANDIDATES = 8
"""Of a float32 product, by which float64 decides."""
COPY = 0.5
"""How near, as a share of the distance between photographs there, a picture counts as a copy."""
SAME = 1e-4
"""How near, as a share of the spread of all photographs, two of them count as one that occurs twice."""


def nearest(
    queries: np.ndarray,
    base: np.ndarray,
    *,
    owners: tuple[np.ndarray, np.ndarray] | None = None,
    beyond: float = -np.inf,
    candidates: int = CANDIDATES,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each query `[N, d]` the nearest vector in `base` `[M, d]`: its index, int64 `[N]`, and the Euclidean distance.

    Vectors of one owner (integers `[N]` and `[M]`) do not count, nor those that are no farther than `beyond`. The
    nearest `candidates` are found with float32 products, block by block; their distances are taken in float64, so that
    equal vectors are at 0. Index -1 and an infinite distance where none counts.

    >>> index, distance = nearest(np.array([[0.0], [5.0]]), np.array([[1.0], [7.0]]))
    >>> index.tolist(), distance.tolist()
    ([0, 1], [1.0, 2.0])
    """
    index, distance = np.full(len(queries), -1, np.int64), np.full(len(queries), np.inf)
    if not len(base):
        return index, distance
    centre = base.mean(0, dtype=np.float64)  # Vectors far from 0 would cost float32 its digits.
    centred = (base - centre).astype(np.float32)
    lengths = (centred**2).sum(1)
    for start in range(0, len(queries), ROWS):
        rows = slice(start, min(start + ROWS, len(queries)))
        own = None if owners is None else (owners[0][rows], owners[1])
        found = _candidates((queries[rows] - centre).astype(np.float32), centred, lengths, own, candidates)
        exact = queries[rows].astype(np.float64)[:, None] - base[found].astype(np.float64)  # [rows, candidates, d]
        distances = np.sqrt((exact**2).sum(2))
        distances[distances <= beyond] = np.inf
        if own is not None:
            distances[own[0][:, None] == own[1][found]] = np.inf
        best = distances.argmin(1)[:, None]
        distance[rows] = np.take_along_axis(distances, best, 1)[:, 0]
        index[rows] = np.take_along_axis(found, best, 1)[:, 0]
    none = np.flatnonzero(np.isinf(distance))
    index[none] = -1
    if len(none) and candidates < len(base):  # All were too near: there may be others behind them.
        again = None if owners is None else (owners[0][none], owners[1])
        index[none], distance[none] = nearest(
            queries[none], base, owners=again, beyond=beyond, candidates=8 * candidates
        )
    return index, distance


def _candidates(
    queries: np.ndarray,
    base: np.ndarray,
    lengths: np.ndarray,
    owners: tuple[np.ndarray, np.ndarray] | None,
    count: int,
) -> np.ndarray:
    """int64 `[N, count]`, or fewer if `base` is smaller: indices of the nearest vectors, in ascending order."""
    values: np.ndarray = np.zeros((len(queries), 0), np.float32)
    indices: np.ndarray = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(base), COLUMNS):
        stop = min(start + COLUMNS, len(base))
        block = lengths[start:stop] - 2 * (queries @ base[start:stop].T)  # Squares, but for the query's own length.
        if owners is not None:
            block[owners[0][:, None] == owners[1][None, start:stop]] = np.inf
        values = np.concatenate([values, block], 1)
        indices = np.concatenate([indices, np.broadcast_to(np.arange(start, stop), block.shape)], 1)
        if values.shape[1] > count:
            kept = np.argpartition(values, count - 1, axis=1)[:, :count]
            values, indices = np.take_along_axis(values, kept, 1), np.take_along_axis(indices, kept, 1)
    return np.sort(indices, 1)


@dataclass(frozen=True)
class TrainingPhotographs:
    """The features of M photographs that were trained on, as they are and mirrored, as training shows them."""

    features: np.ndarray
    """float32 `[2 M, d]`: as they are, then mirrored."""
    other: np.ndarray
    """int64 `[M]`: the nearest other photograph, in either form."""
    spacing: np.ndarray
    """float64 `[M]`: the distance to it. Other copies of the same photograph do not count."""

    @classmethod
    def of(cls, plain: np.ndarray, mirrored: np.ndarray) -> TrainingPhotographs:
        """From feature vectors `[M, d]` of the same photographs; the spacing is infinite where all are alike."""
        features = np.concatenate([plain, mirrored])
        places = np.arange(len(plain))
        spread = float(np.sqrt(np.square(plain - plain.mean(0), dtype=np.float64).sum(1).mean()))
        other, spacing = nearest(plain, features, owners=(places, np.tile(places, 2)), beyond=SAME * spread)
        return cls(features, other, spacing)

    def __len__(self) -> int:
        return len(self.spacing)


@dataclass(frozen=True)
class Neighbours:
    """What N pictures are nearest to, among the photographs that were trained on and among themselves."""

    photograph: np.ndarray
    """int64 `[N]`: the nearest photograph, from 0 to M - 1."""
    mirrored: np.ndarray
    """bool `[N]`: whether it is nearer mirrored."""
    distance: np.ndarray
    """float64 `[N]`: to it."""
    spacing: np.ndarray
    """float64 `[N]`: from it to the nearest other photograph."""
    other: np.ndarray
    """int64 `[N]`: the nearest other picture; -1 without one."""
    other_distance: np.ndarray
    """float64 `[N]`: to it; infinite without one."""

    @classmethod
    def of(cls, features: np.ndarray, training: TrainingPhotographs) -> Neighbours:
        """From feature vectors `[N, d]`."""
        found, distance = nearest(features, training.features)
        photograph = found % len(training)
        places = np.arange(len(features))
        other, other_distance = nearest(features, features, owners=(places, places))
        return cls(photograph, found >= len(training), distance, training.spacing[photograph], other, other_distance)

    @property
    def authentic(self) -> np.ndarray:
        """bool `[N]`: farther from the nearest photograph than that is from the nearest other one.

        Of pictures drawn as the photographs were, and independently, this is true of a third (features that vary along
        one direction) to a half (along many): the others and their photograph are nearest to each other.
        """
        return self.distance > self.spacing

    @property
    def copies(self) -> np.ndarray:
        """bool `[N]`: at most half as far from the nearest photograph as that is from the nearest other one."""
        return self.distance <= COPY * self.spacing

    @property
    def repeated(self) -> np.ndarray:
        """bool `[N]`: at most half as far from another picture as photographs are from each other there."""
        return self.other_distance <= COPY * self.spacing

    @property
    def closeness(self) -> np.ndarray:
        """float64 `[N]`: the distance to the nearest photograph over the spacing."""
        return self.distance / self.spacing

    @property
    def other_closeness(self) -> np.ndarray:
        """float64 `[N]`: the same to the nearest other picture."""
        return self.other_distance / self.spacing
