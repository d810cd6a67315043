"""Charts of curves: from values to the coordinates that `line_chart` of `macros.html.j2` draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 540, 270
"""Of a chart, with room for its axes; the page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 30
COLOURS = 8
"""The style has so many colours of curves; the first is neutral."""

Ticks = Sequence[tuple[float, str]]
"""Where lines of an axis stand, and their texts."""


@dataclass(frozen=True)
class Point:
    """A value of a curve."""

    x: float
    y: float
    ends: tuple[float, float] | None = None
    """Of its interval."""
    text: str = ""
    """What a pointer over it is told."""


@dataclass(frozen=True)
class Series:
    """A curve."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    """Of the style's; counted on from the last."""
    dashed: bool = False
    note: str = ""
    """Beside its name: its last value, say."""


@dataclass(frozen=True)
class LineChart:
    """A chart, ready to be drawn."""

    title: str
    """Read to those who do not see it."""
    x_title: str
    x_ticks: Sequence[tuple[float, str]]
    """Place, in pixels, and text."""
    y_ticks: Sequence[tuple[float, str]]
    series: Sequence[Series]
    """With points in pixels."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def line_chart(
    title: str, series: Sequence[Series], *, x_title: str = "", x_ticks: Ticks = (), y_ticks: Ticks = ()
) -> LineChart:
    """Curves on linear axes, which span all points, their intervals and the ticks; without ticks the ends and the
    middle of an axis have one. Logarithmic axes are the caller's: logarithms as values, and ticks that say of what.
    """
    points = [point for line in series for point in line.points]
    xs = [point.x for point in points] + [x for x, _ in x_ticks]
    ys = [y for point in points for y in (point.y, *(point.ends or ()))] + [y for y, _ in y_ticks]
    (left, right), (low, high) = _span(xs), _span(ys)

    def across(x: float) -> float:
        return round(LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def placed(point: Point) -> Point:
        ends = point.ends and (down(point.ends[0]), down(point.ends[1]))
        return Point(across(point.x), down(point.y), ends, point.text)

    x_ticks = x_ticks or [(x, f"{x:.0f}") for x in (left, (left + right) / 2, right)]
    y_ticks = y_ticks or [(y, f"{y:.3g}") for y in (low, (low + high) / 2, high)]
    return LineChart(
        title,
        x_title,
        [(across(x), text) for x, text in x_ticks],
        [(down(y), text) for y, text in y_ticks],
        [
            Series(line.name, [placed(point) for point in line.points], line.colour % COLOURS, line.dashed, line.note)
            for line in series
        ],
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest, a little apart where they are the same."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
