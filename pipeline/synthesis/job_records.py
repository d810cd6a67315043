"""What a batch job keeps about itself in JSON: what it is, its finished shards, its rejects, its manifest."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.shards import Columns
from pipeline.runtime.json_text import read_json

COLUMNS = ("label", "id", "instance", "style", "samples")


@dataclass(frozen=True)
class Reject:
    """A row that could not be used."""

    id: str | None
    source: str
    row: int
    reason: str
    samples: int | None = None
    """How many images it should have had, in a job where a column says so."""

    def to_json(self) -> dict[str, Any]:
        """For a record, and as a row of the table of rejects."""
        return {name: value for name, value in asdict(self).items() if name != "samples" or value is not None}

    @classmethod
    def from_json(cls, fields: Any) -> Reject:
        """One of a record; `ValueError` where it is none."""
        texts = {name: field(fields, name, str) for name in ("source", "reason")}
        samples = _count(fields, "samples") if "samples" in fields else None
        return cls(id=field(fields, "id", (str, type(None))), row=field(fields, "row", int), samples=samples, **texts)


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A finished shard."""

    name: str
    rows: int
    """Images in the part; 0 if every row was rejected, and then there is no part."""
    sha256: str
    bytes: int
    rejects: tuple[Reject, ...] = ()
    input_sha256: str = ""
    """Of the rows that it was made of (`InputDigest`); empty in records of earlier versions."""
    input_stamp: str = ""
    """Of the file with these rows (`ParquetFile.stamp`); empty in manifests, and where it was too new to tell."""

    def to_json(self) -> dict[str, Any]:
        """For the record's file, and for the manifest."""
        fields = {name: getattr(self, name) for name in ("name", "rows", "sha256", "bytes")}
        stamp = {"input_stamp": self.input_stamp} if self.input_stamp else {}
        rejects = [reject.to_json() for reject in self.rejects]
        return {**fields, "rejects": rejects, "input_sha256": self.input_sha256, **stamp}

    @classmethod
    def from_json(cls, fields: Any) -> ShardRecord:
        """What `to_json` gave; `ValueError` where it is something else."""
        name = field(fields, "name", str)
        if not re.fullmatch(r"part-\d{5,}\.parquet", name):
            raise ValueError(f"its 'name' is {_short(name)}")
        return cls(
            name=name,
            rows=_count(fields, "rows"),
            sha256=field(fields, "sha256", str),
            bytes=_count(fields, "bytes"),
            rejects=tuple(Reject.from_json(reject) for reject in field(fields, "rejects", (list, tuple))),
            input_sha256=field({"input_sha256": "", **fields}, "input_sha256", str),
            input_stamp=field({"input_stamp": "", **fields}, "input_stamp", str),
        )


@dataclass(frozen=True)
class Manifest:
    """A finished job's `manifest.json`."""

    images: int
    rejects: int
    parts: tuple[ShardRecord, ...]

    @classmethod
    def from_json(cls, fields: Any) -> Manifest:
        """What `write_manifest` wrote; `ValueError` where it is something else."""
        parts = tuple(ShardRecord.from_json(part) for part in field(fields, "parts", list))
        return cls(_count(fields, "images"), _count(fields, "rejects"), parts)


@dataclass(frozen=True)
class Planned:
    """What `job.json` says that a job must come to."""

    label_maps: int
    samples: int | None
    """Of every label map; None where `columns.samples` says how many."""
    images: int
    shards: int
    seed: int
    checkpoint: str
    columns: Columns
    provenance: str | None = None
    """The packet that each picture carries; None in jobs that earlier versions began."""

    @classmethod
    def from_json(cls, fields: Any) -> Planned:
        """Of a job's description; `ValueError` where it is none."""
        settings, source = field(fields, "settings", dict), field(fields, "input", dict)
        maps = sum(_count(file, "rows") for file in field(source, "files", list))
        given = {"samples": None, **field(source, "columns", dict)}
        columns = Columns(**{name: field(given, name, (str, type(None))) for name in COLUMNS})
        samples = _count(settings, "samples") if columns.samples is None else None
        images = _count(source, "images") if samples is None else maps * samples
        seed, checkpoint = field(settings, "seed", int), field(settings, "checkpoint", str)
        provenance = field({"provenance": None, **settings}, "provenance", (str, type(None)))
        return cls(maps, samples, images, _count(source, "shards"), seed, checkpoint, columns, provenance)


def parse(text: bytes | None) -> Any:
    """JSON; `ValueError` with a few words where it is none."""
    if text is None:
        raise ValueError("it is missing")
    try:
        return read_json(text)
    except ValueError:
        raise ValueError("it is not JSON") from None


def field(fields: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """A field of a JSON object; `ValueError` where it is missing or of another kind."""
    if not isinstance(fields, dict):
        raise ValueError(f"{_short(fields)} is in the place of '{name}'")
    if name not in fields:
        raise ValueError(f"it lacks '{name}'")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"its '{name}' is {_short(value)}")
    return value


def _count(fields: Any, name: str) -> int:
    """A field that counts something."""
    value = field(fields, name, int)
    if value < 0:
        raise ValueError(f"its '{name}' is {value}")
    return value


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Where two descriptions differ, as `seed is 1 there and 2 here`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [*wanted, *(key for key in found if key not in wanted)]
        parts = (differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key) for key in keys)
        return [difference for part in parts for difference in part]
    if found == wanted:
        return []
    return [f"{name} is {_short(found)} there and {_short(wanted)} here"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def rejects_table(rejects: list[Reject]) -> bytes:
    """One reject or more as the bytes of a Parquet file, `rejects.parquet`: a row each."""
    fields = [("id", pa.string()), ("source", pa.string()), ("row", pa.int64()), ("reason", pa.string())]
    if rejects[0].samples is not None:  # Then all of them have it.
        fields.append(("samples", pa.int64()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([reject.to_json() for reject in rejects], schema=pa.schema(fields)), sink)
    return sink.getvalue().to_pybytes()
