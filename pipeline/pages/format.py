"""Figures as text, for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

NONE = "–"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent.

    >>> percent(0.6234), percent(None)
    ('62.3%', '–')
    """
    return NONE if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None) -> str:
    """A distance to three significant digits or more.

    >>> number(3221.34), number(123.456), number(1.2345), number(0.012345)
    ('3221', '123.5', '1.23', '0.0123')
    """
    if value is None:
        return NONE
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def factor(value: float | None) -> str:
    """How many times.

    >>> factor(3.154), factor(0.0142), factor(None)
    ('×3.15', '×0.0142', '–')
    """
    return NONE if value is None else f"×{number(value)}"


def css_colour(colour: Sequence[int]) -> str:
    """RGB as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def interval(pair: tuple[float, float] | None, show: Callable[[float | None], str]) -> str:
    """The ends of an interval, empty for none.

    >>> interval((0.123, 0.25), percent), interval((1.5, 2), factor), interval(None, percent)
    ('12.3–25.0%', '×1.50–2.00', '')
    """
    return "" if pair is None else f"{show(pair[0]).rstrip('%')}–{show(pair[1]).removeprefix('×')}"


def plain(value: Any) -> str:
    """A setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)
