"""Starting and joining Ray."""

from __future__ import annotations

import os

import pytest

from pipeline.runtime.ray_session import ensure_ray


@pytest.mark.ray
def test_an_instance_is_joined_not_started_twice_and_runs_our_code(ray_session):
    import ray

    assert ensure_ray() is False
    assert ray.cluster_resources()["CPU"] == 4

    @ray.remote
    def seed() -> int:
        from pipeline.runtime.seeding import record_seed

        return record_seed(1, "a", 0)

    from pipeline.runtime.seeding import record_seed

    assert ray.get(seed.remote()) == record_seed(1, "a", 0)


@pytest.mark.ray
def test_data_jobs_use_the_plain_reader_and_end_when_they_stand_still(ray_session):
    from ray.data import DataContext

    context = DataContext.get_current()
    assert context.use_datasource_v2 is False
    assert context.execution_no_progress_timeout_s == 120


def test_a_start_that_times_out_is_tried_again(monkeypatch):
    import ray

    from pipeline.runtime import ray_session

    starts = []

    def init(**options):
        starts.append(options)
        if len(starts) < 3:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    ray_session._start(4)
    assert len(starts) == 3


def test_other_failures_to_start_are_not_tried_again(monkeypatch, capfd):
    import ray

    from pipeline.runtime import ray_session

    def init(**options):
        os.write(2, b"no shared memory\n")
        raise ValueError("no memory")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(ValueError, match="no memory"):
        ray_session._start(4)
    assert "no shared memory" in capfd.readouterr().err
