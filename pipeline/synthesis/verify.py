"""Check a finished batch job: every part against the manifest, and every row and picture in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from pipeline.data.images import decode_image, decode_label
from pipeline.data.storage import Folder, first_line
from pipeline.errors import InputError
from pipeline.synthesis.job_folder import JOB, MANIFEST, REJECTS, SUCCESS, JobFolder, ShardRecord


@dataclass(frozen=True)
class Verified:
    """What a job holds, after everything was found in order."""

    parts: int
    images: int
    rejects: int

    def __str__(self) -> str:
        rejects = f", {self.rejects} rejects" if self.rejects else ""
        return f"{self.images} images in {self.parts} parts{rejects}: complete and intact"


def verify(location: str, *, quiet: bool = False) -> Verified:
    """Re-read a job's output and check it all: `_SUCCESS`, manifest, checksums, rows, ids, pictures and their sizes.

    Raises `InputError` that names the first thing that is wrong.
    """
    job = JobFolder(location)
    folder = job.folder
    manifest = _manifest(folder)
    records = [ShardRecord.from_json(fields) for fields in manifest["parts"]]
    _check_files(folder, records)
    settings = json.loads(folder.read(JOB) or b"{}").get("settings", {})
    seen: set[bytes] = set()
    with tqdm(total=manifest["images"], unit="image", desc="verify", disable=quiet) as bar:
        for record in records:
            if record.rows:
                _check_part(folder, record, settings, seen, bar)
    rejects = [reject for record in records for reject in record.rejects]
    _check_counts(folder, manifest, records, len(rejects))
    return Verified(sum(record.rows > 0 for record in records), len(seen), len(rejects))


def _manifest(folder: Folder) -> dict[str, Any]:
    success, manifest = folder.read(SUCCESS), folder.read(MANIFEST)
    if success is None:
        hint = (
            "the job is not finished; run the same synthesize command again" if folder.size(JOB) else "no job is there"
        )
        raise InputError(f"{folder} has no {SUCCESS}: {hint}")
    if manifest is None or hashlib.sha256(manifest).hexdigest() != success.decode().strip():
        raise InputError(f"{folder}/{MANIFEST} is missing, or was changed after the job was finished")
    return json.loads(manifest)


def _check_files(folder: Folder, records: list[ShardRecord]) -> None:
    expected = {record.name for record in records if record.rows}
    found = {name for name in folder.names() if name.endswith(".parquet")}
    if missing := sorted(expected - found):
        raise InputError(f"{folder} lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    if strangers := sorted(found - expected):
        raise InputError(f"{folder} holds {strangers[0]}, which the manifest does not know; remove it")


def _check_part(folder: Folder, record: ShardRecord, settings: dict[str, Any], seen: set[bytes], bar: tqdm) -> None:
    where = f"{folder}/{record.name}"
    if folder.size(record.name) != record.bytes or folder.sha256(record.name) != record.sha256:
        raise InputError(f"{where} is not the file that was written (its checksum differs); make the job again")
    rows = 0
    for row in _rows(folder, record):
        name = f"{where}: id '{row['id']}', sample {row['sample']}"
        key = hashlib.blake2b(f"{row['sample']}\x1f{row['id']}".encode(), digest_size=16).digest()
        if key in seen:
            raise InputError(f"{name} is there twice")
        seen.add(key)
        for column in ("seed", "checkpoint"):
            if column in settings and row[column] != settings[column]:
                raise InputError(f"{name} has {column} {row[column]}, the job has {settings[column]}")
        try:
            image, label = decode_image(row["image"]["bytes"]), decode_label(row["label"]["bytes"])
        except InputError as error:
            raise InputError(f"{name} {error}") from None
        if image.shape[:2] != label.shape:
            raise InputError(
                f"{name} is {image.shape[1]}x{image.shape[0]}, its label map {label.shape[1]}x{label.shape[0]}"
            )
        rows += 1
        bar.update()
    if rows != record.rows:
        raise InputError(f"{where} has {rows} rows, the manifest says {record.rows}")


def _rows(folder: Folder, record: ShardRecord) -> Iterator[dict[str, Any]]:
    columns = ["id", "sample", "image", "label", "seed", "checkpoint"]
    try:
        with folder.open(record.name) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=32, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{folder}/{record.name} cannot be read: {first_line(error)}") from None


def _check_counts(folder: Folder, manifest: dict[str, Any], records: list[ShardRecord], rejects: int) -> None:
    """Every label map of the plan is there as pictures or as a reject."""
    job = json.loads(folder.read(JOB) or b"{}")
    images = sum(record.rows for record in records)
    maps = sum(file["rows"] for file in job["input"]["files"])
    samples = job["settings"]["samples"]
    if len(records) != job["input"]["shards"] or images != (maps - rejects) * samples:
        raise InputError(f"{folder} has {images} images and {rejects} rejects of {maps} label maps, {samples} each")
    if (images, rejects) != (manifest["images"], manifest["rejects"]):
        raise InputError(f"{folder}/{MANIFEST} counts {manifest['images']} images and {manifest['rejects']} rejects")
    if rejects and folder.size(REJECTS) is None:
        raise InputError(f"{folder}/{REJECTS} is missing; the manifest counts {rejects} rejects")
    if rejects:
        with folder.open(REJECTS) as file:
            listed = pq.ParquetFile(file).metadata.num_rows
        if listed != rejects:
            raise InputError(f"{folder}/{REJECTS} has {listed} rows, the manifest counts {rejects}")
