"""Starting and joining Ray."""

from __future__ import annotations

import pytest

from pipeline.ray_session import ensure_ray


@pytest.mark.ray
def test_an_instance_is_joined_not_started_twice_and_runs_our_code(ray_session):
    import ray

    assert ensure_ray() is False
    assert ray.cluster_resources()["CPU"] == 4

    @ray.remote
    def seed() -> int:
        from pipeline.noise import record_seed

        return record_seed(1, "a", 0)

    from pipeline.noise import record_seed

    assert ray.get(seed.remote()) == record_seed(1, "a", 0)


@pytest.mark.ray
def test_data_jobs_use_the_plain_reader_and_end_when_they_stand_still(ray_session):
    from ray.data import DataContext

    context = DataContext.get_current()
    assert context.use_datasource_v2 is False
    assert context.execution_no_progress_timeout_s == 120
