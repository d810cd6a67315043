"""The pages of evaluation and training in a real browser: nothing is cut on a phone, and keys are enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evaluation.compare import compare
from evaluation.evaluate import evaluate
from tests.evaluation.conftest import data, draw, noise, photograph, trained, write_pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["data", "trained"]  # fixtures

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
READABLE = Path(__file__).with_name("contrast.js").read_text()


@pytest.fixture(scope="module")
def pages(data: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of photographs and noise, and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    records = [draw(index) for index in range(100, 106)]
    for name, samples, synthesize in (
        ("mixed", 2, lambda r, s: noise(r, s) if s else photograph(r, s)),
        ("good", 1, photograph),
    ):
        images = write_pictures(folder / f"{name}-images", records, synthesize, samples=samples)
        evaluate(images, data / "validation.parquet", folder / name, segmenter_weights=trained, device="cpu")
    compare([folder / "good", folder / "mixed"], folder / "compare")
    return folder


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Any]:
    """Opens a file, with options of Playwright's `new_context`; no error may reach the console."""
    contexts, errors = [], []

    def open_it(path: Path, **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["mixed/report.html", "compare/compare.html"])
def test_nothing_is_cut_on_a_phone_and_all_text_has_contrast(pages: Path, visit: Any, name: str, scheme: str) -> None:
    page = visit(pages / name, viewport=PHONE, color_scheme=scheme)
    assert page.evaluate("document.scrollingElement.scrollWidth") == PHONE["width"]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert page.evaluate(READABLE) == []


def test_the_gallery_is_sorted_filtered_and_driven_by_keys(pages: Path, visit: Any) -> None:
    page = visit(pages / "mixed/report.html", viewport=DESKTOP)
    captions = page.locator("#gallery .grid button span")
    count = page.locator("#gallery output")
    assert count.inner_text() == "12 of 12 pictures"
    page.get_by_label("Sort by").select_option("accuracy")
    shown = [float(text.rstrip("%")) for text in captions.all_inner_texts()]
    assert shown == sorted(shown) and shown[0] < shown[-1]
    page.get_by_label("Order").select_option("best")
    assert [float(text.rstrip("%")) for text in captions.all_inner_texts()] == shown[::-1]
    page.get_by_label("from").fill(str(shown[-1]))
    assert count.inner_text() == f"{shown.count(shown[-1])} of 12 pictures"
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelector('#gallery output').textContent === '12 of 12 pictures'")
    page.get_by_label("With the error").select_option(index=1)
    some = captions.count()
    assert 0 < some < 12
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('#gallery .grid button').length === 12")

    # By keys alone: to the third picture, into the dialog, on, and back to where one was.
    page.locator("#gallery .grid button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert "(3 of 12)" in dialog.locator("h3").inner_text()
    assert dialog.locator("figcaption").all_inner_texts() == [
        *("label map", "synthesized", "predicted labels", "errors", "real photograph")
    ]
    page.keyboard.press("ArrowRight")
    assert "(4 of 12)" in dialog.locator("h3").inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    focused = "[...document.querySelectorAll('#gallery .grid button')].indexOf(document.activeElement)"
    assert page.evaluate(focused) == 3
    page.keyboard.press("Home")
    assert page.evaluate(focused) == 0
