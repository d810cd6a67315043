"""Who may write into a job's folder: one driver and its workers, also after another driver has died."""

from __future__ import annotations

import fcntl
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom

from pipeline.errors import InputError
from pipeline.synthesis.job_folder import JOB, RECORDS, JobFolder

log = logging.getLogger(__name__)

ORPHANS_SECONDS = 90.0
"""How long to wait for the workers of a job whose driver died; Ray ends them within seconds."""


@contextmanager
def driver_lock(job: JobFolder) -> Iterator[str]:
    """Be the only driver of this folder, after any orphaned workers of a dead one have ended; gives a token.

    An object store has no locks and needs none: parts are put in one piece, and whoever writes one writes the
    same bytes. Raises `InputError` where another driver, or a worker of a dead one, still writes.
    """
    token = uuid.uuid4().hex
    if not job.folder.local:
        yield token
        return
    with _file(job, "driver.lock") as driver:
        if not _lock(driver, fcntl.LOCK_EX, wait=0):
            raise InputError(f"another job is writing into {job.folder}; wait for it, or stop it")
        with _file(job, "workers.lock") as workers:
            if not _lock(workers, fcntl.LOCK_EX, wait=ORPHANS_SECONDS):
                raise InputError(f"workers of an earlier job still write into {job.folder}; stop them")
            job.folder.put("_job/token", token.encode())
            job.tidy()
        yield token


@contextmanager
def worker_lock(job: JobFolder, token: str) -> Iterator[None]:
    """Be one of the workers of the driver with that token, for as long as anything is written."""
    if not job.folder.local:
        yield
        return
    with _file(job, "workers.lock") as workers:
        # The driver itself holds this lock for a moment at its start, and may be a new one.
        assert _lock(workers, fcntl.LOCK_SH, wait=ORPHANS_SECONDS), "the driver keeps its workers out"
        if job.folder.read("_job/token") != token.encode():
            raise RuntimeError("this worker belongs to a job that has ended")
        yield


def abandon(job: JobFolder) -> None:
    """After an error: finished shards stay for the next try; a folder without any is removed.

    A part without a record keeps the job too: without its `job.json` it would be nobody's, and be refused.
    """
    local = job.folder.local
    if not local:
        if not job.begun:
            job.folder.delete(JOB)
        return
    if not local.is_dir():
        return
    with _file(job, "workers.lock") as workers:
        if not _lock(workers, fcntl.LOCK_EX, wait=5):
            return  # The next run will tidy up.
        job.tidy()
        if job.begun:
            return
        for name in (JOB, "_job/driver.lock", "_job/workers.lock", "_job/token"):
            job.folder.delete(name)
        for empty in (local / RECORDS, local / "_job", local):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()


def _file(job: JobFolder, name: str) -> BufferedRandom:
    assert job.folder.local
    path = job.folder.local / "_job" / name
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
