"""What of a job's folder can still be relied on: its manifest, its rejects, its parts, and the input they came from."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.input_digest import digest_shard
from pipeline.data.shards import Columns, Shard
from pipeline.data.storage import first_line
from pipeline.errors import InputError
from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.stages import in_order
from pipeline.synthesis.job_folder import MANIFEST, REJECTS, SUCCESS, JobFolder
from pipeline.synthesis.job_records import Reject, ShardRecord

log = logging.getLogger(__name__)


def reopen(job: JobFolder, full: Mapping[str, int], *, quiet: bool = True) -> None:
    """Make a finished job that something happened to an unfinished one, in which the intact parts are done.

    `full` has the images of each part of the plan as they are where no row is rejected. Every part is read and
    compared with its checksum. Without a manifest to rely on, a part counts whose checksum is still found there
    and which has all its images; one with rejects does not, as nothing else knows them. To be called under the
    driver lock. A kill at any moment loses nothing: the records are back before `_SUCCESS` goes.
    """
    if not job.finished:
        return
    damage = seal_damage(job)
    records: list[ShardRecord] = []
    try:
        records = [record for record in job.manifest().parts if record.name in full]
    except InputError as error:
        damage = damage or str(error)
    if damage:
        records = [record for record in records if not record.rejects and record.rows == full[record.name]]
    else:
        damage = rejects_damage(job, [reject for record in records for reject in record.rejects])
    intact = _intact(job, records, quiet=quiet)
    if lost := [name for name in full if name not in intact]:
        log.warning(
            "%s was finished, and %d of its %d parts cannot be relied on; making them again, the first is %s",
            job.folder,
            len(lost),
            len(full),
            lost[0],
        )
    elif damage:
        log.warning("%s; writing it again", damage)
    else:
        return
    job.clear_records()
    for record in intact.values():
        job.put_record(record)
    job.folder.delete(SUCCESS)


def _intact(job: JobFolder, records: Sequence[ShardRecord], *, quiet: bool) -> dict[str, ShardRecord]:
    """Those whose part is as it was written."""

    def check(record: ShardRecord) -> bool:
        if not record.rows:
            return True
        return job.folder.size(record.name) == record.bytes and job.folder.sha256(record.name) == record.sha256

    with (
        ThreadPoolExecutor(8) as pool,
        ProgressBar(total=len(records), unit="part", desc="check", delay=5, disable=quiet) as bar,
    ):
        found = {}
        for record, whole in zip(records, pool.map(check, records), strict=True):
            if whole:
                found[record.name] = record
            bar.update()
    return found


def check_input(
    job: JobFolder, records: Mapping[str, ShardRecord], shards: Sequence[Shard], columns: Columns, *, quiet: bool = True
) -> None:
    """Compare what finished parts were made of with the input as it is now; `InputError` names what has changed.

    The rows of these shards are read again, but for those in files that have the size and the time of change that they
    had when the part was made. Records of earlier versions do not say what they were made of.
    """
    known = [shard for shard in shards if shard.name in records and records[shard.name].input_sha256]
    known = [shard for shard in known if not shard.file.stamp or shard.file.stamp != records[shard.name].input_stamp]
    with (
        ThreadPoolExecutor(8) as pool,
        ProgressBar(total=len(known), unit="shard", desc="check input", delay=5, disable=quiet) as bar,
    ):
        # A few shards ahead, so that the futures of the rest do not pile up.
        for shard, digest in zip(
            known, in_order(pool, lambda shard: digest_shard(shard, columns), known, ahead=16), strict=True
        ):
            if digest != records[shard.name].input_sha256:
                raise InputError(
                    f"rows {shard.start} to {shard.stop - 1} of {shard.file.path} are not those that "
                    f"{job.folder}/{shard.name} was made of; put the old input back, or give a new folder"
                )
            bar.update()


def seal_damage(job: JobFolder) -> str | None:
    """Why `_SUCCESS` does not vouch for the manifest; None if it does."""
    success, manifest = job.folder.read(SUCCESS), job.folder.read(MANIFEST)
    if success is None or not re.fullmatch(rb"[0-9a-f]{64}", success.strip()):
        return f"{job.folder}/{SUCCESS} is damaged (it holds no checksum)"
    if manifest is None or hashlib.sha256(manifest).hexdigest().encode() != success.strip():
        return f"{job.folder}/{MANIFEST} is missing, or was changed after the job was finished"
    return None


def rejects_damage(job: JobFolder, rejects: Sequence[Reject]) -> str | None:
    """Why the table of rejects is not that of the manifest; None if it is."""
    if not rejects:
        return None
    where = f"{job.folder}/{REJECTS}"
    if job.folder.size(REJECTS) is None:
        return f"{where} is missing; the manifest counts {len(rejects)} rejects"
    try:
        with job.folder.open(REJECTS) as file:
            listed = pq.read_table(file).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"{where} is damaged ({first_line(error)})"
    if listed != [reject.to_json() for reject in rejects]:
        return f"{where} is damaged ({len(listed)} rows, which are not the manifest's {len(rejects)} rejects)"
    return None
