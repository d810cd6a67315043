"""The simulation in a small form: what the driver asks for grows with the shards, and no faster."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.parquet import ParquetFile
from pipeline.data.storage import Folder
from pipeline.synthesis import actor_pool
from pipeline.synthesis import verify as verification
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.job_records import ShardRecord
from pipeline.synthesis.synthesize import synthesize
from tests.pipeline.synthesis.cases import write_checkpoint
from tests.scale import run, stand_in

FIGURES = {
    "plan": {"shards": 10, "seconds": 1.0, "mib": 300.0},
    "equal_ids": {"seconds": 2.0, "mib": 400.0},
    "resume": {"seconds": 3.0, "mib": 500.0, "first": 4.0, "conclude": 5.0},
    "verify": {"seconds": 6.0, "mib": 600.0, "decoded": True},
    "files": 16,
    "records": 9,
    "manifest": 2_500_000,
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the driver reads, lists and asks."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        method: Callable[..., Any] = getattr(owner, name)

        def counting(*args: Any, **options: Any) -> Any:
            counted[name] += 1
            return method(*args, **options)

        monkeypatch.setattr(owner, name, staticmethod(counting) if name == "from_json" else counting)

    for owner, names in (
        (Folder, ("sizes", "size", "open", "read_all", "delete_all", "_content")),
        (JobFolder, ("records",)),
        (ShardRecord, ("from_json",)),
        (ParquetFile, ("batches", "_keep")),
    ):
        for name in names:
            count(owner, name)
    return counted


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_the_driver_does_as_much_for_each_shard_however_many_there_are(
    checkpoint: Path, tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_pool, "ShardWorker", stand_in.StandInWorker)
    monkeypatch.setattr("pipeline.data.parquet.SETTLED_SECONDS", -1)  # files may be as new as these
    monkeypatch.setattr("pipeline.data.shards.SHARDS_WANTED", 1)  # one for each file
    monkeypatch.setattr(run, "FILE_ROWS", 100)
    found = {}
    for shards in (10, 30, 100):  # 10,000 label maps
        folder = tmp_path / str(shards)
        run.write_input(folder / "maps", 100 * shards)
        calls.clear()

        class Killed(stand_in.StandInWorker):
            left = shards // 2

            def run(self, shard: Any) -> Any:
                if Killed.left == 0:
                    raise KeyboardInterrupt
                Killed.left -= 1
                return super().run(shard)

        monkeypatch.setattr(actor_pool, "ShardWorker", Killed)
        with pytest.raises(KeyboardInterrupt):
            synthesize(folder / "maps", checkpoint, folder / "out", workers=0, device="cpu", quiet=True)
        assert len(list((folder / "out" / "_job" / "shards").iterdir())) == shards // 2
        monkeypatch.setattr(actor_pool, "ShardWorker", stand_in.StandInWorker)
        batches = calls["batches"]
        summary = synthesize(folder / "maps", checkpoint, folder / "out", workers=0, device="cpu", quiet=True)
        # Ids of each file once, and those of the shards that were left: the rest of the input is not read again.
        assert calls["batches"] - batches == shards + (shards - shards // 2)
        assert (summary.images, summary.images_this_run) == (100 * shards, 100 * (shards - shards // 2))
        found[shards] = Counter(calls)
        assert calls["records"] <= 4
    for name, fewest in found[10].items():
        # A line through the first two sizes; a square would be at least twice as high.
        slope = (found[30][name] - fewest) / 20
        assert found[100][name] <= fewest + 90 * slope + 5, name
    out = tmp_path / "10" / "out"
    assert verification.verify(str(out), quiet=True).images == 1000
    manifest = json.loads((out / "manifest.json").read_text())
    assert [part["rows"] for part in manifest["parts"]] == [100] * 10
    assert "input_stamp" not in manifest["parts"][0]


def test_the_table_has_a_row_for_each_size() -> None:
    lines = run.table([{"rows": 10_000, **FIGURES}, {"rows": 100_000, **FIGURES}]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith(
        "| 10,000 | 10 | 1.0 | 300 | 2.0 s, 400 MiB | 3.0 | 500 | 4.0 | 5.0 | 6.0 | 600 | 16, 9 |"
    )
