"""Files in and out, templates, checkpoints, marks, and the session."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.browser.painter import CLASSES, Painter, is_preview

SKY, GRASS, SEA = (CLASSES.index(name) for name in ("sky", "grass", "sea"))


@pytest.fixture(scope="module")
def landscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows of the data set, 128x128."""
    from pipeline.datasets.landscape.dataset import prepare

    folder = tmp_path_factory.mktemp("landscapes")
    prepare(folder, train=1, validation=3, height=128, width=128, seed=1, workers=1)
    return folder / "validation.parquet"


def png(labels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def upload(painter: Painter, name: str, content: bytes) -> None:
    kind = "image/png" if name.endswith(".png") else "application/octet-stream"
    painter.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def test_a_label_map_comes_in_and_goes_out_as_it_is(painter: Painter) -> None:
    labels = np.full((128, 128), SKY)
    labels[70:, :] = GRASS
    labels[90:, 30:77] = SEA
    upload(painter, "bay.png", png(labels))
    painter.page.wait_for_selector("#toast:not([hidden])")
    painter.settle()
    assert np.array_equal(painter.labels(), labels)
    painter.page.keyboard.press("Control+z")
    painter.settle()
    assert (painter.labels() == SKY).all(), "what was there comes back"


def test_rows_of_a_parquet_file_are_paged_through(painter: Painter, landscapes: Path) -> None:
    rows = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in pq.read_table(landscapes)["label"].to_pylist()]
    painter.page.set_input_files("#file", str(landscapes))
    painter.page.wait_for_selector("#rows:not([hidden])")
    painter.settle()
    assert np.array_equal(painter.labels(), rows[0]) and painter.text("#row-count") == "of 3"
    painter.page.click("#row-after")
    painter.wait_for("document.querySelector('#row').value === '2'")
    painter.settle()
    assert np.array_equal(painter.labels(), rows[1])
    painter.page.fill("#row", "3")
    painter.page.keyboard.press("Enter")
    painter.wait_for("document.querySelector('#row-after').disabled")
    painter.settle()
    assert np.array_equal(painter.labels(), rows[2])


def test_the_record_holds_what_is_seen(painter: Painter) -> None:
    painter.page.fill("#seed", "5")
    painter.choose(paints="sea", size=40)
    painter.drag((20, 100), (110, 100))
    labels, picture = painter.labels(), painter.download("picture")
    table = pq.read_table(pa.BufferReader(painter.download("record")))
    assert table.num_rows == 1
    row = table.to_pylist()[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["label"]["bytes"]))), labels)
    recorded = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"))
    assert np.array_equal(recorded, np.asarray(Image.open(io.BytesIO(picture))))


def test_templates_are_there_to_start_from(painter: Painter) -> None:
    painter.page.click("#start")
    painter.page.locator("#templates button").first.wait_for()
    assert painter.page.locator("#templates button").count() >= 3
    painter.page.locator("#templates button").nth(1).click()
    painter.settle()
    assert len(np.unique(painter.labels())) > 3
    assert not painter.page.is_visible("#start-dialog")


def test_a_session_survives_a_reload(painter: Painter) -> None:
    painter.page.fill("#seed", "11")
    painter.choose(paints="sea", size=17)
    painter.drag((20, 100), (110, 100))
    painter.choose(tool="polygon")
    drawn, picture = painter.labels(), painter.shown()
    painter.reload()
    assert np.array_equal(painter.labels(), drawn) and np.array_equal(painter.shown(), picture)
    assert painter.page.input_value("#seed") == "11" and painter.page.input_value("#size") == "17"
    assert painter.page.is_checked("#tools [value=polygon]") and painter.text("#ink b") == "sea"
    painter.page.keyboard.press("Control+z")
    painter.settle()
    assert (painter.labels() == SKY).all(), "steps can be undone after a reload"


def test_each_checkpoint_has_its_own_label_map(painter: Painter) -> None:
    painter.choose(paints="sea", size=30)
    painter.drag((64, 64))
    drawn = painter.labels()
    first, second = (option.text_content() for option in painter.page.locator("#checkpoint option").all())
    painter.page.select_option("#checkpoint", second)
    painter.page.wait_for_selector(f"html[data-checkpoint='{second}']")
    painter.settle()
    assert painter.labels().shape == (64, 64)
    painter.page.select_option("#checkpoint", first)
    painter.page.wait_for_selector(f"html[data-checkpoint='{first}']")
    painter.settle()
    assert np.array_equal(painter.labels(), drawn)


def test_pictures_are_marked_and_marks_come_as_records(painter: Painter) -> None:
    painter.drag((64, 64))
    painter.page.click("[data-mark=bad]")
    painter.page.wait_for_selector("[data-mark=bad][aria-pressed=true]")
    assert "Marked as bad: 1 mark" in painter.text("#toast")
    marks = pq.read_table(pa.BufferReader(painter.download("marks"))).to_pylist()
    assert marks[-1]["mark"] == "bad"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(marks[-1]["label"]["bytes"]))), painter.labels())
    painter.choose(paints="sea")
    painter.drag((30, 30))
    assert painter.page.get_attribute("[data-mark=bad]", "aria-pressed") == "false", "another picture has no mark yet"


def test_errors_are_said_in_words(painter: Painter) -> None:
    upload(painter, "no.png", b"no picture at all")
    painter.page.wait_for_selector("#problem:not([hidden])")
    assert len(painter.text("#problem span").split()) > 3
    painter.page.click("#problem button")
    assert not painter.page.is_visible("#problem")
    upload(painter, "ids.png", png(np.full((128, 128), 77)))
    painter.page.wait_for_selector("#problem:not([hidden])")
    assert "77" in painter.text("#problem span")
    painter.page.route("**/synthesize", lambda route: route.abort())
    painter.drag((20, 20))
    painter.wait_for("document.querySelector('#problem').textContent.includes('does not answer')")
    painter.page.unroute("**/synthesize")
    painter.drag((90, 90))
    assert not painter.page.is_visible("#problem"), "a picture came: nothing is wrong any more"
    painter.console.clear()  # the browser lists every failed request there


def test_a_busy_service_is_asked_again(painter: Painter) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "the service is busy"}}
    refused = []

    def refuse_once(route: Any) -> None:
        if refused or not is_preview(route.request):
            route.continue_()
        else:
            refused.append(True)
            route.fulfill(**busy)

    painter.page.route("**/synthesize", refuse_once)
    painter.choose(paints="sea", size=30)
    painter.page.mouse.click(*painter.at(64, 64))
    painter.wait_for("document.querySelector('#problem').textContent.includes('Trying again in 1 s')")
    painter.settle()
    painter.page.wait_for_selector("#problem", state="hidden")
    assert SEA in {label for label, _ in painter.requests[-1]["label_map"]["runs"]}
    painter.console.clear()
