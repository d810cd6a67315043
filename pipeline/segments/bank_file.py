"""A memory bank's Parquet file: a row a segment, those of a class together, row groups of one class each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.atomic import atomic_path, temporary_name
from pipeline.data.records import file_metadata
from pipeline.data.schema import PICTURE, DatasetInfo

KIND = "memory bank"
"""What `preprocessing.source` of the file's metadata says; beside it: `least_area`, `segments`, `pictures`, `files`."""
GROUP_BYTES = 1 << 20
GROUP_ROWS = 1024
"""A row group ends at either: one segment is read without many others."""
BUFFER_BYTES = 64 << 20
"""Of rows of all classes that wait for their row groups to be full."""

COLOURS = ("mean_red", "mean_green", "mean_blue", "spread_red", "spread_green", "spread_blue")
"""Means and standard deviations."""
FIELDS = (
    pa.field("segment_id", pa.int64()),  # its row: by class, then in the order of the pictures
    pa.field("picture_id", pa.string()),  # the record that it was cut from
    pa.field("class", pa.int32()),  # the class channel
    pa.field("frame_height", pa.int32()),
    pa.field("frame_width", pa.int32()),
    pa.field("top", pa.int32()),
    pa.field("left", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("width", pa.int32()),
    pa.field("area", pa.int32()),  # pixels of the mask
    *(pa.field(name, pa.float32()) for name in COLOURS),  # over the mask, RGB from 0 to 255
    pa.field("coarse", pa.binary()),  # the frame's mask at 64x64, packed bits: 512 bytes
    pa.field("context", pa.binary()),  # the frame's class channels at 64x64, uint8 (uint16 beyond 256 of them)
    pa.field("mask", PICTURE),  # of the box, 0 and 255
    pa.field("picture", PICTURE),  # of the box, black outside of the mask
)
SCHEMA = pa.schema(list(FIELDS))

Row = dict[str, Any]


class BankWriter(AbstractContextManager["BankWriter"]):
    """Takes rows in the order of the pictures, and leaves a file in the order of classes; in bounded memory.

    Rows wait in row groups of one class, first in memory and then in a file beside the bank; these are joined at the
    end. The file appears under its name only when it is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[int, int] = {}
        """Segments of each class so far."""
        self._waiting: dict[int, list[Row]] = {}
        self._bytes: dict[int, int] = {}
        self._groups: dict[int, list[int]] = {}
        self._group_count = 0
        self._stack = ExitStack()

    def __enter__(self) -> BankWriter:
        self._spool_path = self._stack.enter_context(_scratch(self.path))
        self._spool = self._stack.enter_context(_writer(self._spool_path, SCHEMA))
        return self

    def write(self, row: Row) -> None:
        """Add a segment: all columns but `segment_id`."""
        label = row["class"]
        self.counts[label] = self.counts.get(label, 0) + 1
        self._waiting.setdefault(label, []).append({"segment_id": None, **row})
        self._bytes[label] = self._bytes.get(label, 0) + _size(row)
        if self._bytes[label] >= GROUP_BYTES or len(self._waiting[label]) >= GROUP_ROWS:
            self._flush(label)
        elif sum(self._bytes.values()) > BUFFER_BYTES:
            self._flush(max(self._bytes, key=lambda each: (self._bytes[each], each)))

    def _flush(self, label: int) -> None:
        self._spool.write_batch(pa.RecordBatch.from_pylist(self._waiting.pop(label), schema=SCHEMA))
        self._groups.setdefault(label, []).append(self._group_count)
        self._group_count += 1
        del self._bytes[label]

    def finish(self, info: DatasetInfo) -> None:
        """Write the bank; `info` goes into its metadata."""
        for label in sorted(self._waiting):
            self._flush(label)
        self._spool.close()
        schema = SCHEMA.with_metadata(file_metadata(info, FIELDS))
        spool = pq.ParquetFile(self._spool_path)
        with atomic_path(self.path, tidy=False) as target, _writer(target, schema) as writer, spool:
            first = 0
            for label in sorted(self._groups):
                for rows in _regrouped(spool, self._groups[label]):
                    numbered = [{**row, "segment_id": first + index} for index, row in enumerate(rows)]
                    writer.write_batch(pa.RecordBatch.from_pylist(numbered, schema=schema))
                    first += len(rows)

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _regrouped(spool: pq.ParquetFile, groups: list[int]) -> Iterator[list[Row]]:
    """The rows of a class in row groups whose bounds depend on the rows alone."""
    waiting: list[Row] = []
    size = 0
    for group in groups:
        for row in spool.read_row_group(group).to_pylist():
            waiting.append(row)
            size += _size(row)
            if size >= GROUP_BYTES or len(waiting) == GROUP_ROWS:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting


def _size(row: Mapping[str, Any]) -> int:
    """About the bytes of a row: of its pictures, and of the coarse frames before they are compressed."""
    return sum(len(row[name]["bytes"]) for name in ("mask", "picture")) + len(row["coarse"]) + len(row["context"])


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Pictures are compressed already, and have no statistics; coarse frames compress well."""
    plain = [field.name for field in schema if field.type not in (PICTURE, pa.binary())]
    compression = {"coarse": "zstd", "context": "zstd"}
    return pq.ParquetWriter(path, schema, compression=compression, use_dictionary=plain, write_statistics=plain)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A file beside the bank, gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spool = temporary_name(path.with_name(f"{path.name}.segments"))
    try:
        yield spool
    finally:
        spool.unlink(missing_ok=True)
