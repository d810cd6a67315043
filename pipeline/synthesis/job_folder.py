"""The output folder of a batch job: what makes a job the same job, and which shards are done.

    images/
      part-00000.parquet ...   the images, one part a shard
      manifest.json            every part with its rows and checksum
      _SUCCESS                 the manifest's checksum; written last
      summary.json, contact_sheet.png
      _job/job.json            what the job is; another job is refused
      _job/shards/             a record for each finished shard, until the manifest takes their place
      _job/rejects.parquet     rows that could not be used, and why

A part counts as finished when its record is there, and the record is written after the part. Parts depend on nothing
but the job and its input, so a shard that is done twice is the same shard. A finished job that is started again checks
its parts, and makes those again that are gone or damaged.
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.shards import Shard
from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.synthesis.job_records import (
    Manifest,
    Planned,
    Reject,
    ShardRecord,
    differences,
    field,
    parse,
    rejects_table,
)

log = logging.getLogger(__name__)

JOB, MANIFEST, SUCCESS, REJECTS = "_job/job.json", "manifest.json", "_SUCCESS", "_job/rejects.parquet"
RECORDS = "_job/shards"


class JobFolder:
    """A job's output; pickles to its location, and workers open it for themselves."""

    def __init__(self, location: str | Path) -> None:
        self.folder = Folder(location)

    def refuse_another(self, description: Mapping[str, Any]) -> None:
        """Raise `InputError` if the folder holds anything but this job, naming what differs. Writes nothing."""
        text = self.folder.read(JOB)
        if text is None:
            strangers = [name for name in self.folder.names() if name.endswith(".parquet") or name == SUCCESS]
            if strangers:
                raise InputError(f"{self.folder} holds {strangers[0]}, which no synthesis wrote; give a new folder")
            return
        try:
            found = parse(text)
            for part in ("settings", "input"):
                field(found, part, dict)
        except ValueError as error:
            raise InputError(f"{self.folder}/{JOB} is damaged ({error}); give a new folder") from None
        if others := differences(found, json.loads(json.dumps(description))):
            raise InputError(f"{self.folder} holds another job: {'; '.join(others[:4])}; give a new folder")

    def claim(self, description: Mapping[str, Any]) -> None:
        """Make the folder this job's; `refuse_another` decides whether it may be, and raises `InputError`."""
        self.refuse_another(description)
        if self.folder.size(JOB) is None:
            self.folder.put(JOB, (json.dumps(description, indent=1) + "\n").encode())

    @property
    def finished(self) -> bool:
        """Whether the whole job is done."""
        return self.folder.size(SUCCESS) is not None

    @property
    def begun(self) -> bool:
        """Whether anything of the job is there: then its `job.json` must stay, without which parts are nobody's."""
        return self.finished or any(name.endswith(".parquet") for name in self.folder.sizes()) or bool(self.records())

    @property
    def begun_without_provenance(self) -> bool:
        """Whether an earlier version began the job, whose pictures do not say where they come from: all stay so."""
        try:
            return self.folder.size(JOB) is not None and self.planned().provenance is None
        except InputError:
            return False  # damaged: told where the job is claimed

    def planned(self) -> Planned:
        """What the job must come to; `InputError` where its description is missing or damaged."""
        try:
            return Planned.from_json(parse(self.folder.read(JOB)))
        except ValueError as error:
            raise InputError(f"{self.folder}/{JOB} is damaged ({error}); make the job again in a new folder") from None

    def manifest(self) -> Manifest:
        """The manifest, which need not be the one that the job was finished with; `InputError` if it is damaged."""
        try:
            return Manifest.from_json(parse(self.folder.read(MANIFEST)))
        except ValueError as error:
            raise InputError(
                f"{self.folder}/{MANIFEST} is damaged ({error}); run the same synthesize command again"
            ) from None

    def records(self) -> dict[str, ShardRecord]:
        """Shards that are done, by the name of their part. A record that is damaged counts as none."""
        if self.finished:
            return {record.name: record for record in self.manifest().parts}
        found = {}
        parts = self.folder.sizes()
        names = [name for name in self.folder.names(RECORDS) if name.endswith(".json") and not name.startswith(".")]
        for name, text in zip(names, self.folder.read_all([f"{RECORDS}/{name}" for name in names]), strict=True):
            try:
                record = ShardRecord.from_json(parse(text))
                if _record_name(record.name) != f"{RECORDS}/{name}":
                    raise ValueError(f"it is of {record.name}")
            except ValueError as error:
                log.warning("%s/%s/%s is damaged (%s); its part is made again", self.folder, RECORDS, name, error)
                continue
            if not record.rows or parts.get(record.name) == record.bytes:
                found[record.name] = record
        return found

    def read_parts(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of all parts that are done, in order; only some `columns` of them, where they are named."""
        tables = []
        for name in sorted(name for name, record in self.records().items() if record.rows):
            with self.folder.open(name) as file:
                tables.append(pq.ParquetFile(file).read(columns=None if columns is None else list(columns)))
        return pa.concat_tables(tables) if tables else pa.table({})

    @contextmanager
    def scratch(self, shard: Shard) -> Iterator[Path]:
        """A path on this machine for a part that is being written: beside its place, if that is on this machine."""
        if self.folder.local:
            path = self.folder.local / f".{shard.name}.{uuid.uuid4().hex}.tmp"
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)
        else:
            with TemporaryDirectory(prefix="spadework-") as folder:
                yield Path(folder) / shard.name

    def publish(
        self,
        shard: Shard,
        part: Path,
        rows: int,
        rejects: tuple[Reject, ...],
        *,
        input_sha256: str,
        input_stamp: str = "",
    ) -> ShardRecord:
        """A worker's finished part: first the part, then its record. A part without rows is not kept."""
        record = ShardRecord(shard.name, 0, "", 0, rejects, input_sha256, input_stamp)
        if rows:
            size = part.stat().st_size
            self.folder.publish(shard.name, part)
            record = replace(record, rows=rows, sha256=self.folder.sha256(shard.name), bytes=size)
        self.put_record(record)
        return record

    def put_record(self, record: ShardRecord) -> None:
        """Write a finished shard's record."""
        self.folder.put(_record_name(record.name), (json.dumps(record.to_json()) + "\n").encode())

    def write_manifest(self, records: list[ShardRecord]) -> None:
        """All shards are done: the rejects, and the manifest."""
        rejects = [reject for record in records for reject in record.rejects]
        if rejects:
            self.folder.put(REJECTS, rejects_table(rejects))
        totals = {"images": sum(record.rows for record in records), "rejects": len(rejects)}
        # Without what the input's file was like: copied elsewhere, it gives the same manifest.
        parts = [replace(record, input_stamp="").to_json() for record in records]
        manifest = {"version": 1, **totals, "parts": parts}
        self.folder.put(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def succeed(self) -> None:
        """Everything is there: write `_SUCCESS`, and remove the records that the manifest replaces."""
        self.folder.put(SUCCESS, (self.folder.sha256(MANIFEST) + "\n").encode())
        self.tidy()

    def tidy(self) -> None:
        """Remove what a killed worker left half-written, and the records that the manifest has replaced."""
        for subfolder in ("", "_job", RECORDS):
            left = [name for name in self.folder.names(subfolder) if name.startswith(".") and name.endswith(".tmp")]
            self.folder.delete_all([f"{subfolder}/{name}" if subfolder else name for name in left])
        for unfinished in self.folder.local.glob(".*.tmp") if self.folder.local else ():  # An export, then.
            shutil.rmtree(unfinished)
        if self.finished:
            self.clear_records()

    def clear_records(self) -> None:
        """Remove the records of all shards."""
        self.folder.delete_all([f"{RECORDS}/{name}" for name in self.folder.names(RECORDS)])


def _record_name(part: str) -> str:
    return f"{RECORDS}/{Path(part).stem}.json"
