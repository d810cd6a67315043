"""Numbers for people to read in passing: a pace, a time, so many things."""

from __future__ import annotations


def three_digits(value: float) -> str:
    """Three significant digits of a positive number, and all of those before the point; never powers of ten.

    >>> three_digits(0.012345), three_digits(4), three_digits(25.04), three_digits(999.7), three_digits(2809.2)
    ('0.0123', '4', '25', '1,000', '2,809')
    """
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def plural(noun: str, count: int) -> str:
    """A noun that takes an "s", for so many.

    >>> plural("part", 1), plural("step", 0), plural("record", 2)
    ('part', 'steps', 'records')
    """
    return noun if count == 1 else f"{noun}s"
