"""Every text of every page can be read, in the light and in the dark: WCAG 2.2 AA, by the style sheets themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SHEETS = [
    path
    for folder in ("pipeline/pages", "evaluation/report", "training")
    for path in sorted(Path(folder).iterdir())
    if path.suffix in (".css", ".j2")
]
SURFACES = ("ground", "panel")
"""What a text stands on where its own rule says nothing else."""
FILLS = ("made", "ceiling", "baseline", "own", "line")
"""Bars, marks and shades, on which no text stands."""
Colour = tuple[float, float, float]


def contrast(one: Colour, other: Colour) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _colour(text: str) -> Colour:
    if text.startswith("#"):
        return tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))  # type: ignore[return-value]
    return tuple(map(float, text.split()))  # type: ignore[return-value]


def rules(text: str) -> list[tuple[str, dict[str, str]]]:
    """Selector and declarations of each rule, those in `@media` too."""
    text = re.sub(r"/\*.*?\*/|\{[%{].*?[%}]\}", "", text, flags=re.DOTALL)
    found = []
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        pairs = (part.split(":", 1) for part in body.split(";") if ":" in part)
        found.append((selector.strip(), {name.strip(): value.strip() for name, value in pairs}))
    return found


def style_of(path: Path) -> str:
    """The CSS of a style sheet, or of a template's block `style`."""
    text = path.read_text()
    if path.suffix == ".css":
        return text
    return "".join(re.findall(r"{% block style %}(.*?){% endblock %}", text, flags=re.DOTALL))


ROOTS = [
    {name.removeprefix("--"): _colour(value) for name, value in fields.items() if re.match(r"#|\d+ \d+ \d+$", value)}
    for selector, fields in rules(Path("pipeline/pages/style.css").read_text())
    if selector == ":root"
]


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast(_colour("#000000"), _colour("#ffffff")) == pytest.approx(21)
    assert contrast(_colour("#8a9399"), _colour("#ffffff")) == pytest.approx(3.13, abs=0.005)  # what it once was
    assert len(ROOTS) == 2 and ROOTS[0].keys() == ROOTS[1].keys()


@pytest.mark.parametrize("colours", ROOTS, ids=["light", "dark"])
def test_every_text_on_every_ground_has_a_contrast_of_4_5(colours: dict[str, Colour]) -> None:
    pairs = set()
    for path in SHEETS:
        for selector, fields in rules(style_of(path)):
            if selector == ":root":
                continue
            text = _variable(fields.get("color") or fields.get("fill"))
            ground = _variable(fields.get("background"))
            assert text or not ground or ground in (*SURFACES, *FILLS, "heat"), f"{path}: {selector} has no colour"
            if text and text != "own":
                pairs |= {(text, each) for each in ([ground] if ground else SURFACES)}
    assert {("faint", "panel"), ("soft", "ground"), ("on-accent", "accent"), ("baseline", "panel")} <= pairs
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert not {pair: round(value, 2) for pair, value in low.items() if value < 4.5}


@pytest.mark.parametrize("colours", ROOTS, ids=["light", "dark"])
def test_curves_bars_and_edges_stand_out_and_the_heat_map_can_be_read(colours: dict[str, Colour]) -> None:
    for name in (*(f"curve-{number}" for number in range(8)), "made", "baseline", "edge", "accent"):
        assert min(contrast(colours[name], colours[ground]) for ground in SURFACES) >= 3, name
    for share in range(101):
        alpha = 0.06 + 0.94 * share / 100
        cell = tuple(alpha * a + (1 - alpha) * b for a, b in zip(colours["heat"], colours["ground"], strict=True))
        assert contrast(colours["ink"], cell) >= 4.5, share  # type: ignore[arg-type]


def test_colours_stand_in_one_place() -> None:
    for path in SHEETS:
        for selector, fields in rules(style_of(path)):
            if selector != ":root":
                text = re.sub(r"rgb\(var\(--heat\)[^;]*|rgb\(0 0 0 / [.\d]+\)", "", " ".join(fields.values()))
                assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", text), f"{path}: {selector}"
        markup = re.sub(r"{% block style %}.*?{% endblock %}", "", path.read_text(), flags=re.DOTALL)
        if path.suffix == ".j2":
            assert not re.search(r"""(fill|stroke|color|background)\s*[=:]\s*["']?\s*(#|rgb)""", markup), path


def _variable(value: str | None) -> str | None:
    found = re.search(r"var\(--([\w-]+)\)", value or "")
    return found[1] if found else None
