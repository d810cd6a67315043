"""The painter, and the pages of evaluation, in a real browser: Debian's Chromium, driven by Playwright.

`make test-browser` runs these tests; `make test` does not collect them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.painter import Painter
from tests.browser.service import running_service

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent.name
DESKTOP = {"width": 1366, "height": 860}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only where they are asked for by name: they start a service and a browser."""
    asked = any(HERE in Path(argument.partition("::")[0]).parts for argument in config.args)
    return None if asked else True


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `spadework serve` with the landscapes, and an untrained generator of 64x64."""
    folder = tmp_path_factory.mktemp("served")
    with running_service(
        folder, checkpoints=["weights/landscape.safetensors", "untrained:configs/demo.yaml"]
    ) as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; the tests are skipped where it is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # The sandbox does not work for root, as whom containers run.
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_painter(chromium: Browser, service: str) -> Iterator[Any]:
    """Opens the page in a browser of its own, with options of Playwright's `new_context`."""
    contexts = []

    def open_it(**options: Any) -> Painter:
        context = chromium.new_context(**({"viewport": DESKTOP} | options))
        contexts.append(context)
        painter = Painter(context.new_page(), service)
        painter.visit()
        return painter

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture
def painter(open_painter: Any) -> Iterator[Painter]:
    """The page on a desktop, with one class everywhere; at the end the browser's console must be empty."""
    opened: Painter = open_painter()
    opened.start_blank("sky")
    yield opened
    assert opened.console == []
