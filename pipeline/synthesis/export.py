"""A finished job's pictures and label maps once more, as plain files or as tar shards of the WebDataset kind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from pipeline.data.encoders import EXTENSIONS, PictureFormat
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_records import ShardRecord

ExportKind = Literal["folder", "webdataset"]
NAME_LENGTH = 120
"""File names may have 255 bytes; this leaves room for suffixes."""


def safe_name(record: str, sample: int, *, several: bool) -> str:
    """A file name for a picture: its id where that is safe on every system, else a cleaned one with a checksum.

    `several` pictures of a label map are told apart by their sample.

    >>> safe_name("frame_7", 0, several=False), safe_name("frame_7", 2, several=True)
    ('frame_7', 'frame_7-s2')
    >>> safe_name("a/b: c", 0, several=False)
    'a_b_c-212e4b10'
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", record)[:NAME_LENGTH]
    # Names that differ in capitals only are one file on some systems.
    if name != record or name != name.lower() or name.startswith("-"):
        name = f"{name.strip('-')}-{hashlib.sha256(record.encode()).hexdigest()[:8]}"
    return f"{name}-s{sample}" if several else name


def export(
    job: JobFolder, records: Sequence[ShardRecord], kind: ExportKind, *, several: bool, picture_format: PictureFormat
) -> None:
    """Write `folder/images` and `folder/labels`, or `webdataset/part-00000.tar` and on, into the job's folder.

    An export that is there already is kept. On this machine it appears whole or not at all.
    """
    local = job.folder.local
    if local is None:
        for name, data in _files(job, records, kind, several, EXTENSIONS[picture_format]):
            job.folder.put(f"{kind}/{name}", data)
        return
    if (local / kind).exists():
        return
    temporary = local / f".{kind}.{os.getpid()}.tmp"
    try:
        for name, data in _files(job, records, kind, several, EXTENSIONS[picture_format]):
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if temporary.exists():
            temporary.replace(local / kind)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(
    job: JobFolder, records: Sequence[ShardRecord], kind: ExportKind, several: bool, extension: str
) -> Iterator[tuple[str, bytes]]:
    for record in records:
        if not record.rows:
            continue
        if kind == "webdataset":
            yield f"{Path(record.name).stem}.tar", _tar(_rows(job, record), several, extension)
            continue
        for row in _rows(job, record):
            name = safe_name(row["id"], row["sample"], several=several)
            yield f"images/{name}{extension}", row["image"]["bytes"]
            yield f"labels/{name}.png", row["label"]["bytes"]


def _tar(rows: Iterator[dict[str, Any]], several: bool, extension: str) -> bytes:
    """A tar of `key.png`, `key.label.png` and `key.json`; the same rows give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            key = safe_name(row["id"], row["sample"], several=several)
            about = {name: row[name] for name in ("id", "sample", "seed", "checkpoint")}
            members = {
                extension: row["image"]["bytes"],
                ".label.png": row["label"]["bytes"],
                ".json": json.dumps(about).encode(),
            }
            for suffix, data in members.items():
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _rows(job: JobFolder, record: ShardRecord) -> Iterator[dict[str, Any]]:
    columns = ["id", "sample", "image", "label", "seed", "checkpoint"]
    with job.folder.open(record.name) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=32, columns=columns):
            yield from batch.to_pylist()
