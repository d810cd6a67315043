"""A service of tiny generators, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.serving.app import make_app
from pipeline.serving.guard import Access
from pipeline.serving.model import Model
from pipeline.serving.service import Service
from tests.pipeline.synthesis import cases


@pytest.fixture(scope="session")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a generator of 32x32 with a style of 4 numbers, an encoder, and noise."""
    return cases.write_checkpoint(tmp_path_factory.mktemp("styled"), style_dim=4, encoder=True, noise=True)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a generator without style, which wants instances."""
    return cases.write_checkpoint(tmp_path_factory.mktemp("plain"), instance_edges=True)


@pytest.fixture(scope="session")
def models(styled: Path, plain: Path) -> list[Model]:
    return [Model("styled", styled), Model("plain", plain)]


@pytest.fixture
def service(models: list[Model], tmp_path: Path) -> Iterator[Service]:
    service = Service(models, folder=tmp_path / "served")
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> TestClient:
    """Of a service on loopback without a token."""
    return TestClient(make_app(service, Access()), base_url="http://localhost:8000", raise_server_exceptions=False)
