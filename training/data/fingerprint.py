"""What a data set holds, in a few hashes: a run must not go on with other data under the same path."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.data.records import parquet_files
from pipeline.data.shards import fingerprint

WHOLE_BYTES = 1 << 28
"""Files up to this size are hashed whole."""
PART_BYTES = 1 << 16
"""Of each column of each row group of larger files, how much is hashed."""


def fingerprint_data(path: Path) -> dict[str, str]:
    """A sha256 of each file of a data set, by its name.

    Of files up to `WHOLE_BYTES` it covers every byte. Of larger ones, where that would take too long at every start,
    it covers their size, their footer and the first `PART_BYTES` of every column of every row group: a change further
    in, of equal length, is not seen.
    """
    found = {}
    for file in map(Path, parquet_files(path)):
        with pq.ParquetFile(file) as parquet, file.open("rb") as raw:
            if file.stat().st_size <= WHOLE_BYTES:
                digest = hashlib.file_digest(raw, "sha256")
            else:
                metadata = parquet.metadata
                digest = hashlib.sha256(fingerprint(str(file), metadata).encode())
                for number in range(metadata.num_row_groups):
                    group = metadata.row_group(number)
                    for column in map(group.column, range(group.num_columns)):
                        raw.seek(column.dictionary_page_offset or column.data_page_offset)
                        digest.update(raw.read(min(PART_BYTES, column.total_compressed_size)))
        found[file.name] = digest.hexdigest()
    return found
