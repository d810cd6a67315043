"""Sets that a filter made of a job's pictures: sealed with a manifest as jobs are, so that `verify` can check them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.images import decode_image, decode_label
from pipeline.data.parquet import ParquetFile
from pipeline.data.provenance import XMP, Provenance, read_xmp
from pipeline.data.records import picture_bytes, record_key
from pipeline.data.storage import Folder, first_line
from pipeline.errors import InputError
from pipeline.runtime.json_text import read_json
from pipeline.runtime.progress import ProgressBar

MANIFEST, SUCCESS = "manifest.json", "_SUCCESS"


def seal(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest of the Parquet files in a local folder, and `_SUCCESS` with its checksum.

    `about` says how the set was made (JSON values).
    """
    parts = [
        {
            "name": path.relative_to(folder).as_posix(),
            "rows": pq.read_metadata(path).num_rows,
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(folder.rglob("*.parquet"))
    ]
    images = sum(int(part["rows"]) for part in parts)
    manifest = {"version": 1, "filtered": dict(about), "images": images, "parts": parts}
    data = (json.dumps(manifest, indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / SUCCESS).write_text(hashlib.sha256(data).hexdigest() + "\n")


def read_filtered(folder: Folder) -> dict[str, Any] | None:
    """The manifest of a filtered set; None for a folder that is none. `InputError` where its seal does not fit."""
    data, success = folder.read(MANIFEST), folder.read(SUCCESS)
    try:
        fields = read_json(data) if data is not None else None
    except ValueError:
        return None
    if not isinstance(fields, dict) or "filtered" not in fields:
        return None
    if success is None or success.strip() != hashlib.sha256(data or b"").hexdigest().encode():
        raise InputError(f"{folder}/{MANIFEST} was changed after the set was made; filter the pictures again")
    return fields


def verify_filtered(folder: Folder, manifest: Mapping[str, Any], *, quiet: bool = False) -> tuple[int, int]:
    """Read a filtered set and check it all; how many parts and pictures it has.

    Files are compared with their checksums, ids and samples must differ, pictures and label maps must be whole and of
    one size, and say where they come from if those of their job did. Raises `InputError` that names the first thing
    that is wrong.
    """
    parts = manifest["parts"]
    seen: set[tuple[str, int]] = set()
    with ProgressBar(total=manifest["images"], unit="image", desc="verify", disable=quiet) as bar:
        for part in parts:
            where = f"{folder}/{part['name']}"
            if folder.size(part["name"]) != part["bytes"] or folder.sha256(part["name"]) != part["sha256"]:
                raise InputError(f"{where} is not the file that was written; filter the pictures again")
            _check_part(folder, part["name"], seen, bar)
    strangers = {name for name in folder.names() if name.endswith(".parquet")} - {part["name"] for part in parts}
    if strangers:
        raise InputError(f"{folder} holds {min(strangers)}, which the manifest does not know; remove it")
    return len(parts), len(seen)


def _check_part(folder: Folder, name: str, seen: set[tuple[str, int]], bar: ProgressBar) -> None:
    where = f"{folder}/{name}"
    try:
        with folder.open(name) as source:
            file = pq.ParquetFile(source)
            made = _made_by(ParquetFile.open(where) if folder.local else None)
            columns = [column for column in ("id", "sample", "image", "label") if column in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=32, columns=columns):
                for row in batch.to_pylist():
                    _check_row(where, row, made, seen)
                    bar.update()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{where} cannot be read: {first_line(error)}") from None


def _made_by(file: ParquetFile | None) -> bytes | None:
    """The packet that the pictures of a file carry; None where its job had none."""
    made = file.info.preprocessing.get("synthesis") if file and file.info else None
    if not isinstance(made, dict) or made.get("provenance") != XMP:
        return None
    return Provenance(str(made.get("checkpoint")), int(made.get("seed", 0))).packet()


def _check_row(where: str, row: Mapping[str, Any], packet: bytes | None, seen: set[tuple[str, int]]) -> None:
    name, key = f"{where}: id '{record_key(row)}'", (row["id"], row.get("sample") or 0)
    if key in seen:
        raise InputError(f"{name} is there twice")
    seen.add(key)
    data = picture_bytes(row["image"])
    if data is None:
        raise InputError(f"{name} has no image")
    try:
        image = decode_image(data)
        label = None if row.get("label") is None else decode_label(picture_bytes(row["label"]) or b"")
    except InputError as error:
        raise InputError(f"{name} {error}") from None
    if label is not None and image.shape[:2] != label.shape:
        raise InputError(f"{name}: its picture and its label map are of different sizes")
    if packet is not None and read_xmp(data) != packet:
        raise InputError(f"{name} does not say where it comes from (its XMP packet is missing, or another)")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
