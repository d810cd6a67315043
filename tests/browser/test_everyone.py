"""For everyone: the keyboard alone, a phone, light and dark, contrast, names of controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.browser.painter import CLASSES, Painter

SKY, SEA = CLASSES.index("sky"), CLASSES.index("sea")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 3}

CONTRAST = """() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => colour.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(".hidden, .skip, :disabled, script, noscript")) continue;
    const below = ground(element);
    const [a, b] = [light(over(parse(getComputedStyle(element).color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${walker.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return bad;
}"""

UNNAMED = """() => [...document.querySelectorAll("button, input, select, canvas[role], [role=slider]")]
  .filter((each) => !(each.labels?.length || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
    || each.textContent.trim()))
  .map((each) => each.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(open_painter: Any, scheme: str) -> None:
    painter = open_painter(color_scheme=scheme)
    assert painter.page.evaluate(CONTRAST) == []
    painter.page.click("#start")
    assert painter.page.evaluate(CONTRAST) == []
    painter.page.keyboard.press("Escape")
    painter.page.click("#help")
    assert painter.page.evaluate(CONTRAST) == []
    painter.page.keyboard.press("Escape")
    painter.page.route("**/synthesize", lambda route: route.abort())
    painter.page.click("#roll")
    painter.page.wait_for_selector("#problem:not([hidden])")
    assert painter.page.evaluate(CONTRAST) == []


def test_every_class_can_be_reached_in_a_low_window(open_painter: Any) -> None:
    painter = open_painter(viewport={"width": 1280, "height": 720})
    last = painter.page.locator("#classes label").last
    last.click()
    assert painter.text("#ink b") == last.get_attribute("data-name")
    assert painter.page.locator("#search").is_visible()
    box = painter.page.locator("#search").bounding_box()
    assert box and box["y"] > 48, "the list scrolls, not what is around it"


def test_every_control_has_a_name(painter: Painter) -> None:
    assert painter.page.evaluate(UNNAMED) == []


def test_dark_as_the_system_says_and_light_as_the_user_chooses(open_painter: Any) -> None:
    painter = open_painter(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = painter.page.evaluate(ground)
    assert max(int(part) for part in dark[4:-1].split(",")) < 40
    painter.page.click("#theme")
    light = painter.page.evaluate(ground)
    assert min(int(part) for part in light[4:-1].split(",")) > 200
    painter.reload()
    assert painter.page.evaluate(ground) == light, "the choice is kept"
    painter.page.click("#theme")
    assert painter.page.evaluate(ground) == dark


def test_everything_with_the_keyboard_alone(open_painter: Any) -> None:
    """No mouse: start blank, choose a class by search, draw with the brush, a rectangle, fill, undo, download."""
    painter = open_painter()
    press, focused = painter.page.keyboard.press, "document.activeElement.id"

    def tab_to(name: str) -> None:
        for _ in range(120):
            if painter.page.evaluate(focused) == name:
                return
            press("Tab")
        raise AssertionError(f"Tab does not come to {name}")

    tab_to("start")
    press("Enter")
    tab_to("blank-class")
    painter.page.keyboard.type("sky")
    tab_to("blank")
    press("Enter")
    painter.settle()

    press("/")
    painter.page.keyboard.type("sea")
    press("Enter")
    assert painter.text("#ink b") == "sea"
    tab_to("labels")
    press("b")
    for _ in range(3):
        press("]")
    size = int(painter.page.input_value("#size"))
    press("Space")  # at the middle
    for _ in range(4):
        press("Shift+ArrowRight")
    press("Space")
    painter.settle()
    with painter.page.expect_download() as waiting:
        press("Control+Shift+S")
    assert waiting.value.suggested_filename.endswith("-labels.png")
    labels = painter.labels()
    rows, columns = np.nonzero(labels == SEA)
    assert labels[64, 64:97].tolist() == [SEA] * 33
    assert abs(np.ptp(rows) + 1 - size) <= 1 and abs(np.ptp(columns) + 1 - (32 + size)) <= 1

    painter.page.focus("#labels")
    press("Control+z")
    press("r")
    press("Space")
    press("Shift+ArrowDown")
    press("Shift+ArrowLeft")
    press("Space")
    painter.settle()
    assert (painter.labels() == SEA).sum() == 81
    painter.page.focus("#labels")
    press("f")
    press("Shift+ArrowUp")
    press("Shift+ArrowUp")
    press("Space")
    painter.settle()
    assert (painter.labels() == SEA).all()
    assert "Filled" in painter.text("#status")


def test_letters_are_no_shortcuts_where_one_types_or_has_switched_them_off(painter: Painter) -> None:
    painter.page.focus("#search")
    painter.page.keyboard.type("hill")
    assert painter.page.is_checked("#tools [value=brush]")
    assert painter.page.locator("#classes label:visible").count() == 1
    painter.page.fill("#search", "zzz")
    assert painter.page.is_visible("#no-class")
    painter.page.fill("#search", "")
    painter.page.click("#help")
    painter.page.uncheck("#single-keys")
    painter.page.keyboard.press("Escape")
    painter.page.focus("#labels")
    painter.page.keyboard.press("l")
    assert painter.page.is_checked("#tools [value=brush]")


def test_a_phone_has_all_of_it_within_its_width(open_painter: Any) -> None:
    painter = open_painter(**PHONE)
    assert painter.page.evaluate("document.documentElement.scrollWidth") == 390
    painter.start_blank("sky")
    boxes = {name: painter.page.locator(name).bounding_box() for name in ("#labels", "#picture", "#tools", "#classes")}
    for name, box in boxes.items():
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 844, f"{name} is not seen without scrolling"
    assert boxes["#labels"]["y"] + boxes["#labels"]["height"] <= boxes["#tools"]["y"], "the tools cover the label map"
    assert boxes["#labels"]["width"] > 300
    painter.page.tap("#classes label[data-name='sea']")
    painter.page.locator("#size").fill("20")
    painter.page.touchscreen.tap(*painter.at(64, 64))
    painter.settle()
    labels = painter.labels()
    assert labels[64, 64] == SEA and labels[64, 90] == SKY


def test_two_fingers_zoom_and_take_back_what_the_first_has_painted(open_painter: Any) -> None:
    painter = open_painter(**PHONE)
    painter.start_blank("sky")
    painter.page.tap("#classes label[data-name='sea']")
    touch = painter.page.context.new_cdp_session(painter.page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        places = [dict(zip("xy", painter.at(*point), strict=True), id=index) for index, point in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    send("touchStart", (50, 64))
    send("touchStart", (50, 64), (78, 64))
    for spread in range(2, 24, 2):
        send("touchMove", (50 - spread, 64), (78 + spread, 64))
    send("touchEnd")
    painter.wait_for("parseInt(document.querySelector('#fit').textContent) > 200")
    painter.settle()
    assert (painter.labels() == SKY).all()
