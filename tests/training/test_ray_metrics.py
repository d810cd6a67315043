"""What a training worker counts for Ray's metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.pipeline.runtime.ray_counts import stand_in
from training.ray_metrics import TrainingMetrics


def entry(images_per_second: float, seconds: float, data_wait: float, failures: list[str]) -> dict[str, Any]:
    return {
        "images_per_second": images_per_second,
        "seconds": seconds,
        "data_wait": data_wait,
        "failures": failures,
    }


def test_readings_are_images_of_this_worker_and_seconds_by_what_they_went_into(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = stand_in(monkeypatch)
    clock = iter([100.0, 112.0, 120.0])
    monkeypatch.setattr("training.ray_metrics.time", SimpleNamespace(monotonic=lambda: next(clock)))
    metrics = TrainingMetrics(workers=2)
    metrics.add(entry(8.0, 10.0, 0.25, ["loss is nan at step 3"]))  # of an earlier run: it was counted there
    metrics.add(entry(12.0, 8.0, 0.0, ["loss is nan at step 3", "loss is inf at step 9"]))
    assert counts == {
        ("spadework_job_images", "train"): 40 + 48,
        ("spadework_job_rejects", "train"): 1,
        ("spadework_job_seconds", "train", "data"): 2.5,
        ("spadework_job_seconds", "train", "step"): 7.5 + 8.0,
        ("spadework_job_seconds", "train", "rest"): 2.0,
    }
