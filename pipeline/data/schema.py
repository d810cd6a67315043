"""What a data set's Parquet file holds: its columns, a record, and what the file says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.labels import LabelSpace
from pipeline.runtime.json_text import read_json

METADATA_KEY = b"spadework"
FORMAT_VERSION = 1

PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""How a picture is stored: the struct that Hugging Face `datasets` calls an Image."""

RECORD_FIELDS = (
    pa.field("id", pa.string()),
    pa.field("label", PICTURE),
    pa.field("instance", PICTURE),
    pa.field("image", PICTURE),
)
"""The columns of a data set; few have `DISPARITY_FIELD` too. All are nullable in the schema, because `datasets` takes
nothing else for an Image."""
DISPARITY_FIELD = pa.field("disparity", PICTURE)
"""Of SIMS's ordering network."""


@dataclass(frozen=True)
class Record:
    """One decoded row."""

    id: str
    label: np.ndarray
    """uint8 or uint16 `[H, W]`: ids as stored."""
    instance: np.ndarray | None = None
    """uint8, uint16 or int32 `[H, W]`: an id for each object."""
    image: np.ndarray | None = None
    """uint8 RGB `[H, W, 3]`."""
    disparity: np.ndarray | None = None
    """uint8 or uint16 `[H, W]`: the larger, the nearer; 0 where it is not known."""


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set says about itself."""

    space: LabelSpace
    preprocessing: dict[str, Any] = field(default_factory=dict)
    """How the records were made from the raw data (JSON values)."""

    def to_json(self) -> str:
        """The value of the file's `spadework` metadata."""
        labels = self.space.model_dump(mode="json")
        return json.dumps({"version": FORMAT_VERSION, "labels": labels, "preprocessing": self.preprocessing})

    @classmethod
    def from_json(cls, text: str | bytes) -> DatasetInfo:
        """Raises ValueError (pydantic's or json's) or KeyError for anything that `to_json` does not write."""
        fields = read_json(text)
        if not (isinstance(fields, dict) and isinstance(fields.get("preprocessing", {}), dict)):
            raise ValueError("it has no sections")
        if fields["version"] != FORMAT_VERSION:
            raise ValueError(f"metadata version {fields['version']}, this program reads {FORMAT_VERSION}")
        return cls(LabelSpace.model_validate(fields["labels"]), dict(fields["preprocessing"]))


def describe_column(metadata: Mapping[bytes, bytes] | None, name: str, feature: dict[str, str]) -> dict[bytes, bytes]:
    """A file's metadata for one more column, which the description for Hugging Face `datasets` then names too.

    A description that is damaged is left out: `datasets` then goes by the columns themselves.
    """
    described = dict(metadata or {})
    if text := described.pop(b"huggingface", None):
        try:
            fields = read_json(text)
            fields["info"]["features"][name] = feature
        except (ValueError, KeyError, TypeError):
            return described
        described[b"huggingface"] = json.dumps(fields).encode()
    return described
