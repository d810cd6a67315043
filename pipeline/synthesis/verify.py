"""Check a finished batch job: every part against the manifest, and every row and picture in it."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.equal_keys import EqualKeys, digests
from pipeline.data.images import decode_image, decode_label
from pipeline.data.provenance import Provenance, read_xmp
from pipeline.data.records import picture_bytes
from pipeline.data.shards import plan_shards
from pipeline.data.storage import Folder, first_line
from pipeline.errors import InputError
from pipeline.runtime.digits import plural
from pipeline.runtime.progress import ProgressBar
from pipeline.synthesis.filtered import read_filtered, verify_filtered
from pipeline.synthesis.job_folder import JOB, MANIFEST, SUCCESS, JobFolder
from pipeline.synthesis.job_records import Manifest, Planned, Reject, ShardRecord
from pipeline.synthesis.job_repair import check_input, rejects_damage, seal_damage


@dataclass(frozen=True)
class Verified:
    """What a job holds, after everything was found in order."""

    parts: int
    images: int
    rejects: int

    def __str__(self) -> str:
        rejects = f", {self.rejects} {plural('reject', self.rejects)}" if self.rejects else ""
        return f"{self.images} images in {self.parts} {plural('part', self.parts)}{rejects}: complete and intact"


def verify(location: str, *, source: str | None = None, quiet: bool = False) -> Verified:
    """Re-read a job's output and check it all: `_SUCCESS`, manifest, checksums, rows, ids, pictures and their sizes.

    What `filter` wrote is checked as far as its own manifest goes. With the job's input as `source` also that each part
    was made of the rows that are there now. Raises `InputError` that names the first thing that is wrong.
    """
    job = JobFolder(location)
    folder = job.folder
    filtered = read_filtered(folder) if folder.size(JOB) is None else None
    if filtered is not None:
        if source is not None:
            raise InputError(f"{location} was filtered; verify the job that it came from with --input")
        return Verified(*verify_filtered(folder, filtered, quiet=quiet), 0)
    manifest = _manifest(job)
    _check_files(folder, manifest.parts)
    planned = job.planned()
    parts = [record for record in manifest.parts if record.rows]
    with (
        EqualKeys() as keys,
        ProgressBar(total=manifest.images, unit="image", desc="verify", disable=quiet) as bar,
    ):
        for record in parts:
            _check_part(folder, record, planned, keys, bar)
        _check_keys(folder, parts, keys)
    rejects = [reject for record in manifest.parts for reject in record.rejects]
    _check_counts(folder, manifest, planned, rejects)
    if damage := rejects_damage(job, rejects):
        raise InputError(f"{damage}; run the same synthesize command again")
    if source is not None:
        _check_input(job, manifest, planned, source, quiet=quiet)
    return Verified(len(parts), sum(record.rows for record in parts), len(rejects))


def _check_input(job: JobFolder, manifest: Manifest, planned: Planned, source: str, *, quiet: bool) -> None:
    columns = planned.columns
    plan = plan_shards(
        source,
        images_per_row=planned.samples or 1,
        label_column=columns.label,
        id_column=columns.id,
        instance_column=columns.instance,
        style_column=columns.style,
        samples_column=columns.samples,
    )
    theirs = f"{plan.rows} label maps for {plan.images} images in {len(plan.shards)} shards"
    ours = f"{planned.label_maps} for {planned.images} in {planned.shards}"
    if (plan.rows, plan.images, len(plan.shards)) != (planned.label_maps, planned.images, planned.shards):
        raise InputError(f"{source} has {theirs}, the job {ours}; give the input that it was made of")
    if not all(record.input_sha256 for record in manifest.parts):
        raise InputError(f"{job.folder} was made by a version that kept no checksums of the input; leave out --input")
    check_input(job, {record.name: record for record in manifest.parts}, plan.shards, columns, quiet=quiet)


def _manifest(job: JobFolder) -> Manifest:
    if not job.finished:
        hint = "no job is there"
        if job.folder.size(JOB) is not None:
            hint = "the job is not finished; run the same synthesize command again"
        raise InputError(f"{job.folder} has no {SUCCESS}: {hint}")
    if damage := seal_damage(job):
        raise InputError(f"{damage}; run the same synthesize command again")
    return job.manifest()


def _check_files(folder: Folder, records: Sequence[ShardRecord]) -> None:
    expected = {record.name for record in records if record.rows}
    found = {name for name in folder.names() if name.endswith(".parquet")}
    if missing := sorted(expected - found):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(f"{folder} lacks {missing[0]}{more}; run the same synthesize command again")
    if strangers := sorted(found - expected):
        raise InputError(f"{folder} holds {strangers[0]}, which the manifest does not know; remove it")


def _check_part(folder: Folder, record: ShardRecord, planned: Planned, keys: EqualKeys, bar: ProgressBar) -> None:
    where = f"{folder}/{record.name}"
    if folder.size(record.name) != record.bytes or folder.sha256(record.name) != record.sha256:
        raise InputError(
            f"{where} is not the file that was written (its checksum differs); run the same synthesize command again"
        )
    rows, found = 0, []
    packet = Provenance(planned.checkpoint, planned.seed).packet() if planned.provenance else None
    for row in _rows(folder, record):
        name = f"{where}: id '{row['id']}', sample {row['sample']}"
        found.append(f"{row['sample']}\x1f{row['id']}")
        for column in ("seed", "checkpoint"):
            if row[column] != getattr(planned, column):
                raise InputError(f"{name} has {column} {row[column]}, the job has {getattr(planned, column)}")
        try:
            image, label = decode_image(_bytes(row, "image")), decode_label(_bytes(row, "label"))
        except InputError as error:
            raise InputError(f"{name} {error}") from None
        if packet is not None and read_xmp(_bytes(row, "image")) != packet:
            raise InputError(
                f"{name} does not say where it comes from (its XMP packet is missing, or another); make the job again"
            )
        if image.shape[:2] != label.shape:
            raise InputError(
                f"{name} is {image.shape[1]}x{image.shape[0]}, its label map {label.shape[1]}x{label.shape[0]}"
            )
        rows += 1
        bar.update()
    if rows != record.rows:
        raise InputError(f"{where} has {rows} rows, the manifest says {record.rows}")
    keys.add(digests(found))


def _check_keys(folder: Folder, records: Sequence[ShardRecord], keys: EqualKeys) -> None:
    """No id has a sample twice."""
    later, _ = keys.find()
    if not len(later):
        return
    ends = list(itertools.accumulate(record.rows for record in records))
    record = records[number := bisect_right(ends, int(later[0]))]
    row = next(itertools.islice(_rows(folder, record), int(later[0]) - ends[number] + record.rows, None))
    raise InputError(f"{folder}/{record.name}: id '{row['id']}', sample {row['sample']} is there twice")


def _bytes(row: dict[str, Any], column: str) -> bytes:
    data = picture_bytes(row[column])
    if not isinstance(data, bytes):
        raise InputError(f"has no {column}")
    return data


def _rows(folder: Folder, record: ShardRecord) -> Iterator[dict[str, Any]]:
    columns = ["id", "sample", "image", "label", "seed", "checkpoint"]
    try:
        with folder.open(record.name) as file:
            parquet = pq.ParquetFile(file)
            if missing := [column for column in columns if column not in parquet.schema_arrow.names]:
                raise InputError(f"{folder}/{record.name} lacks the column {missing[0]}; make the job again")
            for batch in parquet.iter_batches(batch_size=32, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{folder}/{record.name} cannot be read: {first_line(error)}") from None


def _check_counts(folder: Folder, manifest: Manifest, planned: Planned, rejects: Sequence[Reject]) -> None:
    """Every label map of the plan is there as pictures or as a reject."""
    images = sum(record.rows for record in manifest.parts)
    lost = sum(reject.samples or 0 if planned.samples is None else planned.samples for reject in rejects)
    if len(manifest.parts) != planned.shards or images + lost != planned.images:
        raise InputError(
            f"{folder} has {images} images and {len(rejects)} rejects of {planned.label_maps} label maps, which "
            f"should have {planned.images} images"
        )
    if (images, len(rejects)) != (manifest.images, manifest.rejects):
        raise InputError(f"{folder}/{MANIFEST} counts {manifest.images} images and {manifest.rejects} rejects")
