"""The order in which training sees records: each epoch its own, from the seed alone, with few of them in memory.

A data set no larger than a window is shuffled as a whole. Of a larger one, an epoch puts the row groups into a random
order, cuts that into windows, and shuffles the records of each window. Any place in the endless sequence of records can
be found without going through those before it, so neither a restart nor the number of workers changes what comes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.data.parquet import ParquetDataset, ParquetFile

COLUMNS = ("id", "sample", "label", "instance", "image")


@dataclass(frozen=True)
class RecordGroup:
    """Some neighbouring records of a Parquet file, which are read together."""

    file: ParquetFile
    index: int
    """Its number in the file."""
    first: int
    """The number of its first record in the data set."""
    rows: int
    size: int
    """Bytes of its records in memory, encoded."""

    def read(self) -> pa.Table:
        """Its records, pictures still encoded; `InputError` where the file is damaged."""
        return self.file.read(COLUMNS, group=self.index)


def find_row_groups(dataset: ParquetDataset) -> list[RecordGroup]:
    """The row groups of a data set, in order."""
    found: list[RecordGroup] = []
    first = 0
    for file in dataset.files:
        for group in file.row_groups:
            size = sum(group.sizes.get(name, 0) for name in COLUMNS)
            found.append(RecordGroup(file, group.index, first, group.rows, size))
            first += group.rows
    return found


@dataclass(frozen=True)
class ShuffleWindow:
    """Places `start .. stop - 1` of the endless sequence, whose records are those of some row groups."""

    groups: tuple[int, ...]
    start: int
    stop: int


class Sampler:
    """The endless sequence of records: epoch after epoch, each with every record once."""

    def __init__(self, groups: Sequence[RecordGroup], *, seed: int, window_bytes: int) -> None:
        self.groups = list(groups)
        self.seed = seed
        self.window_bytes = window_bytes
        self.count = sum(group.rows for group in groups)

    def record(self, place: int) -> tuple[int, int]:
        """The epoch of a place, and the number of the record there."""
        epoch, offset = divmod(place, self.count)
        return epoch, int(self._epoch(epoch)[0][offset])

    def window(self, place: int) -> ShuffleWindow:
        """The window that a place is in."""
        return next(window for window in self._epoch(place // self.count)[1] if place < window.stop)

    @functools.lru_cache(maxsize=3)  # noqa: B019 - lives as long as the run
    def _epoch(self, epoch: int) -> tuple[np.ndarray, list[ShuffleWindow]]:
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
