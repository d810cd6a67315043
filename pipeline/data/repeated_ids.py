"""Rows of an input whose id another row had before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.data.equal_keys import EqualKeys, digests
from pipeline.data.parquet import ParquetFile
from pipeline.errors import InputError
from pipeline.runtime.stages import in_order

READERS = 16
"""Files of the input that are read at once: object stores answer slowly, but many at once."""


@dataclass(frozen=True, eq=False)
class RepeatedRows(Mapping[int, str]):
    """Rows of a file whose id was used before, and where (`maps.parquet row 3`): a few bytes each, as all ids may be
    equal."""

    rows: np.ndarray
    """int64, rising."""
    first_rows: np.ndarray
    """int64: the first row with the id of each."""
    first_files: np.ndarray
    """int64: its file's place among `names`."""
    names: tuple[str, ...]

    def __getitem__(self, row: int) -> str:
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise KeyError(row)
        return f"{self.names[self.first_files[place]]} row {self.first_rows[place]}"

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows.tolist())

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, stop: int) -> RepeatedRows:
        """Those of rows `start .. stop - 1`."""
        begin, end = np.searchsorted(self.rows, [start, stop])
        if begin == end:
            return NO_REPEATS
        files = self.first_files[begin:end]
        return RepeatedRows(self.rows[begin:end], self.first_rows[begin:end], files, self.names)


_NONE = np.empty(0, np.int64)
NO_REPEATS = RepeatedRows(_NONE, _NONE, _NONE, ())


def find_repeated_ids(files: Sequence[ParquetFile], column: str) -> list[RepeatedRows]:
    """Of each file the rows whose id was used before, in it or an earlier one; `InputError` for what is no text."""
    with ThreadPoolExecutor(READERS) as pool, EqualKeys() as keys:
        # Object stores answer slowly, but many at once; in order, and a few files ahead of what is taken in.
        for found in in_order(pool, lambda file: _digests(file, column), files, ahead=READERS):
            keys.add(found)
        later, first = keys.find()
    starts = np.cumsum([0, *(file.rows for file in files)])
    numbers = np.searchsorted(starts, first, side="right") - 1
    rows = first - starts[numbers]
    cuts = np.searchsorted(later, starts)
    repeats = []
    for number, (begin, end) in enumerate(pairwise(cuts.tolist())):
        known, which = np.unique(numbers[begin:end], return_inverse=True)
        names = tuple(files[index].name for index in known)
        repeats.append(RepeatedRows(later[begin:end] - starts[number], rows[begin:end], which, names))
    return repeats


def _digests(file: ParquetFile, column: str) -> np.ndarray:
    """A digest of every id of a file, uint64 `[rows, 2]`: a hundred million of them fit into memory.

    A null id gets the digest of its place, which nothing else has; the worker rejects it.
    """
    found = [np.empty((0, 2), np.uint64)]
    for first, batch in file.batches([column], batch_rows=65536):
        try:
            values = batch.column(0).to_pylist()
        except UnicodeDecodeError as error:
            raise InputError(f"{file} has an id that is not UTF-8 ({error.object!r}); write it again") from None
        found.append(
            digests(
                f"null {file.name} {row}" if value is None else f"id {value}" for row, value in enumerate(values, first)
            )
        )
    return np.concatenate(found)
