"""Paints a bay and photographs the page: docs/painter.jpg and docs/painter-phone.jpg.

python -m tests.browser.screenshots
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.browser.painter import Painter
from tests.browser.service import ROOT, running_service

if TYPE_CHECKING:
    from playwright.sync_api import Browser

POLYGONS = {
    "mountain": [(0, 62), (0, 44), (18, 30), (30, 38), (52, 14), (70, 36), (84, 28), (110, 52), (127, 58), (127, 64)],
    "snow": [(42, 26), (52, 14), (62, 27), (56, 24), (51, 30), (47, 25)],
    "hill": [(0, 70), (0, 56), (24, 52), (60, 60), (100, 56), (127, 60), (127, 72)],
    "sea": [(0, 96), (0, 68), (127, 68), (127, 84), (90, 86), (50, 94)],
    "sand": [(0, 104), (0, 94), (50, 91), (90, 84), (127, 81), (127, 90), (60, 102)],
    "grass": [(0, 127), (0, 102), (60, 99), (127, 88), (127, 127)],
}
STROKES = [
    ("cloud", 12, [(14, 14), (30, 11), (38, 15)]),
    ("cloud", 9, [(86, 10), (100, 8), (112, 11)]),
    ("tree", 15, [(106, 82), (106, 88)]),
    ("tree", 11, [(118, 86), (118, 92)]),
    ("road", 6, [(20, 127), (40, 112), (58, 104)]),
]


def main() -> None:
    """Writes both pictures."""
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder)) as address,
        sync_playwright() as started,
    ):
        options = ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        photograph(browser, address, "painter.jpg", width=1280, height=800)
        photograph(browser, address, "painter-phone.jpg", width=390, height=844, color_scheme="dark")
        browser.close()


def photograph(
    browser: Browser, address: str, name: str, *, width: int, height: int, color_scheme: str = "light"
) -> None:
    """Paint the bay at a size of the window, and write docs/NAME."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=color_scheme,  # type: ignore[arg-type]
        device_scale_factor=2 if width < 500 else 1.5,
    )
    painter = Painter(context.new_page(), address)
    painter.visit()
    paint(painter)
    shot = Image.open(io.BytesIO(painter.page.screenshot())).convert("RGB")
    shot.thumbnail((1280, 900))
    shot.save(ROOT / "docs" / name, quality=82, optimize=True, progressive=True)
    context.close()


def paint(painter: Painter) -> None:
    """A bay, in the first mood, with all thumbnails drawn."""
    painter.start_blank("sky")
    for name, corners in POLYGONS.items():
        painter.choose(tool="polygon", paints=name)
        for corner in corners:
            painter.drag((corner[0] + 0.5, corner[1] + 0.5))
        painter.page.keyboard.press("Enter")
    for name, size, points in STROKES:
        painter.choose(tool="brush", paints=name, size=size)
        painter.drag(*points)
    painter.page.locator("#styles label").first.wait_for()
    painter.page.locator("#styles label").first.click()
    painter.settle()
    painter.wait_for("document.querySelectorAll('#strip canvas[data-drawn]').length === 6")
    painter.wait_for("[...document.querySelectorAll('#styles canvas')].every(each => each.dataset.drawn)")
    painter.page.evaluate("scrollTo(0, 0)")
    painter.page.mouse.move(*painter.at(44, 20))


if __name__ == "__main__":
    main()
