"""The order in which training sees records: each epoch its own, from the seed alone, with few of them in memory.

A data set no larger than a window is shuffled as a whole. Of a larger one, an epoch puts the row groups into a random
order, cuts that into windows, and shuffles the records of each window. Several sources take turns, each in its own
order with its own epochs. Any place in the endless sequence of records can be found without going through those before
it, so neither a restart nor the number of workers changes what comes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.data.mixture import Mixture
from pipeline.data.parquet import ParquetFile
from pipeline.data.sources import OpenSource, mix


@dataclass(frozen=True)
class RecordGroup:
    """Some neighbouring records of a Parquet file, which are read together."""

    source: OpenSource
    file: ParquetFile
    index: int
    """The number of its row group in the file."""
    first: int
    """The number of its first record among those of all sources."""
    rows: int
    size: int
    """Bytes of its records in memory, encoded."""
    taken: np.ndarray | None = None
    """The rows of the row group that are records; None: all."""

    def read(self) -> pa.Table:
        """Its records as they are stored, pictures still encoded; `InputError` where the file is damaged."""
        table = self.file.read(self.source.columns, group=self.index)
        return table if self.taken is None else table.take(self.taken)


def find_groups(source: OpenSource, first: int = 0) -> list[RecordGroup]:
    """The row groups of a source, in order; its records are numbered from `first`."""
    found: list[RecordGroup] = []
    for file, group, taken in source.row_groups():
        rows = group.rows if taken is None else len(taken)
        size = sum(group.sizes.get(name, 0) for name in source.columns) * rows // max(1, group.rows)
        found.append(RecordGroup(source, file, group.index, first, rows, size, taken))
        first += rows
    return found


@dataclass(frozen=True)
class ShuffleWindow:
    """Places `start .. stop - 1` of the endless sequence, whose records are those of some row groups."""

    groups: tuple[int, ...]
    start: int
    stop: int


class Sampler:
    """The endless sequence of a source's records: epoch after epoch, each with every record once."""

    def __init__(self, groups: Sequence[RecordGroup], *, seed: int, window_bytes: int) -> None:
        self.groups = list(groups)
        self.seed = seed
        self.window_bytes = window_bytes
        self.count = sum(group.rows for group in groups)
        self._epoch = functools.lru_cache(maxsize=3)(self._make_epoch)

    def record(self, place: int) -> tuple[int, int]:
        """The epoch of a place, and the number of the record there."""
        epoch, offset = divmod(place, self.count)
        return epoch, int(self._epoch(epoch)[0][offset])

    def window(self, place: int) -> ShuffleWindow:
        """The window that a place is in."""
        return next(window for window in self._epoch(place // self.count)[1] if place < window.stop)

    def read_ahead(self, oldest: int, place: int) -> tuple[set[int], list[int]]:
        """The row groups to hold while places from `oldest` to `place` and on are in use, and those of them to read.

        The next window is read bit by bit while the one of `place` is in use.
        """
        window = self.window(oldest)
        held = set(window.groups)
        while place >= window.stop:
            window = self.window(window.stop)
            held.update(window.groups)
        coming = self.window(window.stop).groups
        ahead = math.ceil(len(coming) * (place - window.start) / (window.stop - window.start))
        return held.union(coming), [*window.groups, *coming[:ahead]]

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, list[ShuffleWindow]]:
        """The numbers of all records in the order of an epoch, and its windows."""
        random = np.random.default_rng([self.seed, epoch])
        parts, windows, place = [], [], epoch * self.count
        for numbers in self._cut(random):
            groups = [self.groups[number] for number in numbers]
            records = np.concatenate([np.arange(group.first, group.first + group.rows) for group in groups])
            parts.append(records[random.permutation(len(records))])
            windows.append(ShuffleWindow(numbers, place, place + len(records)))
            place = windows[-1].stop
        return np.concatenate(parts), windows

    def _cut(self, random: np.random.Generator) -> list[tuple[int, ...]]:
        """The numbers of the row groups of each window: at least one, and no more bytes than a window may have."""
        everything = range(len(self.groups))
        if sum(group.size for group in self.groups) <= self.window_bytes:
            return [tuple(everything)]
        windows: list[tuple[int, ...]] = []
        window: list[int] = []
        room = self.window_bytes
        for number in random.permutation(everything).tolist():
            size = self.groups[number].size
            if window and size > room:
                windows.append(tuple(window))
                window, room = [], self.window_bytes
            window.append(number)
            room -= size
        return [*windows, tuple(window)]


class MixedSampler:
    """The endless sequence of the records of several sources, with the interface of `Sampler`."""

    def __init__(self, samplers: Sequence[Sampler], mixture: Mixture) -> None:
        """The samplers' row groups are numbered one source after the other."""
        self.samplers = list(samplers)
        self.mixture = mixture
        self._firsts = np.cumsum([0, *(len(sampler.groups) for sampler in samplers)]).tolist()

    @classmethod
    def of(
        cls, sources: Sequence[OpenSource], groups: Sequence[Sequence[RecordGroup]], *, seed: int, window_bytes: int
    ) -> MixedSampler:
        """From the row groups of each source. A window is shared out among sources that do not fit into it together."""
        mixture = mix(sources, seed=seed)
        sizes = [sum(group.size for group in some) for some in groups]
        fits = sum(sizes) <= window_bytes
        rooms = sizes if fits else [window_bytes * draws // mixture.round for draws in mixture.draws]
        return cls(
            [
                Sampler(some, seed=source.seed(seed), window_bytes=room)
                for source, some, room in zip(sources, groups, rooms, strict=True)
            ],
            mixture,
        )

    def record(self, place: int) -> tuple[int, int]:
        """How often its source has given all of its records before a place, and the number of the record there."""
        source, own = self.mixture.find(place)
        return self.samplers[source].record(own)

    def read_ahead(self, oldest: int, place: int) -> tuple[set[int], list[int]]:
        """`Sampler.read_ahead` of each source."""
        held: set[int] = set()
        coming: list[int] = []
        places = zip(self.mixture.before(oldest), self.mixture.before(place), strict=True)
        for first, sampler, (start, stop) in zip(self._firsts, self.samplers, places, strict=False):
            some, next_ones = sampler.read_ahead(start, stop)
            held.update(first + number for number in some)
            coming += [first + number for number in next_ones]
        return held, coming
