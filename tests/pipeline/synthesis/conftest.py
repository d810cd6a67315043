"""A tiny checkpoint and a few label maps, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.synthesis import cases


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a generator without style."""
    return cases.write_checkpoint(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a generator with style and its encoder."""
    return cases.write_checkpoint(tmp_path_factory.mktemp("styled"), style_dim=4, encoder=True)


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty label maps in one file: three shards."""
    return cases.write_maps(tmp_path_factory.mktemp("maps") / "maps.parquet", 20)
