"""[Ray] What processes that work on a job count, for Ray's own metrics: Prometheus, and charts of the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Verb = Literal["synthesize", "train"]
"""Whose job it is."""


class JobMetrics:
    """Counters and a gauge of one process inside Ray; all processes of a job add up to it in Prometheus.

    Without the packages of Ray's dashboard nobody collects them, and they cost next to nothing. docs/cluster.md has the
    names under which Prometheus finds them.
    """

    def __init__(self, verb: Verb) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags: dict[str, str] = {"verb": verb}
        self._images = Counter("spadework_job_images", "Pictures made, or learned from.", ("verb",))
        self._rejects = Counter(
            "spadework_job_rejects", "Rows that could not be used, or trainings rolled back.", ("verb",)
        )
        self._seconds = Counter("spadework_job_seconds", "Seconds of each stage, over its threads.", ("verb", "stage"))
        self._queue = Gauge("spadework_job_queue", "Shards that were handed out and are not done.", ("verb",))

    def count(self, *, images: int = 0, rejects: int = 0, seconds: Mapping[str, float] | None = None) -> None:
        """Add what was done since the last call; `seconds` are by stage."""
        for counter, more in ((self._images, images), (self._rejects, rejects)):
            if more > 0:  # Ray refuses 0
                counter.inc(more, tags=self._tags)
        for stage, spent in (seconds or {}).items():
            if spent > 0:
                self._seconds.inc(spent, tags={**self._tags, "stage": stage})

    def set_queue(self, shards: int) -> None:
        """How many shards were handed out and are not done."""
        self._queue.set(shards, tags=self._tags)
