"""Rows of numbers and texts as one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa


def to_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table with a column for each name in any of the rows, in the order in which they first come; null where a row
    lacks it. Nested mappings are columns `outer.inner`."""
    flat = [_flat(row) for row in rows]
    columns = dict.fromkeys(name for row in flat for name in row)
    return pa.Table.from_pylist([{**columns, **row} for row in flat])  # pyarrow takes the columns of the first row


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested numbers under `outer.inner`."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found
