"""The plan of a batch job: which rows of which input files make up each output shard.

The plan depends on the input and on the images a row gives, never on the machine, so that a job that is
continued with other workers, or elsewhere, continues the same shards.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.records import METADATA_KEY, DatasetInfo, check_names, holds_pictures, is_text
from pipeline.data.storage import FilePath, filesystem, find_files, first_line, reachable, relative
from pipeline.errors import InputError

log = logging.getLogger(__name__)

IMAGES_PER_SHARD = 1024
"""At most so many images a shard: about 100 MB of 256x256 PNG, which training readers like and a crash may lose."""
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

    def names(self) -> list[str]:
        """Those to read."""
        return [name for name in (self.id, self.label, self.instance, self.style) if name is not None]


@dataclass(frozen=True)
class InputFile:
    """One file of the input, as its footer describes it."""

    path: FilePath
    name: str
    """Relative to the input's root: the same wherever the data set lies."""
    rows: int
    fingerprint: str
    """sha256 of the footer, which holds every page's place and the statistics: another file has another one."""


@dataclass(frozen=True)
class Shard:
    """Rows `start .. stop - 1` of a file, and the part of the output that they become."""

    index: int
    file: InputFile
    start: int
    stop: int
    duplicates: dict[int, str] = field(default_factory=dict)
    """Rows whose id was used before, and where."""

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

    files: tuple[InputFile, ...]
    columns: Columns
    shards: tuple[Shard, ...]
    info: DatasetInfo | None
    """What the files say about their classes; None for files that `prepare` did not make."""

    @property
    def rows(self) -> int:
        """Label maps in all."""
        return sum(file.rows for file in self.files)


def plan_shards(
    location: str | Path,
    *,
    images_per_row: int = 1,
    label_column: str = "label",
    id_column: str | None = None,
    instance_column: str | None = None,
    style_column: str | None = None,
) -> Plan:
    """Look at every file's footer and ids, and cut the input into shards.

    `location` is a Parquet file, a folder, a pattern with `*`, or a URI. Columns that are named must exist; `id` and
    `instance` are taken where they exist and nothing else is named, and without ids rows are called by file and row.
    Raises `InputError` for whatever makes the whole input unusable; single bad rows are the worker's business.
    """
    root, paths = find_files(location)
    with ThreadPoolExecutor(16) as pool:  # Object stores answer slowly, but many at once.
        schemas, files = zip(*pool.map(lambda path: _inspect(path, root), paths), strict=True)
        columns = _choose_columns(files, schemas, label_column, id_column, instance_column, style_column)
        if not any(file.rows for file in files):
            raise InputError(f"{location} has no rows")
        name = columns.id
        duplicates = _find_duplicates(files, list(pool.map(lambda file: _digests(file, name), files))) if name else {}
    return Plan(files, columns, tuple(_cut(files, images_per_row, duplicates)), _common_info(files, schemas))


