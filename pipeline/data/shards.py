"""The plan of a batch job: which rows of which input files make up each output shard.

The plan depends on the input and on the images a row gives, never on the machine, so that a job that is
continued with other workers, or elsewhere, continues the same shards.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.parquet import ParquetDataset, ParquetFile, check_names, holds_pictures, is_text
from pipeline.data.repeated_ids import NO_REPEATS, RepeatedRows, find_repeated_ids
from pipeline.data.sample_counts import SampleCounts
from pipeline.data.schema import DatasetInfo
from pipeline.errors import InputError

log = logging.getLogger(__name__)

IMAGES_PER_SHARD = 1024
"""At most so many images a shard: about 100 MB of 256x256 PNG, which training readers like and a crash may lose."""
MOST_SHARDS = 100_000
"""Of more than a hundred million images, a shard has more of them instead: nobody opens a million files gladly."""
SHARDS_WANTED = 32
"""A small input is cut into about so many shards, so that several workers have something to do."""
SMALLEST_SHARD = 8
"""Images; below that, opening files and publishing results would show."""
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


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows `start .. stop - 1` of a file, and the part of the output that they become."""

    index: int
    file: ParquetFile
    start: int
    stop: int
    duplicates: RepeatedRows = field(default_factory=lambda: NO_REPEATS)
    """Rows whose id was used before, and where."""
    images: int = 0
    """How many its rows give if none of them is rejected."""
    digits: int = 5
    """Of its number in its name: as many for all shards, so that names sort as numbers do."""

    @property
    def name(self) -> str:
        """The output file's name."""
        return f"part-{self.index:0{self.digits}d}.parquet"

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
    groups = [file.largest_row_group for file in files]
    if large := [number for number, rows in enumerate(groups) if rows > LARGE_ROW_GROUP * IMAGES_PER_SHARD]:
        more = f" (and {len(large) - 1} more files have such)" if large[1:] else ""
        log.warning(
            "%s has a row group of %d rows%s, which every shard in it reads from the start: smaller ones are faster",
            files[large[0]],
            groups[large[0]],
            more,
        )
    columns = _choose_columns(files, label_column, id_column, instance_column, style_column, samples_column)
    if not dataset.rows:
        raise InputError(f"{dataset.location} has no rows")
    repeats = find_repeated_ids(files, columns.id) if columns.id else [NO_REPEATS] * len(files)
    counts = SampleCounts(files, images_per_row, samples_column)
    if not counts.images:
        raise InputError(f"column {samples_column} of {dataset.location} asks for no sample of any row; check it")
    shards = tuple(_cut(files, counts, repeats))
    if (digits := len(str(len(shards) - 1))) > 5:
        shards = tuple(replace(shard, digits=digits) for shard in shards)
    return Plan(files, columns, shards, dataset.info, counts.most)


def iter_shard(shard: Shard, columns: Sequence[str], *, batch_rows: int = 16) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a shard with their position in the file, pictures still encoded, few in memory at a time."""
    yield from shard.file.iter_rows(columns, start=shard.start, stop=shard.stop, batch_rows=batch_rows)


def generated_id(file: ParquetFile, row: int) -> str:
    """The name of a row that has none: file and row."""
    return f"{file.name.removesuffix('.parquet')}-{row:07d}"


def _cut(files: Sequence[ParquetFile], counts: SampleCounts, repeats: Sequence[RepeatedRows]) -> Iterator[Shard]:
    wanted = min(max(counts.cost / SHARDS_WANTED, SMALLEST_SHARD), max(IMAGES_PER_SHARD, counts.cost / MOST_SHARDS))
    index = 0
    for file, repeated in zip(files, repeats, strict=True):
        if counts.even is not None:
            starts = list(range(0, file.rows, max(1, round(wanted / counts.even))))
            before = None
        else:
            images = counts.of(file)
            costs = np.maximum(images, 1)
            starts = np.unique((np.cumsum(costs) - costs) // wanted, return_index=True)[1].tolist()
            before = np.concatenate([[0], np.cumsum(images)])
        for start, stop in pairwise([*starts, file.rows]):
            made = int(before[stop] - before[start]) if before is not None else (stop - start) * (counts.even or 0)
            yield Shard(index, file, start, stop, repeated.between(start, stop), made)
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
