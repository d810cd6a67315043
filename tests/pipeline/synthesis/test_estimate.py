"""What a job will take, before anything is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.data.shards import Shard
from pipeline.errors import InputError
from pipeline.synthesis import job
from pipeline.synthesis.actor_pool import run_here
from pipeline.synthesis.estimate import estimate
from pipeline.synthesis.synthesize import plan_job, synthesize
from pipeline.synthesis.worker import Report, WorkOrder
from tests.pipeline.synthesis import cases


def test_it_says_what_the_job_then_makes(maps: Path, styled: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    planned = plan_job(maps, styled, out, samples=2, workers=0, quiet=True, device="cpu")
    expected = estimate(planned)
    assert not out.exists()
    assert (expected.label_maps, expected.images, expected.workers) == (20, 40, 0)
    assert expected.sampled_images == 8  # all of a shard
    assert expected.seconds == pytest.approx(40 * expected.seconds_an_image)
    summary = planned.run()
    parts = sorted(out.glob("part-*.parquet"))
    assert (summary.images, len(parts)) == (expected.images, expected.shards)
    pictures = sum(len(row["image"]["bytes"]) for part in parts for row in pq.read_table(part).to_pylist())
    assert pictures < expected.bytes < 3 * sum(part.stat().st_size for part in parts)
    assert str(estimate(planned)) == "Everything is done: nothing would be made."


def test_only_what_is_left_counts(
    maps: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(order: WorkOrder, token: str, shards: Sequence[Shard]) -> Iterator[Report]:
        yield from run_here(order, token, shards[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "run_here", stopped)
    with pytest.raises(KeyboardInterrupt):
        synthesize(maps, checkpoint, tmp_path / "images", workers=0, quiet=True)
    left = estimate(plan_job(maps, checkpoint, tmp_path / "images", workers=0, quiet=True))
    assert (left.shards, left.images) == (2, 20 - 8)


def test_another_job_is_refused(maps: Path, checkpoint: Path, tmp_path: Path) -> None:
    synthesize(maps, checkpoint, tmp_path / "images", workers=0, quiet=True)
    with pytest.raises(InputError, match="another job"):
        estimate(plan_job(maps, checkpoint, tmp_path / "images", workers=0, quiet=True, seed=5))


def test_on_the_command_line(maps: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = cases.command(maps, checkpoint, tmp_path / "images", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["estimate"]
    assert (found["images"], found["shards"]) == (20, 3)
    assert not (tmp_path / "images").exists()
    told = cases.command(maps, checkpoint, tmp_path / "images", "--dry-run").stdout
    assert told.startswith("20 images of 20 label maps in 3 shards, ")