def iter_shard(shard: Shard, columns: Sequence[str], *, batch_rows: int = 16) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a shard with their position in the file, pictures still encoded, few in memory at a time."""
    with _open(shard.file.path) as parquet:
        position = first = 0
        groups: list[int] = []
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            if position + count > shard.start and position < shard.stop:
                if not groups:
                    first = position
                groups.append(group)
            position += count
        if not groups:
            return
        position = first
        batches = parquet.iter_batches(batch_size=batch_rows, row_groups=groups, columns=list(columns))
        for batch in _undamaged(batches, shard.file.path):
            start, stop = max(shard.start - position, 0), min(shard.stop - position, len(batch))
            for offset, row in enumerate(batch.slice(start, max(stop - start, 0)).to_pylist()):
                yield position + start + offset, row
            position += len(batch)
            if position >= shard.stop:
                return


class InputDigest:
    """A hash of what a shard's rows hold, which footers do not tell: equally long label maps may have been swapped."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns.names()
        self._hash = hashlib.sha256()

    def watch(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of `iter_shard` as they pass."""
        for position, cells in rows:
            for name in self._columns:
                value = cells[name]
                if isinstance(value, Mapping):
                    value = value.get("bytes") or value.get("path")
                data = b"" if value is None else value if isinstance(value, bytes) else str(value).encode()
                self._hash.update(f"{name} {-1 if value is None else len(data)} ".encode() + data)
            yield position, cells

    def hexdigest(self) -> str:
        """The hash of all rows that have passed."""
        return self._hash.hexdigest()


def digest_shard(shard: Shard, columns: Columns) -> str:
    """The `InputDigest` of a shard, read again."""
    digest = InputDigest(columns)
    for _ in digest.watch(iter_shard(shard, columns.names())):
        pass
    return digest.hexdigest()


def generated_id(file: InputFile, row: int) -> str:
    """The name of a row that has none: file and row."""
    return f"{file.name.removesuffix('.parquet')}-{row:07d}"


def _cut(files: Sequence[InputFile], images_per_row: int, duplicates: dict[tuple[int, int], str]) -> Iterator[Shard]:
    images = sum(file.rows for file in files) * images_per_row
    wanted = min(max(images / SHARDS_WANTED, SMALLEST_SHARD), IMAGES_PER_SHARD)
    rows = max(1, round(wanted / images_per_row))
    repeated: dict[tuple[int, int], dict[int, str]] = {}
    for (number, row), where in duplicates.items():
        repeated.setdefault((number, row // rows), {})[row] = where
    index = 0
    for number, file in enumerate(files):
        for start in range(0, file.rows, rows):
            yield Shard(index, file, start, min(start + rows, file.rows), repeated.get((number, start // rows), {}))
            index += 1


def _open(path: FilePath) -> pq.ParquetFile:
    system, inner = filesystem(path)
    try:
        # Unbuffered, a reader would hold whole column chunks, which may be gigabytes of pictures.
        with reachable(path):
            file = system.open_input_file(inner)
        return pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({first_line(error)}); copy it again") from None


def _undamaged(batches: Iterator[pa.RecordBatch], path: FilePath) -> Iterator[pa.RecordBatch]:
    """The batches of a file; `InputError` where its pages cannot be read."""
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}); copy it again") from None


def _inspect(path: FilePath, root: str) -> tuple[pa.Schema, InputFile]:
    with _open(path) as parquet:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        largest = max((metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)), default=0)
    if largest > LARGE_ROW_GROUP * IMAGES_PER_SHARD:
        log.warning(
            "%s has a row group of %d rows, which every shard in it reads from the start: smaller ones are faster",
            path,
            largest,
        )
    return schema, InputFile(path, relative(path, root), metadata.num_rows, fingerprint(path, metadata))


def fingerprint(path: FilePath, metadata: pq.FileMetaData) -> str:
    """See `InputFile.fingerprint`; of a file whose `metadata` have been read."""
    system, inner = filesystem(path)
    with system.open_input_file(inner) as file:
        size = file.size()
        file.seek(size - 8 - metadata.serialized_size)
        return hashlib.sha256(size.to_bytes(8, "big") + file.read()).hexdigest()


def _choose_columns(
    files: Sequence[InputFile],
    schemas: Sequence[pa.Schema],
    label: str,
    identity: str | None,
    instance: str | None,
    style: str | None,
) -> Columns:
    named = [name for name in (label, identity, instance, style) if name is not None]
    for file, schema in zip(files, schemas, strict=True):
        check_names(file.path, schema)
        missing = [name for name in named if name not in schema.names]
        if missing:
            listed = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            hint = "; name another with --label-column" if label in missing else ""
            raise InputError(f"{file.path} lacks the {listed}; it has {', '.join(schema.names) or 'none'}{hint}")
        for name in {label, instance, style} - {None}:
            if not holds_pictures(schema.field(name).type):
                raise InputError(
                    f"column {name} of {file.path} is {schema.field(name).type}; it must be binary, or a struct of "
                    f"bytes and path"
                )
    everywhere = set.intersection(*(set(schema.names) for schema in schemas))
    if identity is None and any("id" in schema.names for schema in schemas):
        identity = "id"
    for file, schema in zip(files, schemas, strict=True):
        if identity and identity not in schema.names:
            raise InputError(
                f"{file.path} has no column {identity}, which other files of the input have; add it there, rename it "
                "in the others, or synthesize them one by one"
            )
        if identity and not _id_type(schema.field(identity).type):
            raise InputError(
                f"column {identity} of {file.path} is {schema.field(identity).type}; ids are text or integers: convert "
                "it, or name another with --id-column"
            )
    if instance is None and "instance" in everywhere:
        instance = "instance"
    return Columns(label, identity, instance, style)


def _id_type(kind: pa.DataType) -> bool:
    """Whether every value of a type has one exact form as text."""
    if pa.types.is_dictionary(kind):
        return _id_type(kind.value_type)
    return is_text(kind) or pa.types.is_integer(kind)


def _digests(file: InputFile, column: str) -> np.ndarray:
    """A 128-bit digest of every id of a file, uint64 `[rows, 2]`: a hundred million of them fit into memory.

    A null id gets the digest of its place, which nothing else has; the worker rejects it.
    """
    with _open(file.path) as parquet:
        digests = bytearray()
        for batch in _undamaged(parquet.iter_batches(batch_size=65536, columns=[column]), file.path):
            for value in _texts(batch.column(0), file.path):
                text = f"null {file.name} {len(digests)}" if value is None else f"id {value}"
                digests += hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)


def _texts(column: pa.Array, path: FilePath) -> list[str | int | None]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} has an id that is not UTF-8 ({error.object!r}); write it again") from None


def _find_duplicates(files: Sequence[InputFile], digests: Sequence[np.ndarray]) -> dict[tuple[int, int], str]:
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


def _common_info(files: Sequence[InputFile], schemas: Sequence[pa.Schema]) -> DatasetInfo | None:
    """What `prepare` wrote into the files; files of different label spaces are refused."""
    common: DatasetInfo | None = None
    for file, schema in zip(files, schemas, strict=True):
        text = (schema.metadata or {}).get(METADATA_KEY)
        if text is None:
            continue
        try:
            info = DatasetInfo.from_json(text)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file.path} has unusable 'spadework' metadata: {first_line(error)}") from None
        if common and info.space != common.space:
            raise InputError(f"{file.path} has other classes than {files[0].path}; synthesize data sets one by one")
        common = common or info
    return common
