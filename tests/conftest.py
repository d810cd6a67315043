"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 would let its processes starve beside the other tests.

JOBS = (
    "pipeline/synthesis",
    "pipeline/engines",
    "pipeline/bench",
    "pipeline/data/test_label_fuzz",
    "pipeline/networks/patterns/test_patterns",
    "pipeline/networks/test_golden",
    "gpu",
    "training",
    "evaluation",
    "test_",
)
"""Under `tests/`, where tests run jobs, train networks or compile them: all of them count as slow."""
QUICK = ("evaluation/metrics", "evaluation/scoring")
"""Exceptions to these."""


@pytest.hookimpl(tryfirst=True)  # before marks are selected, and before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests go to one process, for its fixtures; those that use Ray too, so that Ray starts once.

    The long ones come first, so that no core waits at the end for the last of them.
    """
    for item in items:
        place = item.nodeid.removeprefix("tests/")
        if place != item.nodeid and place.startswith(JOBS) and not place.startswith(QUICK):
            item.add_marker(pytest.mark.slow)
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (item.get_closest_marker("ray") is None, item.get_closest_marker("slow") is None))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Networks so small are slower on several threads, badly so beside other work; some jobs leave theirs behind."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests marked `ray`: starting it takes 6 to 14 s."""
    from pipeline.runtime.ray_session import ray_session as start

    with start(num_cpus=4):
        yield
