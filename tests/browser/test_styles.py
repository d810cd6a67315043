"""Styles: the dial, samples, saved and kept styles, photographs, blends."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.browser.painter import Painter


def test_seeds_by_number_dial_and_dice(painter: Painter) -> None:
    first = painter.shown()
    painter.page.fill("#seed", "7")
    painter.settle()
    assert painter.requests[-1]["style"] == {"seed": 7}
    assert np.abs(painter.shown().astype(int) - first).mean() > 1, "another seed is another picture"
    painter.page.focus("#dial")
    painter.page.keyboard.press("ArrowUp")
    painter.page.keyboard.press("PageUp")
    painter.settle()
    assert painter.requests[-1]["style"] == {"seed": 18} and painter.page.input_value("#seed") == "18"
    box = painter.page.locator("#dial").bounding_box()
    assert box
    x, y, reach = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] / 3
    painter.page.mouse.move(x, y - reach)
    painter.page.mouse.down()
    painter.page.mouse.move(x + reach, y, steps=12)
    painter.page.mouse.up()
    painter.settle()
    assert painter.requests[-1]["style"] == {"seed": 24}, "a quarter of a turn is six notches"
    painter.page.click("#roll")
    painter.settle()
    assert painter.requests[-1]["style"]["seed"] == int(painter.page.input_value("#seed"))


def test_the_strip_shows_other_seeds_and_one_can_be_taken(painter: Painter) -> None:
    painter.wait_for("document.querySelectorAll('#strip canvas[data-drawn]').length === 6")
    painter.page.click("#strip [data-seed='4']")
    painter.settle()
    assert painter.page.get_attribute("#strip [data-seed='4']", "aria-pressed") == "true"
    assert painter.page.input_value("#seed") == "4"
    painter.page.click("#more")
    assert painter.page.locator("#strip [data-seed='7']").count() == 1


def test_moods_have_thumbnails_and_two_blend(painter: Painter) -> None:
    moods = painter.page.locator("#styles label")
    moods.first.wait_for()
    painter.wait_for("[...document.querySelectorAll('#styles canvas')].every(each => each.dataset.drawn)")
    moods.nth(0).click()
    painter.settle()
    first = painter.requests[-1]["style"]["z"]
    moods.nth(1).click()
    painter.settle()
    second = painter.requests[-1]["style"]["z"]
    assert len(first) == 16 and first != second
    painter.page.select_option("#partner", index=1)
    painter.page.locator("#blend").fill("25")
    painter.settle()
    assert painter.requests[-1]["style"] == {"blend": [{"z": second}, {"z": first}], "t": 0.25}
    painter.page.click("#keep")
    kept = moods.last
    painter.page.select_option("#partner", "")
    kept.click()
    painter.settle()
    assert np.allclose(painter.requests[-1]["style"]["z"], 0.75 * np.array(second) + 0.25 * np.array(first))
    count = moods.count()
    painter.reload()
    painter.wait_for("n => document.querySelectorAll('#styles label').length === n", count)
    painter.page.locator("#styles .item").last.locator("button").click()
    assert moods.count() == count - 1


def test_a_photograph_gives_its_style(painter: Painter) -> None:
    rows = np.linspace(40, 220, 96, dtype=np.uint8)[:, None, None]
    photograph = io.BytesIO()
    Image.fromarray(np.broadcast_to(rows * np.array([1, 0.6, 0.4]), (96, 128, 3)).astype(np.uint8)).save(
        photograph, "JPEG"
    )
    file = {"name": "evening.jpg", "mimeType": "image/jpeg", "buffer": photograph.getvalue()}
    painter.page.set_input_files("#photograph-file", file)  # type: ignore[arg-type]
    painter.page.wait_for_selector("#styles label:has-text('evening') input:checked", state="attached")
    painter.settle()
    assert len(painter.requests[-1]["style"]["z"]) == 16
    assert painter.text("#style-name") == "Style: evening"
    painter.page.set_input_files("#photograph-file", file | {"name": "no.jpg", "buffer": b"no picture"})  # type: ignore
    painter.page.wait_for_selector("#problem:not([hidden])")
    painter.console.clear()  # the browser lists every 4xx there
