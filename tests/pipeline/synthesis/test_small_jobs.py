"""A small job does not start Ray by itself, and one that takes longer goes on with workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.shards import Shard
from pipeline.runtime.ray_session import RayStartError
from pipeline.synthesis import job
from pipeline.synthesis.actor_pool import run_here
from pipeline.synthesis.synthesize import synthesize
from pipeline.synthesis.worker import Report, WorkOrder
from tests.pipeline.synthesis import cases


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the shards that each pool was given; it does their work in this process."""
    asked: list[list[str]] = []

    def run(order: WorkOrder, token: str, shards: Sequence[Shard], workers: int, **_: Any) -> Iterator[Report]:
        asked.append([shard.name for shard in shards])
        yield from run_here(order, token, shards)

    monkeypatch.setattr(job, "run_in_pool", run)
    monkeypatch.setattr(job, "pool_size", lambda *_, **__: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


def test_it_is_done_here(
    pool: list[list[str]], maps: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "SMALL_SECONDS", float("inf"))  # however busy the machine is
    summary = synthesize(maps, checkpoint, tmp_path / "images", quiet=True, device="cpu")
    assert pool == []
    assert (summary.workers, summary.images) == (0, 20)


def test_it_goes_on_with_workers_where_that_is_sooner(
    pool: list[list[str]], maps: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = synthesize(maps, checkpoint, tmp_path / "alone", quiet=True, device="cpu", workers=0)
    monkeypatch.setattr(job, "SMALL_SECONDS", 0.0)
    summary = synthesize(maps, checkpoint, tmp_path / "images", quiet=True, device="cpu")
    names = sorted(path.name for path in (tmp_path / "images").glob("part-*.parquet"))
    assert pool == [names[1:]]  # the first one told how long it takes
    assert (summary.workers, summary.images) == (2, alone.images)
    assert cases.output_bytes(tmp_path / "images") == cases.output_bytes(tmp_path / "alone")


@pytest.mark.parametrize("asked", ["workers", "images", "cluster"])
def test_whoever_asks_for_workers_has_them(
    asked: str,
    pool: list[list[str]],
    maps: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if asked == "images":
        monkeypatch.setattr(job, "SMALL_IMAGES", 19)
    if asked == "cluster":
        monkeypatch.setattr(job, "joins_cluster", lambda: True)
    workers = 2 if asked == "workers" else None
    assert synthesize(maps, checkpoint, tmp_path / "images", quiet=True, device="cpu", workers=workers).workers == 2
    assert len(pool[0]) == len(list((tmp_path / "images").glob("part-*.parquet")))


@pytest.mark.parametrize("workers", [None, 2])
def test_where_ray_does_not_start_it_goes_on_here_unless_workers_were_asked_for(
    workers: int | None, maps: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def fail(*_: Any, **__: Any) -> Iterator[Report]:
        tries.append(1)
        raise RayStartError("Ray did not start (of this); run the same command again")
        yield

    monkeypatch.setattr(job, "run_in_pool", fail)
    monkeypatch.setattr(job, "pool_size", lambda *_, **__: 2)
    monkeypatch.setattr(job, "SMALL_SECONDS", 0.0)
    monkeypatch.setattr(job, "POOL_SHARDS", 1)
    monkeypatch.setattr(job, "POOL_SHARDS_EACH", 0)  # a pool for each shard
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if workers:
        with pytest.raises(RayStartError):
            synthesize(maps, checkpoint, tmp_path / "images", quiet=True, device="cpu", workers=workers)
    else:
        assert synthesize(maps, checkpoint, tmp_path / "images", quiet=True, device="cpu").images == 20
    assert len(tries) == 1  # not again for every pool
