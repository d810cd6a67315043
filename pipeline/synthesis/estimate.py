"""What a batch job will take: `synthesize --dry-run`, which makes a few pictures and keeps nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from pipeline.data.shards import Shard
from pipeline.synthesis.job import Job
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_lock import driver_lock
from pipeline.synthesis.job_records import ShardRecord
from pipeline.synthesis.worker import ShardWorker

SAMPLE_IMAGES = 16
"""At most, and all of one shard; made twice: the first time only warms up."""


@dataclass(frozen=True)
class Estimate:
    """Of what is not done yet; times and sizes are those of a sample, times the rest."""

    label_maps: int
    images: int
    shards: int
    workers: int
    """0: this process."""
    seconds_an_image: float
    """Of one worker."""
    seconds: float
    """Of all workers together, without the start of Ray (10 to 20 s)."""
    bytes: int
    """Of the parts."""
    sampled_images: int

    def __str__(self) -> str:
        if not self.images:
            return "Everything is done: nothing would be made."
        return (
            f"{self.images:,} images of {self.label_maps:,} label maps in {self.shards:,} shards, "
            f"{self.bytes / 2**20:,.1f} MiB; {_duration(self.seconds)} with {self.workers or 1} at a time "
            f"({self.seconds_an_image:.3g} s an image, measured on {self.sampled_images})"
        )


def estimate(job: Job) -> Estimate:
    """Measure the first rows of the job, in this process and a temporary folder; the job's own is not touched.

    Raises `InputError` where the folder holds another job, or a bad row is among the first and not allowed.
    """
    folder = JobFolder(job.order.output)
    folder.refuse_another(job.description)
    done = folder.records()
    todo = [] if folder.finished else [shard for shard in job.plan.shards if shard.name not in done]
    maps, images = sum(shard.rows for shard in todo), sum(shard.images for shard in todo)
    if not images:
        return Estimate(maps, 0, len(todo), 0, 0.0, 0.0, 0, 0)
    first = next(shard for shard in todo if shard.images)
    rows = max(1, min(first.rows, SAMPLE_IMAGES * first.rows // first.images))
    sample = replace(first, stop=first.start + rows)
    with TemporaryDirectory(prefix="spadework-") as temporary:
        order = replace(job.order, output=temporary)
        with driver_lock(JobFolder(temporary)) as token:
            worker = ShardWorker(order, token)
            _make(worker, sample)
            began = time.monotonic()
            made = _make(worker, sample)
            passed = time.monotonic() - began
    pictures, workers = max(1, made.rows), job.workers_for(todo)
    return Estimate(
        label_maps=maps,
        images=images,
        shards=len(todo),
        workers=workers,
        seconds_an_image=passed / pictures,
        seconds=passed / pictures * images / (workers or 1),
        bytes=int(made.bytes / pictures * images),
        sampled_images=made.rows,
    )


def _make(worker: ShardWorker, sample: Shard) -> ShardRecord:
    *_, last = worker.run(sample)
    assert last.record is not None
    return last.record


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
