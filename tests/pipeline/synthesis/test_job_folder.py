"""What makes a job the same job, which shards are done, and who may write."""

from __future__ import annotations

import json
import multiprocessing
import threading

import pytest

from pipeline.data.parquet import ParquetFile
from pipeline.data.shards import Shard
from pipeline.errors import InputError
from pipeline.synthesis import job_lock
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_lock import abandon, driver_lock, worker_lock
from pipeline.synthesis.job_records import Reject, ShardRecord

JOB = {"version": 1, "settings": {"seed": 1, "checkpoint": "abc"}, "input": {"files": [{"name": "a", "rows": 3}]}}
SHARD = Shard(0, ParquetFile("a.parquet", "a.parquet", 3, ""), 0, 3)


def publish(job, shard=SHARD, data=b"part", rows=3, rejects=()):
    with job.scratch(shard) as path:
        path.write_bytes(data)
        return job.publish(shard, path, rows, tuple(rejects), input_sha256="0" * 64)


def test_the_same_job_may_continue_and_another_is_named(tmp_path):
    job = JobFolder(tmp_path / "out")
    job.claim(JOB)
    job.claim(JOB)
    other = {**JOB, "settings": {"seed": 2, "checkpoint": "abc"}}
    with pytest.raises(InputError, match=r"holds another job: settings.seed is 1 there and 2 here"):
        job.claim(other)


def test_a_folder_with_strange_parts_is_refused_untouched(tmp_path):
    (tmp_path / "val.parquet").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds val.parquet, which no synthesis wrote"):
        JobFolder(tmp_path).claim(JOB)
    assert [path.name for path in tmp_path.iterdir()] == ["val.parquet"]


def test_a_shard_is_done_when_its_record_is_there_and_its_part_is_whole(tmp_path):
    job = JobFolder(tmp_path)
    record = publish(job, rejects=[Reject("x", "a.parquet", 1, "bad")])
    assert job.records() == {"part-00000.parquet": record}
    assert record.sha256 == job.folder.sha256("part-00000.parquet")
    (tmp_path / "part-00000.parquet").write_bytes(b"pa")
    assert job.records() == {}


def test_a_part_without_its_record_is_not_done(tmp_path):
    job = JobFolder(tmp_path)
    publish(job)
    job.folder.delete("_job/shards/part-00000.json")
    assert job.records() == {}


def test_a_shard_of_rejects_only_is_done_without_a_part(tmp_path):
    job = JobFolder(tmp_path)
    record = publish(job, rows=0, rejects=[Reject(None, "a.parquet", 0, "bad")])
    assert job.folder.names() == []
    assert job.records() == {"part-00000.parquet": record}


def test_the_manifest_takes_the_place_of_the_records(tmp_path):
    job = JobFolder(tmp_path)
    record = publish(job, rejects=[Reject("x", "a.parquet", 1, "bad")])
    job.write_manifest([record])
    assert not job.finished
    job.succeed()
    assert job.finished
    assert job.folder.names("_job/shards") == []
    assert job.records() == {"part-00000.parquet": record}


def test_what_a_killed_worker_left_is_removed(tmp_path):
    job = JobFolder(tmp_path)
    record = publish(job)
    (tmp_path / ".part-00001.parquet.123.tmp").write_bytes(b"half")
    (tmp_path / "_job" / "shards" / ".part-00001.json.5.tmp").write_bytes(b"half")
    (tmp_path / ".folder.99.tmp" / "images").mkdir(parents=True)
    job.tidy()
    assert not list(tmp_path.rglob("*.tmp"))
    assert job.records() == {record.name: record}


def test_a_failed_job_leaves_no_folder_unless_shards_are_done(tmp_path):
    empty, begun = JobFolder(tmp_path / "empty"), JobFolder(tmp_path / "begun")
    for job in (empty, begun):
        with driver_lock(job):
            job.claim(JOB)
            if job is begun:
                publish(job)
            abandon(job)
    assert not (tmp_path / "empty").exists()
    assert len(begun.records()) == 1
    begun.refuse_another(JOB)


def test_only_one_driver(tmp_path):
    with (
        driver_lock(JobFolder(tmp_path)),
        pytest.raises(InputError, match="another job is writing into"),
        driver_lock(JobFolder(tmp_path)),
    ):
        pass
    with driver_lock(JobFolder(tmp_path)):
        pass


def test_a_worker_of_another_driver_may_not_write(tmp_path):
    job = JobFolder(tmp_path)
    with driver_lock(job) as old, worker_lock(job, old):
        pass
    with driver_lock(job), pytest.raises(RuntimeError, match="a job that has ended"), worker_lock(job, old):
        pass


def _orphan(location, token, held, let_go):
    with worker_lock(JobFolder(location), token):
        held.set()
        let_go.wait(120)


def test_a_new_driver_waits_for_orphaned_workers(tmp_path):
    context = multiprocessing.get_context("spawn")
    job, held, let_go = JobFolder(tmp_path), context.Event(), context.Event()
    entered, claimed = threading.Event(), threading.Event()

    def drive():
        entered.set()
        with driver_lock(job):
            claimed.set()

    with driver_lock(job) as token:
        orphan = context.Process(target=_orphan, args=(str(tmp_path), token, held, let_go))
        orphan.start()
        assert held.wait(120)
    driver = threading.Thread(target=drive)
    driver.start()
    assert entered.wait(120)
    assert not claimed.wait(0.3), "the orphan still writes"
    let_go.set()
    assert claimed.wait(120)
    driver.join(120)
    orphan.join(120)
    assert orphan.exitcode == 0


def test_orphans_that_do_not_end_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(job_lock, "ORPHANS_SECONDS", 0.2)
    job, held, done = JobFolder(tmp_path), threading.Event(), threading.Event()

    def orphan(token):
        with worker_lock(job, token):
            held.set()
            done.wait(120)

    with driver_lock(job) as token:
        thread = threading.Thread(target=orphan, args=(token,))
        thread.start()
        assert held.wait(120)
    try:
        with pytest.raises(InputError, match="workers of an earlier job still write"), driver_lock(job):
            pass
    finally:
        done.set()
        thread.join()


def test_records_survive_json():
    record = ShardRecord("part-00001.parquet", 5, "ab", 7, (Reject(None, "a", 3, "bad"), Reject("x", "b", 4, "worse")))
    text = json.dumps(record.to_json())
    assert json.loads(text) == {
        "name": "part-00001.parquet",
        "rows": 5,
        "sha256": "ab",
        "bytes": 7,
        "rejects": [
            {"id": None, "source": "a", "row": 3, "reason": "bad"},
            {"id": "x", "source": "b", "row": 4, "reason": "worse"},
        ],
        "input_sha256": "",
    }
    assert ShardRecord.from_json(json.loads(text)) == record
    of_an_earlier_version = {name: value for name, value in json.loads(text).items() if name != "input_sha256"}
    assert ShardRecord.from_json(of_an_earlier_version) == record
