"""A hash of the rows of a shard, by which a job knows its input again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.data.shards import Columns, Shard, iter_shard


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
