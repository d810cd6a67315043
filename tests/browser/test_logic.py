"""The page's arithmetic, in the browser, against numpy, SciPy and what is worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests.browser.painter import Painter


@pytest.fixture
def run(painter: Painter) -> Any:
    """Runs `(module, argument) => value` with a module of the page."""

    def run_it(module: str, code: str, argument: Any = None) -> Any:
        load = f"const module = await import('/page/{module}.js')"
        return painter.page.evaluate(
            f"async ([argument]) => {{ {load}; return ({code})(module, argument) }}", [argument]
        )

    return run_it


FLOOD = """({ flood }, { ids, width, height, x, y }) => {
  const found = [];
  flood(x, y, width, height, (at) => ids[at] === ids[y * width + x],
    (row, left, right) => { for (let at = left; at < right; at += 1) found.push(row * width + at); });
  return found;
}"""


def test_flood_fill_is_the_connected_region(run: Any) -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        height, width = random.integers(1, 24, 2)
        ids = random.integers(0, 2, (height, width))
        x, y = int(random.integers(width)), int(random.integers(height))
        places = {"ids": ids.ravel().tolist(), "width": int(width), "height": int(height), "x": x, "y": y}
        found = run("raster", FLOOD, places)
        regions, _ = ndimage.label(ids == ids[y, x])
        assert sorted(found) == np.flatnonzero(regions == regions[y, x]).tolist(), "every pixel once"


def test_runs_come_back_as_they_went(run: Any) -> None:
    both = "({ encodeRuns, decodeRuns }, { ids, width, height }) => { const runs = encodeRuns(Uint16Array.from(ids));"
    both += "return [runs, [...decodeRuns({ width, height, runs })]] }"
    runs, ids = run("runs", both, {"ids": [3, 3, 0, 0, 0, 65535], "width": 3, "height": 2})
    assert runs == [[3, 2], [0, 3], [65535, 1]] and ids == [3, 3, 0, 0, 0, 65535]
    refused = "({ decodeRuns }, map) => { try { decodeRuns(map) } catch (error) { return error.message } }"
    assert run("runs", refused, {"width": 2, "height": 2, "runs": [[1, 3]]}) == "runs cover 3 pixels, but 2x2 has 4"


def test_a_step_is_kept_as_runs_of_what_changed(run: Any) -> None:
    code = "({ difference }, [a, b]) => [...difference(Uint16Array.from(a), Uint16Array.from(b))]"
    assert run("document", code, [[1, 1, 1, 2, 5], [1, 3, 3, 3, 5]]) == [1, 2, 1, 3, 3, 1, 2, 3]
    assert run("document", code, [[1, 1], [1, 1]]) == []


def test_random_steps_are_undone_and_done_again(run: Any) -> None:
    code = """({ LabelDocument }, steps) => {
      const map = LabelDocument.blank(16, 16, 1);
      const states = [[...map.labels, ...map.instances].join()];
      for (const spans of steps) {
        map.begin("step");
        for (const [y, left, right, id, instance] of spans) map.span(y, left, right, id, instance);
        if (map.commit()) states.push([...map.labels, ...map.instances].join());
      }
      const now = () => [...map.labels, ...map.instances].join();
      const wrong = [];
      for (let at = states.length - 1; at > 0; at -= 1) { if (now() !== states[at]) wrong.push(at); map.undo(); }
      if (now() !== states[0] || map.canUndo) wrong.push("start");
      for (let at = 1; at < states.length; at += 1) { map.redo(); if (now() !== states[at]) wrong.push(-at); }
      return [wrong, states.length, map.canRedo];
    }"""
    random = np.random.default_rng(1)
    steps = [
        random.integers(-2, 18, (3, 5)).clip([[-2, -2, -2, 0, 0]], [[18, 18, 18, 3, 3]]).tolist() for _ in range(40)
    ]
    wrong, count, more = run("document", code, steps)
    assert wrong == [] and count > 30 and not more


def test_a_thick_line_covers_the_pixels_within_its_radius(run: Any) -> None:
    code = """({ capsule }, [x0, y0, x1, y1, size]) => { const found = [];
      capsule(x0, y0, x1, y1, size, (y, left, right) => found.push([y, left, right])); return found; }"""
    random = np.random.default_rng(2)
    y, x = np.mgrid[-20:60, -20:60] + 0.5
    for _ in range(20):
        x0, y0, x1, y1 = random.uniform(0, 40, 4)
        size = float(random.uniform(2, 20))
        t = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
        expected = np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)) <= size / 2
        drawn = np.zeros_like(expected)
        for row, left, right in run("raster", code, [x0, y0, x1, y1, size]):
            drawn[row + 20, left + 20 : right + 20] = True
        assert np.array_equal(drawn, expected)
    assert run("raster", code, [3.5, 4.5, 3.5, 4.5, 1])[0] == [4, 3, 4]


def test_ids_beyond_a_byte_make_a_grey_png_of_16_bits(run: Any) -> None:
    import io

    from PIL import Image

    code = """async ({ encodeLabels }, labels) => {
      const blob = await encodeLabels({ width: 3, height: 1, labels: Uint16Array.from(labels) }, (id) => [id, 0, 1]);
      return [...new Uint8Array(await blob.arrayBuffer())]; }"""
    wide = Image.open(io.BytesIO(bytes(run("png", code, [0, 300, 65535]))))
    assert wide.mode.startswith("I;16") and np.asarray(wide).tolist() == [[0, 300, 65535]]
    small = Image.open(io.BytesIO(bytes(run("png", code, [0, 2, 255]))))
    assert small.mode == "P" and np.asarray(small).tolist() == [[0, 2, 255]]
    assert np.asarray(small.convert("RGB")).tolist() == [[[0, 0, 1], [2, 0, 1], [255, 0, 1]]]
