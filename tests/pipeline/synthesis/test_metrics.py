"""What an actor counts for Ray's metrics: that of its reports, which say sums, and each rejected row once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.runtime.ray_metrics import JobMetrics
from pipeline.synthesis.actor_pool import counted
from pipeline.synthesis.job_records import Reject
from pipeline.synthesis.worker import Report
from tests.pipeline.runtime.ray_counts import stand_in


def test_reports_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = stand_in(monkeypatch)
    metrics = JobMetrics("synthesize")
    bad = Reject("a", "masks.parquet", 3, "is broken")
    first = [
        Report(0, 8, 8, seconds={"decode": 1.0, "wait": 0.0}),
        Report(0, 12, 11, rejects=(bad,), seconds={"decode": 1.5, "wait": 0.0, "write": 0.25}),
    ]
    assert list(counted(first, metrics)) == first
    assert list(counted([Report(1, 5, 5, seconds={"decode": 2.0})], metrics))  # counts of a shard begin at 0
    assert counts == {
        ("spadework_job_images", "synthesize"): 16,
        ("spadework_job_rejects", "synthesize"): 1,
        ("spadework_job_seconds", "synthesize", "decode"): 3.5,
        ("spadework_job_seconds", "synthesize", "write"): 0.25,
    }


def test_what_was_made_before_an_error_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = stand_in(monkeypatch)

    def reports() -> Iterator[Report]:
        yield Report(0, 8, 8)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        list(counted(reports(), JobMetrics("synthesize")))
    assert counts == {("spadework_job_images", "synthesize"): 8}


def test_the_queue_is_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = stand_in(monkeypatch)
    metrics = JobMetrics("synthesize")
    for left in (2, 1, 0):
        metrics.set_queue(left)
        assert counts == {("spadework_job_queue", "synthesize"): left}
