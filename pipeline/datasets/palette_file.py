"""Colours of RGB label maps and the classes that they stand for, read from the tables that releases have."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.datasets.text_file import read_lines, read_text
from pipeline.errors import InputError
from pipeline.runtime.json_text import read_json

DONT_CARE_NAMES = ("dont-care", "don't care", "dont_care")
"""Names in a palette file for colours that mean "unknown"."""

_HEADINGS = {
    "name": ("name", "class", "class_name", "label"),
    "red": ("r", "red"),
    "green": ("g", "green"),
    "blue": ("b", "blue"),
}
"""What the columns of a CSV palette are called, in lower case."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class PaletteFile:
    """A palette: class names, their first colours, and every colour's id."""

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    ids: Mapping[Colour, int]
    dont_care: int | None


def read_palette(path: Path) -> PaletteFile:
    """Read colours and names, in the order of the ids.

    Text has a line `red green blue name` for each colour, or is CSV (with commas, semicolons or tabs) whose heading
    names the columns `name`, `r`, `g` and `b`, in any order and beside others; lines that start with # are comments (a
    # inside a name belongs to it). JSON is an object from names to `[red, green, blue]`. A name that comes again gives
    its class another colour; the name dont-care gives the don't-care id (255, or 65535 with so many classes). Raises
    `InputError`, which names the line.
    """
    rows = _read_json(path) if path.suffix.lower() == ".json" else _read_text(path)
    for name, colour in rows:
        if not (
            isinstance(colour, list) and len(colour) == 3 and all(isinstance(v, int) and 0 <= v < 256 for v in colour)
        ):
            raise InputError(f"palette {path}: the colour of '{name}' is {colour}; give three numbers from 0 to 255")
    return _number(path, [(name, tuple(colour)) for name, colour in rows])


def _number(path: Path, rows: Sequence[tuple[str, Colour]]) -> PaletteFile:
    """Ids in the order of the names."""
    names: dict[str, Colour] = {}
    for name, colour in rows:
        if name not in DONT_CARE_NAMES:
            names.setdefault(name, colour)
    if not names:
        raise InputError(f"palette {path} has no classes; write lines such as '128 64 128 road'")
    unknown = None
    if len(names) < len({name if name not in DONT_CARE_NAMES else "" for name, _ in rows}):
        unknown = 255 if len(names) <= 255 else 65535
    numbers = {name: number for number, name in enumerate(names)}
    ids: dict[Colour, int] = {}
    for name, colour in rows:
        number = numbers.get(name, unknown)
        assert number is not None
        if ids.setdefault(colour, number) != number:
            raise InputError(f"palette {path} has the colour {' '.join(map(str, colour))} for two classes; change one")
    return PaletteFile(tuple(names), tuple(names.values()), ids, unknown)


def _read_json(path: Path) -> list[tuple[str, Any]]:
    try:
        return list(read_json(read_text(path, "palette")).items())
    except (ValueError, AttributeError) as error:
        raise InputError(f"palette {path} is not a JSON object from names to [red, green, blue]: {error}") from None


def _read_text(path: Path) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    columns: _Columns | None = None
    for number, line in read_lines(path, "palette"):
        if not rows and columns is None and (columns := _Columns.find(line)):
            continue
        if columns:
            row = columns.read(line)
        else:
            found = re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)", line)
            row = (found[4], [int(found[1]), int(found[2]), int(found[3])]) if found else None
        if row is None:
            raise InputError(f"palette {path}, line {number}: '{line}' is not 'red green blue name'")
        rows.append(row)
    return rows


@dataclass(frozen=True)
class _Columns:
    """Where a CSV palette has what."""

    delimiter: str
    places: dict[str, int]

    @classmethod
    def find(cls, line: str) -> _Columns | None:
        """The columns that a heading names; None for a line that is none."""
        for delimiter in (",", ";", "\t"):
            cells = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=delimiter))]
            places = {
                column: next((cells.index(name) for name in names if name in cells), -1)
                for column, names in _HEADINGS.items()
            }
            if min(places.values()) >= 0:
                return cls(delimiter, places)
        return None

    def read(self, line: str) -> tuple[str, list[int]] | None:
        """Name and colour of a line; None where it has none."""
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter))]
        if len(cells) <= max(self.places.values()) or not cells[self.places["name"]]:
            return None
        colour = [cells[self.places[column]] for column in ("red", "green", "blue")]
        return (cells[self.places["name"]], [int(cell) for cell in colour]) if all(map(str.isdecimal, colour)) else None
