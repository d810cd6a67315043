"""A row of a Parquet file that a client sends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.parquet import holds_pictures
from pipeline.data.records import picture_bytes
from pipeline.data.schema import METADATA_KEY, DatasetInfo
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.serving.label_maps import check_pixels, decode_label_picture, told
from pipeline.serving.refusal import Refusal

MAX_GROUP_BYTES = 128 << 20
"""Of the columns of a row group, decompressed: what is compressed well may be a bomb."""


def read_row(data: bytes, row: int, space: LabelSpace, *, max_pixels: int) -> dict[str, Any]:
    """The number of rows, and the row's id, label map and instance map (arrays of integers `[H, W]`, or None).

    Raises `InputError` for what is no Parquet file of label maps of these classes, has no such row, or is damaged
    there; `Refusal` for pictures and row groups that are too large.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            rows, cells = file.metadata.num_rows, _cells(file, row, space)
    except (InputError, Refusal):
        raise
    except Exception as error:  # noqa: BLE001 - damaged files make pyarrow raise anything
        told_of = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"the body is no readable Parquet file ({told_of}); write it again") from None
    name = cells.get("id")
    label, instance = (_picture(cells.get(column), column) for column in ("label", "instance"))
    if label is None:
        raise InputError(f"row {row} has no label map")
    return {
        "rows": rows,
        "id": str(row) if name is None else str(name),
        "label": decode_label_picture(label, space, max_pixels=max_pixels),
        "instance": None if instance is None else _instance(instance, max_pixels),
    }


def _cells(file: pq.ParquetFile, row: int, space: LabelSpace) -> dict[str, Any]:
    schema, metadata = file.schema_arrow, file.metadata
    if "label" not in schema.names or not holds_pictures(schema.field("label").type):
        raise InputError("the Parquet file has no column label of pictures; give one that prepare or synthesize wrote")
    _check_classes((schema.metadata or {}).get(METADATA_KEY), space)
    if not 0 <= row < metadata.num_rows:
        raise InputError(f"there is no row {row}; the file has {metadata.num_rows} rows, from 0")
    columns = [
        name
        for name in ("id", "label", "instance")
        if name in schema.names and (name == "id" or holds_pictures(schema.field(name).type))
    ]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if row < group.num_rows:
            wanted = [
                chunk.total_uncompressed_size
                for chunk in map(group.column, range(group.num_columns))
                if chunk.path_in_schema.partition(".")[0] in columns
            ]
            if sum(wanted) > MAX_GROUP_BYTES or any(size < 0 for size in wanted):
                raise Refusal(413, f"a row group has more than {MAX_GROUP_BYTES} bytes; write smaller ones")
            cells: dict[str, Any] = file.read_row_group(number, columns=columns).slice(row, 1).to_pylist()[0]
            return cells
        row -= group.num_rows
    raise InputError("the Parquet file has fewer rows than its footer says; write it again")


def _check_classes(metadata: bytes | None, space: LabelSpace) -> None:
    if metadata is None:
        return
    try:
        classes = DatasetInfo.from_json(metadata).space.classes
    except (ValueError, KeyError, TypeError):
        raise InputError("the Parquet file has damaged spadework metadata; write it again") from None
    if classes != space.classes:
        raise InputError(
            f"the label maps have the classes {', '.join(classes[:4])} ..., and the checkpoint "
            f"{', '.join(space.classes[:4])} ...; give some of its own"
        )


def _picture(cell: Any, column: str) -> bytes | None:
    data: bytes | None = told(column, lambda: picture_bytes(cell))
    return data


def _instance(data: bytes, max_pixels: int) -> np.ndarray:
    from pipeline.data.images import decode_instance

    check_pixels(data, "instance map", max_pixels=max_pixels)
    ids: np.ndarray = told("instance map", lambda: decode_instance(data))
    return ids
