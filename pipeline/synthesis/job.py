"""The run of a batch job: make what is missing, count what comes, and conclude with everything around the parts."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipeline.data.shards import Plan, Shard, iter_shard
from pipeline.errors import InputError
from pipeline.exports.export import ExportKind, export_into
from pipeline.exports.pictures import PictureSet
from pipeline.runtime.json_text import read_json
from pipeline.runtime.ray_session import RayStartError
from pipeline.synthesis.actor_pool import joins_cluster, pool_size, run_here, run_in_pool
from pipeline.synthesis.card import CARD, gather, write_card
from pipeline.synthesis.contact_sheet import contact_sheet
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_lock import abandon, driver_lock
from pipeline.synthesis.job_records import ShardRecord
from pipeline.synthesis.job_repair import check_input, reopen
from pipeline.synthesis.progress import JobProgress
from pipeline.synthesis.worker import Report, WorkOrder

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Ray restarts dead actors by itself; a pool that ends with shards undone is started so often."""

POOL_SHARDS = 4096
POOL_SHARDS_EACH = 64
"""A pool of actors gets so many shards, or so many an actor, and then another pool the next ones: Ray Data keeps
something of every report to the end of its run, and a new pool costs little beside four million pictures."""

SMALL_IMAGES = 1024
"""A job of so many images at most begins without Ray, if nobody asked for workers ..."""
SMALL_SECONDS = 20.0
"""... and ends without it where no more than this is left: starting Ray and its workers takes about as long."""


SHEET = "contact_sheet.png"
SUMMARY = "summary.json"
"""Beside the parts, for people."""


@dataclass(frozen=True)
class Summary:
    """What a job did: `summary.json`."""

    output: str
    label_maps: int
    images: int
    rejects: int
    checkpoint: str
    seed: int
    samples: int | None
    """Of each label map; None where a column says how many."""
    workers: int
    images_this_run: int
    seconds: float
    """Of this run."""
    first_images_seconds: float | None
    """From the start of this run to the first report of images."""
    images_per_second: float
    """From the first report of images to the last one; of a job that is over by then, from the start."""
    stage_seconds: dict[str, float]
    """Summed over workers and threads; `wait` is the generator without anything to do."""
    versions: dict[str, str]


