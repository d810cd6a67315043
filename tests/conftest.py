"""Fixtures that every package's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests marked `ray`: starting it takes 6 to 14 s."""
    from pipeline.runtime.ray_session import ray_session as start

    with start(num_cpus=4):
        yield
