"""The plan of a batch job: which rows of which input files make up each output shard.

The plan depends on the input and on the images a row gives, never on the machine, so that a job that is
continued with other workers, or elsewhere, continues the same shards.
"""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.parquet import ParquetDataset, ParquetFile, check_names, holds_pictures, is_text
from pipeline.data.schema import DatasetInfo
from pipeline.errors import InputError

log = logging.getLogger(__name__)

IMAGES_PER_SHARD = 1024
"""At most so many images a shard: about 100 MB of 256x256 PNG, which training readers like and a crash may lose."""
SHARDS_WANTED = 32
"""A small input is cut into about so many shards, so that several workers have something to do."""
SMALLEST_SHARD = 8
"""Images; below that, opening files and publishing results would show."""
MAX_SAMPLES = 10_000
"""Of one row: more come from a column that was taken by mistake, such as one of pixels or of dates."""
LARGE_ROW_GROUP = 64
"""A row group is read from its start to reach a shard in it; more shards than this in one deserve a warning."""


@dataclass(frozen=True)
class Columns:
    """Names of the input's columns; None for what it does not have."""

    label: str = "label"
    id: str | None = "id"
    instance: str | None = None
    style: str | None = None
    samples: str | None = None
    """How many images each row gives; None: every row as many."""

    def names(self) -> list[str]:
        """Those to read."""
        return [name for name in (self.id, self.label, self.instance, self.style, self.samples) if name is not None]

    def describe(self) -> dict[str, str | None]:
        """For a job's description; without `samples` where there is none, as in those of earlier versions."""
        return {name: value for name, value in asdict(self).items() if name != "samples" or value is not None}


@dataclass(frozen=True)
class Shard:
    """Rows `start .. stop - 1` of a file, and the part of the output that they become."""

    index: int
    file: ParquetFile
    start: int
    stop: int
    duplicates: dict[int, str] = field(default_factory=dict)
    """Rows whose id was used before, and where."""
    images: int = 0
    """How many its rows give if none of them is rejected."""

    @property
    def name(self) -> str:
        """The output file's name."""
        return f"part-{self.index:05d}.parquet"

    @property
    def rows(self) -> int:
        """How many label maps it has."""
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """A whole input, cut."""

    files: tuple[ParquetFile, ...]
    columns: Columns
    shards: tuple[Shard, ...]
    info: DatasetInfo | None
    """What the files say about their classes; None for files that `prepare` did not make."""
    most_samples: int = 1
    """The largest number of images of a row."""

    @property
    def rows(self) -> int:
        """Label maps in all."""
        return sum(file.rows for file in self.files)

    @property
    def images(self) -> int:
        """Images in all, if no row is rejected."""
        return sum(shard.images for shard in self.shards)


def plan_shards(
    source: str | Path | ParquetDataset,
    *,
    images_per_row: int = 1,
    label_column: str = "label",
    id_column: str | None = None,
    instance_column: str | None = None,
    style_column: str | None = None,
    samples_column: str | None = None,
) -> Plan:
    """Look at every file's footer and ids, and cut the input into shards.

    Every row gives `images_per_row` images, or as many as its cell of `samples_column` says. `source` is a Parquet
    file, a folder, a pattern with `*`, or a URI, or what was opened there. Columns that are named must exist; `id` and
    `instance` are taken where they exist and nothing else is named, and without ids rows are called by file and row.
    Raises `InputError` for whatever makes the whole input unusable; single bad rows are the worker's business.
    """
    dataset = source if isinstance(source, ParquetDataset) else ParquetDataset.open(source)
    files = dataset.files
    for file in files:
        largest = max((group.rows for group in file.row_groups), default=0)
        if largest > LARGE_ROW_GROUP * IMAGES_PER_SHARD:
            log.warning(
                "%s has a row group of %d rows, which every shard in it reads from the start: smaller ones are faster",
                file,
                largest,
            )
    columns = _choose_columns(files, label_column, id_column, instance_column, style_column, samples_column)
    if not dataset.rows:
        raise InputError(f"{dataset.location} has no rows")
    duplicates: dict[tuple[int, int], str] = {}
    if name := columns.id:
        with ThreadPoolExecutor(16) as pool:  # Object stores answer slowly, but many at once.
            duplicates = _find_duplicates(files, list(pool.map(lambda file: _digests(file, name), files)))
    counts = [_counts(file, samples_column) for file in files] if samples_column else None
    if counts and not any(part.any() for part in counts):
        raise InputError(f"column {samples_column} of {dataset.location} asks for no sample of any row; check it")
    shards = tuple(_cut(files, images_per_row, counts, duplicates))
    most = images_per_row if counts is None else max(int(part.max(initial=0)) for part in counts)
    return Plan(files, columns, shards, dataset.info, most)


