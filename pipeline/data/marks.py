"""The columns of pictures that people made or judged: a label map, its picture, how it was made, and their mark."""

from __future__ import annotations

import pyarrow as pa

from pipeline.data.schema import RECORD_FIELDS

PAINTED_FIELDS = (
    *RECORD_FIELDS,
    pa.field("style", pa.string()),
    pa.field("seed", pa.int64()),
    pa.field("sample", pa.int32()),
    pa.field("checkpoint", pa.string()),
    pa.field("painted_id", pa.string()),
)
"""Of a record: those of every data set, and what the picture was made with: `style` as JSON (`{"seed": 3}` or `{"z":
[...]}`), the noise's seed, the sample's number, the checkpoint's sha256, and the id that the picture was made with,
which may be another than the record's. `instance` only where there is one."""

MARK_FIELDS = (
    *PAINTED_FIELDS,
    pa.field("mark", pa.string()),
    pa.field("note", pa.string()),
    pa.field("time", pa.timestamp("us", tz="UTC")),
)
"""Of a mark: `id` tells it from all others."""

GOOD, BAD = ("good", "better"), ("bad", "worse")
"""Marks in favour of a picture and against it. `good` and `bad` are said of one picture, in the painter or on the page
of `prefer`; `better`, `worse` and `tie` of two of the same label map."""
