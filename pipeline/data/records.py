"""Parquet files of label maps and photographs: reading, checking, decoding and atomic writing.

Columns: `id` (unique string), `label`, and where there are any `instance` and `image`. Pictures are encoded
bytes, either raw or in the struct `{bytes, path}` of Hugging Face `datasets`; both are read, the struct is
written. The file's key-value metadata `spadework` (JSON) holds the label space and the preprocessing, and
`huggingface` the features, so that `datasets.load_dataset("parquet", data_files=...)` shows pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.atomic import publish, temporary_name
from pipeline.data.images import (
    Palette,
    Resample,
    decode_image,
    decode_instance,
    decode_label,
    encode_png,
    resize_ids,
    resize_image,
)
from pipeline.data.parquet import ParquetDataset
from pipeline.data.schema import METADATA_KEY, PICTURE, RECORD_FIELDS, DatasetInfo, Record
from pipeline.errors import InputError

__all__ = [
    "PICTURE",
    "RECORD_FIELDS",
    "DatasetInfo",
    "Record",
    "RecordWriter",
    "check_columns",
    "check_dataset",
    "check_sizes",
    "count_rows",
    "decode_image",
    "decode_label",
    "decode_record",
    "encode_png",
    "iter_rows",
    "picture_bytes",
    "read_info",
    "resize_record",
]


def read_info(location: str | Path) -> DatasetInfo:
    """The label space and preprocessing of a file, or of a folder whose files must agree on the label space.

    Raises `InputError` where they do not agree, there is no such file, or `prepare` did not make it.
    """
    return ParquetDataset.open(location).require_info()


def check_columns(location: str | Path, required: Sequence[str]) -> None:
    """Refuse (`InputError`) a file that lacks one of the `required` columns, or has other things there than records."""
    ParquetDataset.open(location).check_columns(required)


def check_dataset(source: str | Path | ParquetDataset, required: Sequence[str] = ("id", "label")) -> DatasetInfo:
    """Everything about a data set that can be checked without decoding pictures; call it before hours of work.

    Raises `InputError` for a missing file, one that is not Parquet, missing columns or metadata, no rows, and
    keys that are null or repeat: the key of a record is its id, and its sample where there is such a column.
    """
    dataset = source if isinstance(source, ParquetDataset) else ParquetDataset.open(source)
    dataset.check_columns(required)
    info = dataset.require_info()
    read_keys(dataset)
    return info


def read_keys(dataset: ParquetDataset) -> list[str]:
    """The `record_key` of every record, in order; `InputError` for ids that are null, keys that repeat, no records."""
    if not dataset.rows:
        raise InputError(f"{dataset.location} has no records; check what prepare reported as skipped")
    seen: set[tuple[str, int]] = set()
    keys = []
    for row in dataset.iter_rows(["id", "sample"], batch_rows=4096):
        if row["id"] is None:
            raise InputError(f"{dataset.location} has a record without an id; give every record a string")
        key = row["id"], row["sample"] or 0
        if key in seen:
            raise InputError(f"{dataset.location} has the id '{record_key(row)}' twice; ids must be unique")
        seen.add(key)
        keys.append(record_key(row))
    return keys


def record_key(row: Mapping[str, Any]) -> str:
    """What tells a row from all others of a data set: its id, with its sample where that is not the first.

    >>> record_key({"id": "a", "sample": 0}), record_key({"id": "a", "sample": 2}), record_key({"id": "a"})
    ('a', 'a, sample 2', 'a')
    """
    sample = row.get("sample")
    return f"{row['id']}, sample {sample}" if sample else row["id"]


def count_rows(location: str | Path) -> int:
    """How many records a file, or all files of a folder, have (from the footers); `InputError` if there is no file."""
    return ParquetDataset.open(location).rows


def iter_rows(
    location: str | Path, columns: Sequence[str] | None = None, batch_rows: int = 64
) -> Iterator[dict[str, Any]]:
    """The rows of a file, or of all files of a folder: see `ParquetDataset.iter_rows`.

    Raises `InputError` where nothing is found, or a file is damaged.
    """
    return ParquetDataset.open(location).iter_rows(columns, batch_rows=batch_rows)


def picture_bytes(value: bytes | Mapping[str, Any] | None) -> bytes | None:
    """The encoded picture of a cell, be it raw bytes or a `{bytes, path}` struct; None for a null.

    Raises `InputError` for a struct that has only a path.
    """
    if isinstance(value, Mapping):
        if value.get("bytes") is None and value.get("path"):
            raise InputError(f"is only a path, {value['path']}; put the bytes of the picture into the file")
        return value.get("bytes")
    return value


def decode_record(
    row: Mapping[str, Any], *, need_image: bool = False, need_disparity: bool = False, palette: Palette | None = None
) -> Record:
    """A row (as `iter_rows` gives it) to arrays; photograph and disparity are decoded only if they are needed.

    Raises `InputError`, which names the record and the column, for pictures that are missing, broken, of a wrong
    mode, or of another size than the label map. `palette` is for RGB label maps.
    """
    name = record_key(row)
    label = _decode_cell(row, "label", lambda data: decode_label(data, palette))
    if label is None:
        raise InputError(f"record '{name}' has no label map; leave such records out")
    instance = _decode_cell(row, "instance", decode_instance)
    image = _decode_cell(row, "image", decode_image) if need_image else None
    if need_image and image is None:
        raise InputError(f"record '{name}' has no photograph; this work needs one in column image")
    disparity = _decode_cell(row, "disparity", decode_label) if need_disparity else None
    if need_disparity and disparity is None:
        raise InputError(
            f"record '{name}' has no disparity, which generator.order_network learns from; prepare the data with "
            "--disparity, or leave the network out"
        )
    record = Record(name, label, instance, image, disparity)
    check_sizes(record)
    return record


def check_sizes(record: Record) -> None:
    """Refuse (`InputError`) a record whose instance map or photograph is not as large as its label map."""
    height, width = record.label.shape
    columns = {"instance map": record.instance, "photograph": record.image, "disparity": record.disparity}
    for column, array in columns.items():
        if array is not None and array.shape[:2] != (height, width):
            sizes = f"{array.shape[1]}x{array.shape[0]} but its label map {width}x{height}"
            raise InputError(f"record '{record.id}': the {column} is {sizes}; make them the same size")


def _decode_cell(row: Mapping[str, Any], column: str, decode: Any) -> np.ndarray | None:
    try:
        data = picture_bytes(row.get(column))
        return None if data is None else decode(data)
    except InputError as error:
        raise InputError(f"record '{record_key(row)}': {column} {error}") from None


def resize_record(record: Record, height: int, width: int, *, resample: Resample = "lanczos") -> Record:
    """The record at another size: ids by nearest neighbour, the photograph with antialiasing."""
    return replace(
        record,
        label=resize_ids(record.label, height, width),
        instance=None if record.instance is None else resize_ids(record.instance, height, width),
        image=None if record.image is None else resize_image(record.image, height, width, resample=resample),
        disparity=None if record.disparity is None else resize_ids(record.disparity, height, width),
    )


class RecordWriter:
    """Writes one Parquet file row by row; it appears under its name only when it is whole.

    A context manager: an exception inside it removes what was written. The same rows give the same bytes.
    `fields` are the columns; pictures (columns of type `PICTURE`) may be given as encoded bytes, as an array,
    which is encoded as PNG, or as a `{bytes, path}` mapping. Fields missing from a row are written as null.
    """

    def __init__(
        self,
        path: Path,
        info: DatasetInfo,
        fields: Sequence[pa.Field] = RECORD_FIELDS,
        *,
        key: Sequence[str] = ("id",),
        row_group_rows: int = 64,
    ) -> None:
        """`key` names the columns whose values together must be unique."""
        self.path = Path(path)
        self.rows = 0
        self._schema = pa.schema(list(fields), metadata=file_metadata(info, fields))
        self._pictures = {column.name for column in fields if column.type == PICTURE}
        self._key = tuple(key)
        self._seen: set[tuple[Any, ...]] = set()
        self._row_group_rows = row_group_rows
        self._buffer: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> RecordWriter:
        self._made_folder = not self.path.parent.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = temporary_name(self.path)
        # Pictures are compressed already, and statistics over them would only copy them into the footer.
        plain = [column.name for column in self._schema if column.name not in self._pictures]
        self._writer = pq.ParquetWriter(
            self._temporary, self._schema, compression="none", use_dictionary=plain, write_statistics=plain
        )
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row; `InputError` if its key was there before or a column is not one of `fields`."""
        assert self._writer is not None, "use RecordWriter in a with statement"
        assert set(row) <= set(self._schema.names), f"unknown columns {set(row) - set(self._schema.names)}"
        key = tuple(row[name] for name in self._key)
        assert None not in key, "a record without an id"
        if key in self._seen:
            raise InputError(f"{self._key[0]} '{key[0]}' comes twice in {self.path}; ids must be unique")
        self._seen.add(key)
        self._buffer.append({name: self._cell(name, row.get(name)) for name in self._schema.names})
        self.rows += 1
        if len(self._buffer) == self._row_group_rows:
            self._flush()

    def _cell(self, name: str, value: Any) -> Any:
        if name not in self._pictures or value is None or isinstance(value, Mapping):
            return value
        return {"bytes": encode_png(value) if isinstance(value, np.ndarray) else value, "path": None}

    def _flush(self) -> None:
        assert self._writer is not None
        if self._buffer:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._buffer, schema=self._schema))
            self._buffer = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        try:
            if kind is None:
                self._flush()
            self._writer.close()
            if kind is None:
                publish(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
            if self._made_folder and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()


def file_metadata(info: DatasetInfo, fields: Sequence[pa.Field]) -> dict[bytes, bytes]:
    """The two key-value entries: ours, and the features that Hugging Face `datasets` reads."""
    features: dict[str, dict[str, str]] = {}
    for column in fields:
        dtype = str(column.type)
        features[column.name] = {"_type": "Image"} if column.type == PICTURE else {"dtype": dtype, "_type": "Value"}
    return {
        METADATA_KEY: info.to_json().encode(),
        b"huggingface": json.dumps({"info": {"features": features}}).encode(),
    }