def iter_shard(shard: Shard, columns: Sequence[str], *, batch_rows: int = 16) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a shard with their position in the file, pictures still encoded, few in memory at a time."""
    yield from shard.file.iter_rows(columns, start=shard.start, stop=shard.stop, batch_rows=batch_rows)


def generated_id(file: ParquetFile, row: int) -> str:
    """The name of a row that has none: file and row."""
    return f"{file.name.removesuffix('.parquet')}-{row:07d}"


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


def _counts(file: ParquetFile, column: str) -> np.ndarray:
    """The samples of every row of a file, int64 `[rows]`; 0 for what the worker will reject."""
    counts = np.zeros(file.rows, np.int64)
    for first, batch in file.batches([column], batch_rows=65536):
        for row, value in enumerate(batch.column(0).to_pylist(), first):
            with suppress(InputError):
                counts[row] = sample_count(value)
    return counts


def _cut(
    files: Sequence[ParquetFile],
    images_per_row: int,
    counts: Sequence[np.ndarray] | None,
    duplicates: dict[tuple[int, int], str],
) -> Iterator[Shard]:
    """`counts` are the images of each row of each file; None: `images_per_row` for every one."""
    # A row without images is read too, so that it counts as one.
    costs = None if counts is None else [np.maximum(part, 1) for part in counts]
    images = sum(file.rows for file in files) * images_per_row if costs is None else sum(part.sum() for part in costs)
    wanted = min(max(images / SHARDS_WANTED, SMALLEST_SHARD), IMAGES_PER_SHARD)
    repeated: list[dict[int, str]] = [{} for _ in files]
    for (number, row), where in duplicates.items():
        repeated[number][row] = where
    index = 0
    for number, file in enumerate(files):
        starts = list(range(0, file.rows, max(1, round(wanted / images_per_row))))
        if costs is not None:
            before = np.cumsum(costs[number]) - costs[number]
            starts = np.unique(before // wanted, return_index=True)[1].tolist()
        inside: list[dict[int, str]] = [{} for _ in starts]
        for row, where in repeated[number].items():
            inside[bisect_right(starts, row) - 1][row] = where
        for start, stop, found in zip(starts, [*starts, file.rows][1:], inside, strict=True):
            made = (stop - start) * images_per_row if counts is None else int(counts[number][start:stop].sum())
            yield Shard(index, file, start, stop, found, made)
            index += 1


def _choose_columns(
    files: Sequence[ParquetFile],
    label: str,
    identity: str | None,
    instance: str | None,
    style: str | None,
    samples: str | None,
) -> Columns:
    named = [name for name in (label, identity, instance, style, samples) if name is not None]
    for file in files:
        schema = file.schema
        check_names(file, schema)
        missing = [name for name in named if name not in schema.names]
        if missing:
            listed = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            hint = "; name another with --label-column" if label in missing else ""
            raise InputError(f"{file} lacks the {listed}; it has {', '.join(schema.names) or 'none'}{hint}")
        for name in {label, instance, style} - {None}:
            if not holds_pictures(schema.field(name).type):
                raise InputError(
                    f"column {name} of {file} is {schema.field(name).type}; it must be binary, or a struct of "
                    f"bytes and path"
                )
        if samples and not (pa.types.is_integer(kind := schema.field(samples).type) or pa.types.is_floating(kind)):
            raise InputError(
                f"column {samples} of {file} is {kind}; it must hold whole numbers, the samples of each row"
            )
    everywhere = set.intersection(*(set(file.schema.names) for file in files))
    if identity is None and any("id" in file.schema.names for file in files):
        identity = "id"
    for file in files:
        schema = file.schema
        if identity and identity not in schema.names:
            raise InputError(
                f"{file} has no column {identity}, which other files of the input have; add it there, rename it "
                "in the others, or synthesize them one by one"
            )
        if identity and not _id_type(schema.field(identity).type):
            raise InputError(
                f"column {identity} of {file} is {schema.field(identity).type}; ids are text or integers: convert "
                "it, or name another with --id-column"
            )
    if instance is None and "instance" in everywhere:
        instance = "instance"
    return Columns(label, identity, instance, style, samples)


def _id_type(kind: pa.DataType) -> bool:
    """Whether every value of a type has one exact form as text."""
    if pa.types.is_dictionary(kind):
        return _id_type(kind.value_type)
    return is_text(kind) or pa.types.is_integer(kind)


def _digests(file: ParquetFile, column: str) -> np.ndarray:
    """A 128-bit digest of every id of a file, uint64 `[rows, 2]`: a hundred million of them fit into memory.

    A null id gets the digest of its place, which nothing else has; the worker rejects it.
    """
    digests = bytearray()
    for _, batch in file.batches([column], batch_rows=65536):
        try:
            values = batch.column(0).to_pylist()
        except UnicodeDecodeError as error:
            raise InputError(f"{file} has an id that is not UTF-8 ({error.object!r}); write it again") from None
        for value in values:
            text = f"null {file.name} {len(digests)}" if value is None else f"id {value}"
            digests += hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)


def _find_duplicates(files: Sequence[ParquetFile], digests: Sequence[np.ndarray]) -> dict[tuple[int, int], str]:
    """(file, row) of every row whose id came before, with where that was."""
    both = np.concatenate(digests)
    order = np.lexsort((both[:, 1], both[:, 0]))  # Stable: of equal ids the first row stays first.
    same = (both[order[1:]] == both[order[:-1]]).all(axis=1)
    if not same.any():
        return {}
    starts = np.cumsum([0, *(file.rows for file in files)])

    def place(position: int) -> tuple[int, int]:
        number = int(np.searchsorted(starts, position, side="right")) - 1
        return number, int(position - starts[number])

    # The place in `order` at which the run of equal ids begins that each one is in.
    begins = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(order)), 0))
    duplicates = {}
    for index in np.flatnonzero(same) + 1:
        number, row = place(order[begins[index]])
        duplicates[place(order[index])] = f"{files[number].name} row {row}"
    return duplicates
