"""Parquet files as everything here reads them: one at a path or URI, opened once, and all that a location names."""

from __future__ import annotations

import hashlib
import time
import weakref
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.data.schema import METADATA_KEY, DatasetInfo
from pipeline.data.storage import FilePath, filesystem, find_files, first_line, reachable, relative
from pipeline.errors import InputError

OPEN_FILES = 256
"""That a process keeps open, of some 1000 that the system allows; the oldest are closed, and opened anew when read."""
SETTLED_SECONDS = 2
"""A file that was changed so long ago shows a change by its time: of object stores, which count whole seconds, too."""
PICTURE_COLUMNS = ("label", "instance", "image")

_opened: deque[weakref.ref[ParquetFile]] = deque()


@dataclass(frozen=True)
class RowGroup:
    """Neighbouring rows of a file that are stored, and so best read, together."""

    index: int
    """Its number in the file."""
    first: int
    """The position of its first row in the file."""
    rows: int
    sizes: dict[str, int]
    """Bytes of each top-level column in memory, encoded."""


@dataclass
class ParquetFile:
    """A Parquet file, which is opened when it is first read and then stays open as long as this object lives.

    It pickles to what identifies it, so that another process opens it for itself.
    """

    path: FilePath
    name: str
    """Relative to the location that it was found at: the same wherever the data set lies."""
    rows: int
    fingerprint: str
    """sha256 of the footer, which holds every page's place and the statistics: another file has another one."""
    stamp: str = field(default="", init=False, compare=False)
    """Size and time of the last change before it was opened, by which it is known again without being read; empty where
    it is too new: what is changed in the same moment again has the same time."""
    _handle: pq.ParquetFile | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, path: FilePath, name: str | None = None) -> ParquetFile:
        """Read a file's footer; `InputError` where the file is missing or no Parquet file."""
        stamp = _stamp(path)  # before it is read: a change in between shows
        source, handle = _open(path)
        size = source.size()
        start = size - 8 - handle.metadata.serialized_size
        digest = hashlib.sha256(size.to_bytes(8, "big") + source.read_at(size - start, start))
        file = cls(path, name or Path(path).name, handle.metadata.num_rows, digest.hexdigest())
        file._keep(handle)
        file.stamp = stamp
        return file

    def __reduce__(self) -> tuple[type[ParquetFile], tuple[str, str, int, str]]:
        return ParquetFile, (self.path, self.name, self.rows, self.fingerprint)

    def __str__(self) -> str:
        return self.path

    def _keep(self, handle: pq.ParquetFile) -> None:
        self._handle = handle
        _opened.append(weakref.ref(self))
        while len(_opened) > OPEN_FILES:
            if oldest := _opened.popleft()():
                oldest._handle = None  # Closed when the last generator that still reads it is done.

    @property
    def _parquet(self) -> pq.ParquetFile:
        handle = self._handle
        if handle is None:
            self.stamp = _stamp(self.path)
            _, handle = _open(self.path)
            self._keep(handle)
        return handle

    @cached_property
    def size(self) -> int:
        """Bytes of the file."""
        system, inner = filesystem(self.path)
        return system.get_file_info(inner).size

    @cached_property
    def schema(self) -> pa.Schema:
        """Its columns and metadata."""
        schema = self._parquet.schema_arrow
        return _shared_schema(schema.serialize().to_pybytes())

    @property
    def largest_row_group(self) -> int:
        """Rows of the largest one."""
        metadata = self._parquet.metadata
        return max((metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)), default=0)

    @cached_property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """Its row groups, in order."""
        metadata, found, first = self._parquet.metadata, [], 0
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            sizes: Counter[str] = Counter()
            for number in range(group.num_columns):
                column = group.column(number)
                sizes[column.path_in_schema.split(".")[0]] += column.total_uncompressed_size
            found.append(RowGroup(index, first, group.num_rows, dict(sizes)))
            first += group.num_rows
        return tuple(found)

    def column_chunks(self) -> Iterator[tuple[int, int]]:
        """Where the file holds each column of each row group: position and length in bytes."""
        metadata = self._parquet.metadata
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            for column in map(group.column, range(group.num_columns)):
                yield column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size

    @cached_property
    def info(self) -> DatasetInfo | None:
        """Label space and preprocessing; None where `prepare` did not make it, `InputError` where they are unusable."""
        text = (self.schema.metadata or {}).get(METADATA_KEY)
        if text is None:
            return None
        try:
            return _shared_info(text)
        except ValidationError as error:
            reason = "; ".join(problem["msg"] for problem in error.errors())
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
        raise InputError(f"{self} has unusable 'spadework' metadata ({reason}); make it again with the verb prepare")

    def check_columns(self, required: Sequence[str], *, pictures: Collection[str] = PICTURE_COLUMNS) -> None:
        """Refuse (`InputError`) a file without a column of `required`, or with other things there than records have.

        Ids are strings; the columns in `pictures` are binary, or a struct with `bytes`.
        """
        check_names(self, self.schema)
        if missing := [name for name in required if name not in self.schema.names]:
            columns = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise InputError(f"{self} lacks the {columns}; it has {', '.join(self.schema.names) or 'none at all'}")
        for name in required:
            kind = self.schema.field(name).type
            if name == "id" and not is_text(kind):
                raise InputError(f"column id of {self} is {kind}; ids must be strings")
            if name in pictures and not holds_pictures(kind):
                raise InputError(f"column {name} of {self} is {kind}; it must be binary, or a struct of bytes and path")

    def read(self, columns: Sequence[str] | None = None, *, group: int | None = None) -> pa.Table:
        """The whole file, or one of its row groups; `columns` that it does not have are left out.

        Raises `InputError` where its pages cannot be read.
        """
        with _undamaged(self):
            if group is None:
                return self._parquet.read(columns=self._there(columns))
            return self._parquet.read_row_group(group, columns=self._there(columns))

    def batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        batch_rows: int = 64,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Rows `start .. stop - 1`, some at a time, each batch with the position of its first row in the file.

        Row groups outside of the range are not read; `columns` that the file does not have are left out. `InputError`
        where its pages cannot be read.
        """
        stop = self.rows if stop is None else stop
        begin = bisect_right(self.row_groups, start, key=lambda group: group.first + group.rows)
        groups = self.row_groups[begin : bisect_left(self.row_groups, stop, key=lambda group: group.first)]
        if not groups or start >= stop:
            return
        position = groups[0].first
        with _undamaged(self):
            for batch in self._parquet.iter_batches(
                batch_size=batch_rows, row_groups=[group.index for group in groups], columns=self._there(columns)
            ):
                first, last = max(start - position, 0), min(stop - position, len(batch))
                if last > first:
                    yield position + first, batch.slice(first, last - first)
                position += len(batch)
                if position >= stop:
                    return

    def iter_rows(
        self,
        columns: Sequence[str] | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        batch_rows: int = 64,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The same row by row, pictures still encoded; columns that the file does not have are None."""
        absent = dict.fromkeys(name for name in columns or () if name not in self.schema.names)
        for first, batch in self.batches(columns, start=start, stop=stop, batch_rows=batch_rows):
            for offset, row in enumerate(batch.to_pylist()):
                yield first + offset, {**row, **absent}

    def _there(self, columns: Sequence[str] | None) -> list[str] | None:
        return None if columns is None else [name for name in columns if name in self.schema.names]


