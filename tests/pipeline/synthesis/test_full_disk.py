"""A job on a disk that fills up: one line, nothing half-written, and the same bytes once there is room."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.synthesis import actor_pool
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases


class FullDisk:
    """Room for so many bytes in files of some name; then a write is cut off, as the system does it."""

    def __init__(self, monkeypatch, name, room):
        self.name, self.room = name, room
        write_bytes, write_batch = Path.write_bytes, pq.ParquetWriter.write_batch

        def bytes_written(path, data):
            if name not in path.name:
                return write_bytes(path, data)
            write_bytes(path, data[: self.take(len(data))])
            return self.fail_if_full(len(data))

        def batch_written(writer, batch, *rest):
            if name == "part" and self.take(batch.nbytes) < batch.nbytes:
                raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")
            return write_batch(writer, batch, *rest)

        monkeypatch.setattr(Path, "write_bytes", bytes_written)
        monkeypatch.setattr(pq.ParquetWriter, "write_batch", batch_written)

    def take(self, count):
        taken = min(count, max(self.room, 0))
        self.room -= count
        return taken

    def fail_if_full(self, count):
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return count


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("part", 0),
        ("part", 30_000),
        ("contact_sheet", 100),
        ("part-00001.json", 20),
        ("job.json", 20),
        ("token", 3),
        ("_SUCCESS", 10),
        ("9.png", 100),  # of an export
    ],
)
def test_a_full_disk_ends_in_one_line_and_room_gives_the_same_bytes(
    checkpoint, maps, tmp_path, monkeypatch, name, room
):
    out = tmp_path / "out"
    whole = cases.command(maps, checkpoint, tmp_path / "whole", "--export", "folder")
    assert whole.exit_code == 0
    told = f"The first of them: {tmp_path}/whole/contact_sheet.png\nAs folder: {tmp_path}/whole/folder\n"
    assert whole.stdout.endswith(told)
    with monkeypatch.context() as patch:
        FullDisk(patch, name, room)
        result = cases.command(maps, checkpoint, out, "--export", "folder")
    line = cases.error_line(result)
    assert f"{out} cannot be written: No space left on device; make room and run the same command" in line
    assert not (out / "_SUCCESS").exists()
    assert not list(tmp_path.rglob(".*")), "something is half-written"
    assert cases.command(maps, checkpoint, out, "--export", "folder").exit_code == 0
    assert cases.output_bytes(out) == cases.output_bytes(tmp_path / "whole")
    assert verify(str(out), quiet=True).images == 20


def test_an_actor_passes_a_full_disk_on_as_a_message(monkeypatch):
    class Full:
        def run(self, shard):
            raise OSError(errno.ENOSPC, "No space left on device")
            yield

    monkeypatch.setattr(actor_pool, "ShardWorker", lambda *_: Full())
    batch = pa.table({"shard": [pickle.dumps(None)]})
    [message] = actor_pool._Actor(None, "")(batch)
    error = pickle.loads(message["message"][0])
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
