"""One AOTInductor engine for all tests: compiling takes longer than everything else here."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engines.compile import compile_generator
from tests.pipeline.synthesis import cases


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a generator with style, noise and bilinear enlargement."""
    levers = {"noise": True, "enlargement": "bilinear"}
    return cases.write_checkpoint(tmp_path_factory.mktemp("trained"), style_dim=4, encoder=True, **levers)


@pytest.fixture(scope="session")
def label_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of twelve label maps."""
    return cases.write_maps(tmp_path_factory.mktemp("label-maps") / "maps.parquet", 12)


@pytest.fixture(scope="session")
def compiled(trained: Path, label_maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an AOTInductor engine, float32, batch 2."""
    cache = tmp_path_factory.mktemp("engines")
    folder, _ = compile_generator(
        trained, cache, backend="inductor", precision="fp32", batch=2, source=label_maps, maps=3
    )
    return folder