@dataclass(frozen=True)
class ParquetDataset:
    """The Parquet files of a location as one sequence of rows, each file opened once."""

    location: str
    """As it was given."""
    files: tuple[ParquetFile, ...]

    @classmethod
    def open(cls, location: str | Path) -> ParquetDataset:
        """Read the footers of a file, a folder's files, or those of a pattern with `*`, local or at a URI.

        Raises `InputError` where nothing is found, or a file is no Parquet file.
        """
        root, paths = find_files(location)
        with ThreadPoolExecutor(16) as pool:  # Object stores answer slowly, but many at once.
            return cls(str(location), tuple(pool.map(lambda path: ParquetFile.open(path, relative(path, root)), paths)))

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @cached_property
    def info(self) -> DatasetInfo | None:
        """That of the first file with any; `InputError` where files differ in their label space, or it is unusable."""
        known = [file for file in self.files if file.info is not None]
        for file in known[1:]:
            if file.info.space != known[0].info.space:  # type: ignore[union-attr]
                raise InputError(f"{file} has other classes than {known[0]}; keep data sets in separate folders")
        return known[0].info if known else None

    def require_info(self) -> DatasetInfo:
        """The same; `InputError` for a file without any."""
        for file in self.files:
            if file.info is None:
                raise InputError(
                    f"{file} has no 'spadework' metadata (class names, palette); make it with prepare or synthesize"
                )
        assert self.info
        return self.info

    def check_columns(self, required: Sequence[str], *, pictures: Collection[str] = PICTURE_COLUMNS) -> None:
        """`ParquetFile.check_columns` of every file; `InputError` names the first that is refused."""
        for file in self.files:
            file.check_columns(required, pictures=pictures)

    def iter_rows(self, columns: Sequence[str] | None = None, *, batch_rows: int = 64) -> Iterator[dict[str, Any]]:
        """The rows as stored, pictures still encoded, `batch_rows` in memory at a time; absent columns are None."""
        for file in self.files:
            for _, row in file.iter_rows(columns, batch_rows=batch_rows):
                yield row


def _open(path: FilePath) -> tuple[Any, pq.ParquetFile]:
    """A file for reading, and its footer read from it."""
    system, inner = filesystem(path)
    try:
        with reachable(path):
            source = system.open_input_file(inner)
        # Unbuffered, a reader would hold whole column chunks, which may be gigabytes of pictures.
        return source, pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        reason = first_line(error)
        raise InputError(f"{path} is not a readable Parquet file ({reason}); make or copy it again") from None


def _stamp(path: FilePath) -> str:
    system, inner = filesystem(path)
    with reachable(path):
        info = system.get_file_info(inner)
    changed = info.mtime_ns
    if not changed or time.time_ns() - changed < SETTLED_SECONDS * 10**9:
        return ""
    return f"{info.size} {changed}"


@lru_cache(maxsize=64)
def _shared_schema(serialized: bytes) -> pa.Schema:
    """Equal ones of thousands of files are one object."""
    return pa.ipc.read_schema(pa.py_buffer(serialized))


@lru_cache(maxsize=64)
def _shared_info(text: bytes) -> DatasetInfo:
    """Equal ones of thousands of files are one object, and parsed once."""
    return DatasetInfo.from_json(text)


@contextmanager
def _undamaged(file: ParquetFile) -> Iterator[None]:
    """A `with` block in which pages are read: `InputError` where that fails."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is damaged ({first_line(error)}); make or copy it again") from None


def check_names(file: object, schema: pa.Schema) -> None:
    """Refuse two columns of one name (`InputError`): nobody could say which of them is meant."""
    for name, number in Counter(schema.names).items():
        if number > 1:
            raise InputError(f"{file} has {number} columns named '{name}'; rename or remove all but one")


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether cells of a type can be encoded pictures: bytes, or a struct with them; also dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        return holds_pictures(kind.value_type)
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and holds_pictures(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of a type are strings; also dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
