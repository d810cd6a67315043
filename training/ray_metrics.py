"""[Ray] What a training worker has done, for Ray's own metrics."""

from __future__ import annotations

import time

from pipeline.runtime.ray_metrics import JobMetrics
from training.metrics import Entry


class TrainingMetrics:
    """Adds the readings of a worker's `MetricLogger` to Ray's metrics."""

    def __init__(self, workers: int) -> None:
        """`workers` share each batch."""
        self._metrics, self._workers = JobMetrics("train"), workers
        self._failures: int | None = None
        self._read = time.monotonic()

    def add(self, entry: Entry) -> None:
        """Take in a reading: the steps since the one before."""
        now = time.monotonic()
        passed, self._read = now - self._read, now
        failures, waited = len(entry["failures"]), entry["data_wait"] * entry["seconds"]
        self._metrics.count(
            images=round(entry["images_per_second"] * entry["seconds"] / self._workers),
            rejects=failures - (failures if self._failures is None else self._failures),
            seconds={
                "data": waited,
                "step": entry["seconds"] - waited,
                # Starting up, and what is between the steps: validation, samples, checkpoints.
                "rest": passed - entry["seconds"],
            },
        )
        self._failures = failures
