"""The output folder of a batch job: what makes a job the same job, which shards are done, and who may write.

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

import fcntl
import hashlib
import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from pipeline.data.shards import Columns, Shard, digest_shard
from pipeline.data.storage import Folder, first_line
from pipeline.errors import InputError

log = logging.getLogger(__name__)

JOB, MANIFEST, SUCCESS, REJECTS = "_job/job.json", "manifest.json", "_SUCCESS", "_job/rejects.parquet"
RECORDS = "_job/shards"
COLUMNS = ("label", "id", "instance", "style", "samples")
ORPHANS_SECONDS = 90.0
"""How long to wait for the workers of a job whose driver died; Ray ends them within seconds."""


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
        texts = {name: _field(fields, name, str) for name in ("source", "reason")}
        samples = _count(fields, "samples") if "samples" in fields else None
        return cls(id=_field(fields, "id", (str, type(None))), row=_field(fields, "row", int), samples=samples, **texts)


@dataclass(frozen=True)
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

    def to_json(self) -> dict[str, Any]:
        """For the record's file."""
        return {**asdict(self), "rejects": [reject.to_json() for reject in self.rejects]}

    @classmethod
    def from_json(cls, fields: Any) -> ShardRecord:
        """What `to_json` gave; `ValueError` where it is something else."""
        name = _field(fields, "name", str)
        if not re.fullmatch(r"part-\d{5,}\.parquet", name):
            raise ValueError(f"its 'name' is {_short(name)}")
        return cls(
            name=name,
            rows=_count(fields, "rows"),
            sha256=_field(fields, "sha256", str),
            bytes=_count(fields, "bytes"),
            rejects=tuple(Reject.from_json(reject) for reject in _field(fields, "rejects", (list, tuple))),
            input_sha256=_field({"input_sha256": "", **fields}, "input_sha256", str),
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
        parts = tuple(ShardRecord.from_json(part) for part in _field(fields, "parts", list))
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

    @classmethod
    def from_json(cls, fields: Any) -> Planned:
        """Of a job's description; `ValueError` where it is none."""
        settings, source = _field(fields, "settings", dict), _field(fields, "input", dict)
        maps = sum(_count(file, "rows") for file in _field(source, "files", list))
        given = {"samples": None, **_field(source, "columns", dict)}
        columns = Columns(**{name: _field(given, name, (str, type(None))) for name in COLUMNS})
        samples = _count(settings, "samples") if columns.samples is None else None
        images = _count(source, "images") if samples is None else maps * samples
        seed, checkpoint = _field(settings, "seed", int), _field(settings, "checkpoint", str)
        return cls(maps, samples, images, _count(source, "shards"), seed, checkpoint, columns)


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
            found = _parse(text)
            for part in ("settings", "input"):
                _field(found, part, dict)
        except ValueError as error:
            raise InputError(f"{self.folder}/{JOB} is damaged ({error}); give a new folder") from None
        if differences := _differences(found, json.loads(json.dumps(description))):
            raise InputError(f"{self.folder} holds another job: {'; '.join(differences[:4])}; give a new folder")

    def claim(self, description: Mapping[str, Any]) -> None:
        """Make the folder this job's; `refuse_another` decides whether it may be."""
        self.refuse_another(description)
        if self.folder.size(JOB) is None:
            self.folder.put(JOB, (json.dumps(description, indent=1) + "\n").encode())

    @property
    def finished(self) -> bool:
        """Whether the whole job is done."""
        return self.folder.size(SUCCESS) is not None

    def planned(self) -> Planned:
        """What the job must come to; `InputError` where its description is missing or damaged."""
        try:
            return Planned.from_json(_parse(self.folder.read(JOB)))
        except ValueError as error:
            raise InputError(f"{self.folder}/{JOB} is damaged ({error}); make the job again in a new folder") from None

    def manifest(self) -> Manifest:
        """The manifest, which need not be the one that the job was finished with; `InputError` if it is damaged."""
        try:
            return Manifest.from_json(_parse(self.folder.read(MANIFEST)))
        except ValueError as error:
            raise InputError(
                f"{self.folder}/{MANIFEST} is damaged ({error}); run the same synthesize command again"
            ) from None

    def seal_damage(self) -> str | None:
        """Why `_SUCCESS` does not vouch for the manifest; None if it does."""
        success, manifest = self.folder.read(SUCCESS), self.folder.read(MANIFEST)
        if success is None or not re.fullmatch(rb"[0-9a-f]{64}", success.strip()):
            return f"{self.folder}/{SUCCESS} is damaged (it holds no checksum)"
        if manifest is None or hashlib.sha256(manifest).hexdigest().encode() != success.strip():
            return f"{self.folder}/{MANIFEST} is missing, or was changed after the job was finished"
        return None

    def rejects_damage(self, rejects: Sequence[Reject]) -> str | None:
        """Why the table of rejects is not that of the manifest; None if it is."""
        if not rejects:
            return None
        where = f"{self.folder}/{REJECTS}"
        if self.folder.size(REJECTS) is None:
            return f"{where} is missing; the manifest counts {len(rejects)} rejects"
        try:
            with self.folder.open(REJECTS) as file:
                listed = pq.read_table(file).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            return f"{where} is damaged ({first_line(error)})"
        if listed != [reject.to_json() for reject in rejects]:
            return f"{where} is damaged ({len(listed)} rows, which are not the manifest's {len(rejects)} rejects)"
        return None

    def records(self) -> dict[str, ShardRecord]:
        """Shards that are done, by the name of their part. A record that is damaged counts as none."""
        if self.finished:
            return {record.name: record for record in self.manifest().parts}
        found = {}
        for name in self.folder.names(RECORDS):
            if not name.endswith(".json") or name.startswith("."):
                continue
            try:
                record = ShardRecord.from_json(_parse(self.folder.read(f"{RECORDS}/{name}")))
                if _record_name(record.name) != f"{RECORDS}/{name}":
                    raise ValueError(f"it is of {record.name}")
            except ValueError as error:
                log.warning("%s/%s/%s is damaged (%s); its part is made again", self.folder, RECORDS, name, error)
                continue
            if not record.rows or self.folder.size(record.name) == record.bytes:
                found[record.name] = record
        return found

    def reopen(self, full: Mapping[str, int], *, quiet: bool = True) -> None:
        """Make a finished job that something happened to an unfinished one, in which the intact parts are done.

        `full` has the images of each part of the plan as they are where no row is rejected. Every part is read and
        compared with its checksum. Without a manifest to rely on, a part counts whose checksum is still found there
        and which has all its images; one with rejects does not, as nothing else knows them. To be called under the
        driver lock. A kill at any moment loses nothing: the records are back before `_SUCCESS` goes.
        """
        if not self.finished:
            return
        damage = self.seal_damage()
        records: list[ShardRecord] = []
        try:
            records = [record for record in self.manifest().parts if record.name in full]
        except InputError as error:
            damage = damage or str(error)
        if damage:
            records = [record for record in records if not record.rejects and record.rows == full[record.name]]
        else:
            damage = self.rejects_damage([reject for record in records for reject in record.rejects])
        intact = self._intact(records, quiet=quiet)
        if lost := [name for name in full if name not in intact]:
            log.warning(
                "%s was finished, and %d of its %d parts cannot be relied on; making them again, the first is %s",
                self.folder,
                len(lost),
                len(full),
                lost[0],
            )
        elif damage:
            log.warning("%s; writing it again", damage)
        else:
            return
        for name in self.folder.names(RECORDS):
            self.folder.delete(f"{RECORDS}/{name}")
        for record in intact.values():
            self._put_record(record)
        self.folder.delete(SUCCESS)

    def _intact(self, records: Sequence[ShardRecord], *, quiet: bool) -> dict[str, ShardRecord]:
        """Those whose part is as it was written."""

        def check(record: ShardRecord) -> bool:
            if not record.rows:
                return True
            return self.folder.size(record.name) == record.bytes and self.folder.sha256(record.name) == record.sha256

        with (
            ThreadPoolExecutor(8) as pool,
            tqdm(total=len(records), unit="part", desc="check", delay=5, disable=quiet) as bar,
        ):
            found = {}
            for record, whole in zip(records, pool.map(check, records), strict=True):
                if whole:
                    found[record.name] = record
                bar.update()
        return found

    def check_input(
        self, records: Mapping[str, ShardRecord], shards: Sequence[Shard], columns: Columns, *, quiet: bool = True
    ) -> None:
        """Compare what finished parts were made of with the input as it is now; `InputError` names what has changed.

        All rows of these shards are read again. Records of earlier versions do not say what they were made of.
        """
        known = [shard for shard in shards if shard.name in records and records[shard.name].input_sha256]
        with (
            ThreadPoolExecutor(8) as pool,
            tqdm(total=len(known), unit="shard", desc="check input", delay=5, disable=quiet) as bar,
        ):
            for shard, digest in zip(known, pool.map(lambda shard: digest_shard(shard, columns), known), strict=True):
                if digest != records[shard.name].input_sha256:
                    raise InputError(
                        f"rows {shard.start} to {shard.stop - 1} of {shard.file.path} are not those that "
                        f"{self.folder}/{shard.name} was made of; put the old input back, or give a new folder"
                    )
                bar.update()

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
        self, shard: Shard, part: Path, rows: int, rejects: tuple[Reject, ...], *, input_sha256: str
    ) -> ShardRecord:
        """A worker's finished part: first the part, then its record. A part without rows is not kept."""
        record = ShardRecord(shard.name, 0, "", 0, rejects, input_sha256)
        if rows:
            size = part.stat().st_size
            self.folder.publish(shard.name, part)
            record = ShardRecord(shard.name, rows, self.folder.sha256(shard.name), size, rejects, input_sha256)
        self._put_record(record)
        return record

    def _put_record(self, record: ShardRecord) -> None:
        self.folder.put(_record_name(record.name), (json.dumps(record.to_json()) + "\n").encode())

    def write_manifest(self, records: list[ShardRecord]) -> None:
        """All shards are done: the rejects, and the manifest."""
        rejects = [reject for record in records for reject in record.rejects]
        if rejects:
            self.folder.put(REJECTS, _rejects_table(rejects))
        totals = {"images": sum(record.rows for record in records), "rejects": len(rejects)}
        manifest = {"version": 1, **totals, "parts": [record.to_json() for record in records]}
        self.folder.put(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def succeed(self) -> None:
        """Everything is there: write `_SUCCESS`, and remove the records that the manifest replaces."""
        self.folder.put(SUCCESS, (self.folder.sha256(MANIFEST) + "\n").encode())
        self.tidy()

    def tidy(self) -> None:
        """Remove what a killed worker left half-written, and the records that the manifest has replaced."""
        for subfolder in ("", "_job", RECORDS):
            for name in self.folder.names(subfolder):
                if name.startswith(".") and name.endswith(".tmp"):
                    self.folder.delete(f"{subfolder}/{name}" if subfolder else name)
        for unfinished in self.folder.local.glob(".*.tmp") if self.folder.local else ():  # An export, then.
            shutil.rmtree(unfinished)
        if self.finished:
            for name in self.folder.names(RECORDS):
                self.folder.delete(f"{RECORDS}/{name}")

    def abandon(self) -> None:
        """After an error: finished shards stay for the next try; a folder without any is removed.

        A part without a record keeps the job too: without its `job.json` it would be nobody's, and be refused.
        """
        local = self.folder.local
        if not local:
            if not self._begun():
                self.folder.delete(JOB)
            return
        if not local.is_dir():
            return
        with self._file("workers.lock") as workers:
            if not _lock(workers, fcntl.LOCK_EX, wait=5):
                return  # The next run will tidy up.
            self.tidy()
            if self._begun():
                return
            for name in (JOB, "_job/driver.lock", "_job/workers.lock", "_job/token"):
                self.folder.delete(name)
            for empty in (local / RECORDS, local / "_job", local):
                if empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()

    def _begun(self) -> bool:
        return self.finished or bool(self.records()) or any(name.endswith(".parquet") for name in self.folder.names())

    @contextmanager
    def driver_lock(self) -> Iterator[str]:
        """Be the only driver of this folder, after any orphaned workers of a dead one have ended; gives a token.

        An object store has no locks and needs none: parts are put in one piece, and whoever writes one writes the
        same bytes.
        """
        token = uuid.uuid4().hex
        if not self.folder.local:
            yield token
            return
        with self._file("driver.lock") as driver:
            if not _lock(driver, fcntl.LOCK_EX, wait=0):
                raise InputError(f"another job is writing into {self.folder}; wait for it, or stop it")
            with self._file("workers.lock") as workers:
                if not _lock(workers, fcntl.LOCK_EX, wait=ORPHANS_SECONDS):
                    raise InputError(f"workers of an earlier job still write into {self.folder}; stop them")
                self.folder.put("_job/token", token.encode())
                self.tidy()
            yield token

    @contextmanager
    def worker_lock(self, token: str) -> Iterator[None]:
        """Be one of the workers of the driver with that token, for as long as anything is written."""
        if not self.folder.local:
            yield
            return
        with self._file("workers.lock") as workers:
            # The driver itself holds this lock for a moment at its start, and may be a new one.
            assert _lock(workers, fcntl.LOCK_SH, wait=ORPHANS_SECONDS), "the driver keeps its workers out"
            if self.folder.read("_job/token") != token.encode():
                raise RuntimeError("this worker belongs to a job that has ended")
            yield

    def _file(self, name: str) -> BufferedRandom:
        assert self.folder.local
        path = self.folder.local / "_job" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")


def _lock(file: BufferedRandom, kind: int, *, wait: float) -> bool:
    """Lock a file (the system unlocks it when the process ends, however that is); False after `wait` seconds."""
    end, told = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            if not told:
                log.warning("waiting for the workers of an earlier run to end (they hold %s)", file.name)
                told = True
            time.sleep(0.1)


def _record_name(part: str) -> str:
    return f"{RECORDS}/{Path(part).stem}.json"


def _parse(text: bytes | None) -> Any:
    """JSON; `ValueError` with a few words where it is none."""
    if text is None:
        raise ValueError("it is missing")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None


def _field(fields: Any, name: str, kind: type | tuple[type, ...]) -> Any:
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
    value = _field(fields, name, int)
    if value < 0:
        raise ValueError(f"its '{name}' is {value}")
    return value


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Where two descriptions differ, as `seed is 1 there and 2 here`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [*wanted, *(key for key in found if key not in wanted)]
        parts = (_differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key) for key in keys)
        return [difference for part in parts for difference in part]
    if found == wanted:
        return []
    return [f"{name} is {_short(found)} there and {_short(wanted)} here"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _rejects_table(rejects: list[Reject]) -> bytes:
    fields = [("id", pa.string()), ("source", pa.string()), ("row", pa.int64()), ("reason", pa.string())]
    if rejects[0].samples is not None:  # Then all of them have it.
        fields.append(("samples", pa.int64()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([reject.to_json() for reject in rejects], schema=pa.schema(fields)), sink)
    return sink.getvalue().to_pybytes()
