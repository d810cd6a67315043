"""Tools, steps back, objects: what the pointer draws, and what the service is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.browser.painter import CLASSES, Painter, is_preview

SKY, MOUNTAIN, GRASS, SEA = (CLASSES.index(name) for name in ("sky", "mountain", "grass", "sea"))


def test_a_brush_paints_its_class_and_the_picture_follows(painter: Painter) -> None:
    before = painter.shown()
    painter.choose(tool="brush", paints="grass", size=20)
    painter.drag((30, 64), (100, 64))
    labels = painter.labels()
    assert set(np.unique(labels)) == {SKY, GRASS}
    y, x = np.mgrid[:128, :128] + 0.5
    distance = np.hypot(np.clip(x, 30, 100) - x, 64 - y)
    assert (labels[distance < 9] == GRASS).all() and (labels[distance > 11] == SKY).all()
    changed = np.abs(painter.shown().astype(int) - before).max(axis=2) > 24
    height, width = changed.shape
    assert changed[height // 2, width // 3 : 2 * width // 3].mean() > 0.9
    assert changed[: height // 8].mean() < 0.1


def test_every_move_asks_for_a_picture_and_the_last_is_of_the_whole_stroke(painter: Painter) -> None:
    painter.choose(paints="sea", size=8)
    asked = len(painter.requests)
    painter.drag((10, 10), (40, 30), (80, 60), (110, 110))
    assert len(painter.requests) > asked + 1, "the picture follows while the pen moves"
    runs = painter.requests[-1]["label_map"]["runs"]
    sent = np.repeat([each[0] for each in runs], [each[1] for each in runs]).reshape(128, 128)
    assert np.array_equal(sent, painter.labels())


def test_fill_takes_the_region_up_to_its_border(painter: Painter) -> None:
    painter.choose(tool="rectangle", paints="grass")
    painter.drag((20.5, 30.5), (99.5, 89.5))
    painter.choose(tool="fill", paints="sea")
    painter.drag((50, 50))
    expected = np.full((128, 128), SKY)
    expected[30:90, 20:100] = SEA
    assert np.array_equal(painter.labels(), expected)


def test_corners_can_be_painted(painter: Painter) -> None:
    painter.choose(tool="brush", paints="sea", size=1)
    for corner in ((0.5, 0.5), (127.5, 0.5), (0.5, 127.5), (127.5, 127.5)):
        painter.drag(corner)
    assert (painter.labels()[[0, 0, -1, -1], [0, -1, 0, -1]] == SEA).all()


def test_undo_and_redo_go_all_the_way(painter: Painter) -> None:
    painter.choose(paints="grass", size=6)
    for row in range(10, 120, 10):
        painter.drag((10, row), (110, row))
    drawn = painter.labels()
    for _ in range(11):
        painter.page.keyboard.press("Control+z")
    assert (painter.labels() == SKY).all()
    for _ in range(11):
        painter.page.keyboard.press("Control+Shift+Z")
    assert np.array_equal(painter.labels(), drawn)
    assert painter.page.is_disabled("#redo")
    painter.page.click("#undo")
    painter.settle()
    assert (painter.labels()[110] == SKY).all() and painter.page.is_enabled("#redo")
    painter.drag((64, 4))
    assert painter.page.is_disabled("#redo"), "a new step leaves nothing to do again"


def test_line_polygon_and_eraser(painter: Painter) -> None:
    painter.choose(tool="line", paints="sea", size=4)
    painter.drag((10, 20), (30, 90), (118, 20))
    labels = painter.labels()
    assert (labels[20, 12:116] == SEA).all() and (labels[60:] == SKY).all(), "only the last end counts"
    painter.choose(tool="polygon", paints="mountain")
    for corner in ((20, 100), (64, 40), (108, 100)):
        painter.drag(corner)
    painter.page.keyboard.press("Enter")
    painter.settle()
    labels = painter.labels()
    assert (
        labels[90, 64] == MOUNTAIN and labels[50, 64] == MOUNTAIN and labels[50, 30] == SKY and labels[104, 64] == SKY
    )
    painter.page.select_option("#ground", label="grass")
    painter.choose(tool="eraser", size=12)
    painter.drag((64, 70))
    assert painter.labels()[70, 64] == GRASS
    painter.choose(tool="brush", paints="sea")
    painter.drag((30, 120), (90, 120), button="right")
    assert painter.labels()[120, 60] == GRASS, "the right button paints the eraser's class"


def test_escape_drops_a_polygon_and_backspace_its_last_corner(painter: Painter) -> None:
    painter.choose(tool="polygon", paints="sea")
    for corner in ((20, 20), (100, 20), (100, 100), (20, 100)):
        painter.drag(corner)
    painter.page.keyboard.press("Backspace")
    painter.page.keyboard.press("Enter")
    painter.settle()
    labels = painter.labels()
    assert labels[30, 90] == SEA and labels[90, 30] == SKY
    for corner in ((10, 110), (60, 110), (60, 125)):
        painter.drag(corner)
    painter.page.keyboard.press("Escape")
    assert np.array_equal(painter.labels(), labels)


def test_the_eyedropper_takes_what_it_sees(painter: Painter) -> None:
    painter.choose(paints="forest", size=30)
    painter.drag((40, 40))
    painter.choose(paints="sea", tool="eyedropper")
    painter.drag((40, 40))
    assert painter.text("#ink b") == "forest"
    painter.choose(tool="brush")
    painter.page.keyboard.down("Alt")
    painter.drag((100, 100))
    painter.page.keyboard.up("Alt")
    assert painter.text("#ink b") == "sky"


def test_objects_are_told_apart_where_the_checkpoint_wants_it(painter: Painter) -> None:
    def instances() -> np.ndarray:
        runs = painter.requests[-1]["instance_map"]["runs"]
        return np.repeat([each[0] for each in runs], [each[1] for each in runs]).reshape(128, 128)

    painter.choose(paints="tree", size=20)
    assert painter.page.input_value("#objects") == "new", "trees are objects in the templates"
    painter.drag((30, 60), (30, 80))
    painter.drag((80, 60), (80, 80))
    first, second = instances()[70, 30], instances()[70, 80]
    assert first and second and first != second and instances()[10, 10] == 0
    painter.page.select_option("#objects", "extend")
    painter.drag((30, 80), (50, 100))
    assert instances()[100, 50] == first
    painter.choose(paints="grass")
    assert painter.page.input_value("#objects") == "none"
    painter.drag((100, 110), (120, 110))
    assert instances()[110, 110] == 0


def test_zoom_keeps_the_point_below_the_pointer(painter: Painter) -> None:
    painter.choose(paints="sea", size=3)
    painter.page.mouse.move(*painter.at(100, 30))
    painter.page.mouse.wheel(0, -900)
    painter.wait_for("parseInt(document.querySelector('#fit').textContent) > 200")
    painter.drag((100, 30))
    rows, columns = np.nonzero(painter.labels() == SEA)
    assert abs(rows.mean() - 29.5) <= 1 and abs(columns.mean() - 99.5) <= 1
    painter.page.click("#fit")
    assert painter.text("#fit") == "100%"


class HeldBack:
    """Previews that are held back when asked for, of a service that says how long it computes."""

    def __init__(self, painter: Painter, milliseconds: int) -> None:
        self.hold, self.held, self.failed = False, [], []  # type: ignore[var-annotated]
        self._timing = f"paint;dur={milliseconds}"
        painter.page.route("**/synthesize", self._take)
        painter.page.on("requestfailed", lambda request: is_preview(request) and self.failed.append(request))

    def _take(self, route: Any) -> None:
        if not is_preview(route.request):
            route.continue_()
        elif self.hold:
            self.held.append(route)
        else:
            self.answer(route)

    def answer(self, route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"server-timing": self._timing})


def click_in_turn(painter: Painter, *columns: int) -> None:
    for column in columns:
        painter.page.mouse.click(*painter.at(column, 64))
        painter.wait_for("document.querySelector('#picture').getAttribute('aria-busy') === 'true'")


def pixels_of(request: dict[str, Any], label: int) -> int:
    return sum(count for number, count in request["label_map"]["runs"] if number == label)


def test_the_newest_request_wins(painter: Painter) -> None:
    """While one answer is held back, strokes do not queue up: only the newest is asked next, and shown last."""
    back = HeldBack(painter, 5)
    painter.choose(paints="sea", size=30)
    painter.drag((64, 20))
    asked, back.hold = len(painter.requests), True
    click_in_turn(painter, 20, 40, 60, 80, 100)
    assert len(painter.requests) == asked + 1
    back.hold = False
    back.answer(back.held[0])
    painter.settle()
    assert len(painter.requests) == asked + 2
    assert pixels_of(painter.requests[-1], SEA) == (painter.labels() == SEA).sum()


def test_a_slow_picture_out_of_date_is_given_up_but_not_twice_in_a_row(painter: Painter) -> None:
    back = HeldBack(painter, 500)
    painter.choose(paints="sea", size=30)
    painter.drag((64, 20))
    asked, back.hold = len(painter.requests), True
    click_in_turn(painter, 20, 40, 60, 80)
    assert len(painter.requests) == asked + 2, "the second took the place of the first; it is left to finish"
    assert len(back.failed) == 1
    back.hold = False
    back.answer(back.held[1])
    painter.settle()
    assert len(painter.requests) == asked + 3
    assert pixels_of(painter.requests[-1], SEA) == (painter.labels() == SEA).sum()
