"""How many images each row of an input gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.data.parquet import ParquetFile
from pipeline.errors import InputError

MAX_SAMPLES = 10_000
"""Of one row: more come from a column that was taken by mistake, such as one of pixels or of dates."""


def sample_count(value: object) -> int:
    """A cell that says how many samples a row gets, as a number from 0 to `MAX_SAMPLES`.

    Fractions of zero pass, because pandas stores integers as floating point where a cell is missing. Raises
    `InputError` for anything else; a null, or NaN, is a mistake and not a zero.

    >>> sample_count(3), sample_count(2.0)
    (3, 2)
    """
    assert value is None or isinstance(value, int | float), value  # `_choose_columns` has looked at the type.
    if value is None or value != value:
        raise InputError("has no number of samples; write 0 where there should be none")
    if value < 0 or value % 1:
        raise InputError(f"asks for {value} samples; give a whole number, 0 or more")
    if value > MAX_SAMPLES:
        raise InputError(f"asks for {value} samples, more than {MAX_SAMPLES}; check the column")
    return int(value)


class SampleCounts:
    """How many images each row of the input gives. The column that says so is read twice, and held for one file."""

    def __init__(self, files: Sequence[ParquetFile], images_per_row: int, column: str | None) -> None:
        self._column = column
        self._per_row = images_per_row
        self.most = images_per_row
        """Of a row."""
        self.images = self.cost = sum(file.rows for file in files) * images_per_row
        """Of all rows, and what they cost: a row without images is read too, so that it counts as one."""
        if column is not None:
            self.images = self.cost = self.most = 0
            for file in files:
                found = self.of(file)
                self.images += int(found.sum())
                self.cost += int(np.maximum(found, 1).sum())
                self.most = max(self.most, int(found.max(initial=0)))

    @property
    def even(self) -> int | None:
        """Of each row, where all have as many; None where a column says how many."""
        return self._per_row if self._column is None else None

    def of(self, file: ParquetFile) -> np.ndarray:
        """The images of every row of a file, int64 `[rows]`; 0 for what the worker will reject."""
        assert self._column
        counts = np.zeros(file.rows, np.int64)
        for first, batch in file.batches([self._column], batch_rows=65536):
            values = batch.column(0)
            known = values.is_valid().to_numpy(zero_copy_only=False)
            numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
            with np.errstate(invalid="ignore"):  # of NaN and infinity, as `sample_count` refuses them
                good = known & (numbers >= 0) & (numbers <= MAX_SAMPLES) & (numbers % 1 == 0)
            counts[first : first + len(numbers)] = np.where(good, numbers, 0)
        return counts
