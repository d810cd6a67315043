"""What a data set holds, in a few hashes: a run must not resume with other data under the same path."""

from __future__ import annotations

import hashlib

from pipeline.data.parquet import ParquetDataset
from pipeline.data.storage import is_uri, local_path

WHOLE_BYTES = 1 << 28
"""Files up to this size are hashed whole."""
PART_BYTES = 1 << 16
"""Of each column of each row group of larger files, how much is hashed."""


def fingerprint_data(dataset: ParquetDataset) -> dict[str, str]:
    """A sha256 of each file of a data set, by its name.

    Of files up to `WHOLE_BYTES` it covers every byte. Of larger ones, where that would take too long at every start,
    it covers their size, their footer and the first `PART_BYTES` of every column of every row group: a change further
    in, of equal length, is not seen. Of files at a URI, where all of that would be fetched, size and footer.
    """
    found = {}
    for file in dataset.files:
        if is_uri(file.path):
            found[file.name] = file.fingerprint
            continue
        path = local_path(file.path)
        with path.open("rb") as raw:
            if path.stat().st_size <= WHOLE_BYTES:
                digest = hashlib.file_digest(raw, "sha256")
            else:
                digest = hashlib.sha256(file.fingerprint.encode())
                for place, length in file.column_chunks():
                    raw.seek(place)
                    digest.update(raw.read(min(PART_BYTES, length)))
        found[file.name] = digest.hexdigest()
    return found
