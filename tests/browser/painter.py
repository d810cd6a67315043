"""The page as a person uses it: pointer, keys and files, and what is seen and downloaded."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

CLASSES = ("sky", "cloud", "sun", "mountain", "snow", "hill", "forest", "tree", "grass", "sand", "sea")
PATIENCE = 120
"""Seconds after which a test gives up: a guard against hanging, on a machine that is busy."""


def is_preview(request: Request) -> bool:
    """Whether a request is for the picture itself: thumbnails are asked for as WebP."""
    return request.url.endswith("/synthesize") and request.post_data_json["format"] == "png"


class Painter:
    """A page of the painter."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.requests: list[dict[str, Any]] = []
        """Previews that the service was asked for, in order."""
        self.console: list[str] = []
        """Errors that the browser's console has seen."""
        page.on("request", self._note)
        page.on("console", lambda said: said.type == "error" and self.console.append(said.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.set_default_timeout(1000 * PATIENCE)

    def _note(self, request: Request) -> None:
        if is_preview(request):
            self.requests.append(request.post_data_json)

    def visit(self) -> None:
        self.page.goto(self.address)
        self.wait_until_ready()

    def reload(self) -> None:
        """As a person does, who takes half a second: what was changed in the last 300 ms may not be kept yet."""
        self.page.wait_for_timeout(500)
        self.page.reload()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.page.wait_for_selector("html[data-ready=true]")
        self.settle()

    def settle(self) -> None:
        """Wait until the picture is that of the newest change."""
        self.page.wait_for_selector("#picture[aria-busy=false]")

    def wait_for(self, condition: str, argument: Any = None) -> None:
        """Wait until a condition in JavaScript holds; a function of the argument where there is one.

        Not Playwright's `wait_for_function`: it needs `eval` in the page, which the service's headers forbid.
        """
        limit = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < limit, f"still not: {condition}"
            self.page.wait_for_timeout(20)

    def start_blank(self, name: str) -> None:
        self.page.click("#start")
        self.page.select_option("#blank-class", label=name)
        self.page.click("#blank")
        self.settle()

    def choose(self, *, tool: str | None = None, paints: str | None = None, size: int | None = None) -> None:
        """By the mouse, as far as a mouse can."""
        if tool:
            self.page.click(f"#tools label:has([value={tool}])")
        if paints:
            self.page.click(f"#classes label[data-name='{paints}']")
        if size:
            self.page.locator("#size").fill(str(size))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where the point (x, y) of the label map is on the page, at no zoom."""
        box = self.page.locator("#labels").bounding_box()
        assert box
        width = self.size()[0]
        scale = box["width"] / width
        return box["x"] + x * scale, box["y"] + y * scale

    def size(self) -> tuple[int, int]:
        shown = self.requests[-1]["label_map"]
        return shown["width"], shown["height"]

    def drag(self, *points: tuple[float, float], button: str = "left") -> None:
        """Press at the first point, move over the others, release at the last; then wait for the picture."""
        mouse = self.page.mouse
        mouse.move(*self.at(*points[0]))
        mouse.down(button=button)  # type: ignore[arg-type]
        for point in points[1:]:
            mouse.move(*self.at(*point), steps=4)
        mouse.up(button=button)  # type: ignore[arg-type]
        self.settle()

    def download(self, what: str) -> bytes:
        """The file of "picture", "labels", "record" or "marks"."""
        self.page.click("#download")
        with self.page.expect_download() as waiting:
            self.page.click(f"[data-download={what}]")
        return Path(waiting.value.path()).read_bytes()

    def labels(self) -> np.ndarray:
        """The label map as downloaded: its numbers are ids."""
        picture = Image.open(io.BytesIO(self.download("labels")))
        assert picture.mode == "P"
        return np.asarray(picture)

    def shown(self) -> np.ndarray:
        """The picture on screen, in screen pixels: `[H, W, 3]`."""
        self.settle()
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot = self.page.locator("#picture").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def text(self, selector: str) -> str:
        return (self.page.text_content(selector) or "").strip()