@dataclass(frozen=True)
class Synthesis:
    """What `synthesize_dataset` of `import spadework` made."""

    summary: Summary
    """Counts, speed and versions."""

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The pictures: a row each with `id`, `sample`, `image`, `label` (structs of `bytes` and `path`), `instance`
        where the input has one, `seed`, `checkpoint`, and `sources` where pieces of photographs were pasted.

        All of them come into memory; `columns` leaves out what is not wanted.
        """
        return JobFolder(self.summary.output).read_parts(columns)


@dataclass(frozen=True)
class Job:
    """A checked job, ready to run."""

    plan: Plan
    order: WorkOrder
    description: dict[str, Any]
    workers: int | None
    gpus_per_worker: float
    exports: Sequence[ExportKind]
    quiet: bool
    started: float

    def run(self) -> Summary:
        """Make what is missing, then the manifest and everything around it, and `_SUCCESS` last; returns what was done.

        Raises `InputError` where the folder holds another job, another driver writes into it or the disk is full, and
        for more bad rows than the job allows.
        """
        folder = JobFolder(self.order.output)
        folder.refuse_another(self.description)
        if not folder.finished:
            self._check_duplicates()
        try:
            with driver_lock(folder) as token:
                folder.refuse_another(self.description)
                try:
                    return self._run(folder, token)
                except BaseException:
                    abandon(folder)
                    raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"{folder.folder} cannot be written: {os.strerror(error.errno)}; make room and run the same command "
                "again, finished parts are kept"
            ) from None

    def _run(self, folder: JobFolder, token: str) -> Summary:
        folder.claim(self.description)
        full = {shard.name: shard.images for shard in self.plan.shards}
        reopen(folder, full, quiet=self.quiet)
        done = folder.records()
        check_input(folder, done, self.plan.shards, self.plan.columns, quiet=self.quiet)
        todo = [shard for shard in self.plan.shards if shard.name not in done]
        finished = self.plan.rows - sum(shard.rows for shard in todo)
        rejects = [reject for record in done.values() for reject in record.rejects]
        with JobProgress(self.plan.rows, finished, rejects, quiet=self.quiet) as progress:
            return self._make(folder, token, todo, progress)

    def _make(self, folder: JobFolder, token: str, todo: list[Shard], progress: JobProgress) -> Summary:
        workers = self.workers_for(todo)
        first: tuple[float, int] | None = None
        used = 0
        known: dict[str, ShardRecord] | None = None
        if not folder.finished:
            self._check_rejects(progress)
        for attempt in range(ATTEMPTS):
            if not todo:
                break
            if attempt:
                log.warning("%d shards were not finished; trying them again", len(todo))
            for actors, run in self._runs(token, todo, workers):
                used = max(used, actors)
                progress.restart_clock()
                with closing(run) as reports:
                    for report in reports:
                        progress.update(report)
                        self._check_rejects(progress)
                        if first is None and report.images:
                            first = (time.monotonic(), progress.images)
            known = folder.records()
            todo = [shard for shard in todo if shard.name not in known]
        if todo:
            raise RuntimeError(f"{len(todo)} shards did not finish in {ATTEMPTS} attempts, the first is {todo[0].name}")
        known = known if known is not None else folder.records()
        records = [known[shard.name] for shard in self.plan.shards]
        return self._conclude(folder, records, progress, used, first)

    def _conclude(
        self,
        folder: JobFolder,
        records: list[ShardRecord],
        progress: JobProgress,
        workers: int,
        first: tuple[float, int] | None,
    ) -> Summary:
        now = time.monotonic()
        rate = progress.images / max(now - self.started, 1e-9)
        if first and progress.images > first[1]:
            rate = (progress.images - first[1]) / max(now - first[0], 1e-9)
        summary = Summary(
            output=str(folder.folder),
            label_maps=self.plan.rows,
            images=sum(record.rows for record in records),
            rejects=sum(len(record.rejects) for record in records),
            checkpoint=self.order.checkpoint_sha256,
            seed=self.order.seed,
            samples=None if self.plan.columns.samples else self.order.samples,
            workers=workers,
            images_this_run=progress.images,
            seconds=round(now - self.started, 3),
            first_images_seconds=round(first[0] - self.started, 3) if first else None,
            images_per_second=round(rate, 3),
            stage_seconds={stage: round(seconds, 3) for stage, seconds in progress.stage_seconds.items()},
            versions={name: version(name) for name in ("torch", "pillow", "pyarrow", "ray")},
        )
        if not folder.finished:
            folder.write_manifest(records)
        sheet = contact_sheet(folder, records, self.order.info.space)
        if sheet is not None and folder.folder.read(SHEET) != sheet:
            folder.folder.put(SHEET, sheet)
        if not folder.finished or not _is_json(folder.folder.read(SUMMARY)):
            folder.folder.put(SUMMARY, (json.dumps(asdict(summary), indent=1) + "\n").encode())
        if summary.images and (not folder.finished or folder.folder.size(CARD) is None):
            write_card(folder.folder, gather(folder.folder))
        if self.exports and summary.images:
            pictures = PictureSet.open([folder.folder.location], unfinished=True)
            for kind in self.exports:
                export_into(folder.folder, pictures, kind)
        if not folder.finished:
            folder.succeed()
        return summary

    def _check_duplicates(self) -> None:
        """Rows with an id that was used before are known from the plan, and need no synthesis to be too many."""
        count = sum(len(shard.duplicates) for shard in self.plan.shards)
        if count <= self.order.max_rejects:
            return
        shard = next(shard for shard in self.plan.shards if shard.duplicates)
        row = next(iter(shard.duplicates))
        column = self.order.columns.id
        assert column is not None, "ids that the input does not have cannot come twice"
        [(_, cells)] = iter_shard(replace(shard, start=row, stop=row + 1), [column])
        where = f"row {row} of {shard.file.name} (id '{cells[column]}')"
        reason = f"has the id of {shard.duplicates[row]}; ids must be unique"
        if self.order.max_rejects:
            raise InputError(
                f"{count} rows have an id that was used before, more than --max-rejects allows; "
                f"the first is {where}: {reason}"
            )
        raise InputError(f"{where}: {reason}; or leave bad rows out with --max-rejects")

    def _check_rejects(self, progress: JobProgress) -> None:
        count = len(progress.rejects)
        if count <= self.order.max_rejects:
            return
        first = next(iter(progress.rejects.values()))
        where = f"row {first.row} of {first.source}" + (f" (id '{first.id}')" if first.id else "")
        if self.order.max_rejects:
            raise InputError(
                f"{count} rows are bad, more than --max-rejects allows; the first is {where}: {first.reason}"
            )
        raise InputError(f"{where}: {first.reason}; or leave bad rows out with --max-rejects")

    def workers_for(self, todo: Sequence[Shard]) -> int:
        """How many actors these shards get; 0: none, the work is done here."""
        if self.workers is not None or not todo:
            return min(self.workers or 0, len(todo))
        size = pool_size(self.order.device, threads=self.order.threads or 1, gpus_per_worker=self.gpus_per_worker)
        return min(size, len(todo))

    def _runs(
        self, token: str, todo: Sequence[Shard], workers: int
    ) -> Iterator[tuple[int, Generator[Report, None, None]]]:
        """What makes the shards, one run after the other, and how many actors each has.

        A small job begins here, and goes on with actors only where it would take longer than they need to start.
        """
        left = list(todo)
        images = sum(shard.images for shard in todo)
        if not workers:
            yield 0, run_here(self.order, token, left)
            return
        if self.workers is None and images <= SMALL_IMAGES and self.order.device == "cpu" and not joins_cluster():
            yield 0, run_here(self.order, token, _while_soon_done(left))
        if left:
            yield workers, self._in_pools(token, left, workers)

    def _in_pools(self, token: str, shards: Sequence[Shard], workers: int) -> Generator[Report, None, None]:
        """The shards on Ray, or all that are left here where it does not start and nobody asked for it."""
        step = max(POOL_SHARDS, POOL_SHARDS_EACH * workers)
        for start in range(0, len(shards), step):
            part = shards[start : start + step]
            try:
                yield from run_in_pool(self.order, token, part, workers, gpus_per_worker=self.gpus_per_worker)
            except RayStartError:
                if self.workers is not None:
                    raise
                log.warning("Ray did not start on this busy machine; going on in this process, without it")
                yield from run_here(self.order, token, shards[start:])
                return


def _while_soon_done(left: list[Shard]) -> Iterator[Shard]:
    """Takes shards from the list as long as the rest will be done within `SMALL_SECONDS`, as the last one was."""
    seconds = 0.0  # for an image
    while left and seconds * sum(shard.images for shard in left) <= SMALL_SECONDS:
        began, shard = time.monotonic(), left.pop(0)
        yield shard
        seconds = (time.monotonic() - began) / max(1, shard.images)


def _is_json(data: bytes | None) -> bool:
    try:
        return data is not None and isinstance(read_json(data), dict)
    except ValueError:
        return False
