"""Tables of a page, which are written once and shown as HTML, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["", "best", "off"]
"""Of a cell: stands out as the best, or as what is wrong."""


@dataclass(frozen=True)
class Cell:
    """A figure of a table."""

    text: str
    """As it is shown."""
    small: tuple[str, ...] = ()
    """Small print below it: an interval, a difference."""
    value: float | str | None = None
    """In CSV; None: the text."""
    ends: tuple[float, float] | None = None
    """Of its interval, in CSV."""
    tone: Tone = ""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    cells: tuple[Cell, ...]
    role: str = ""
    """Its CSS class."""
    small: tuple[str, ...] = ()
    """Small print below the name."""


@dataclass(frozen=True)
class Table:
    """A table of figures."""

    name: str
    """Of its files: letters, digits, `_` and `-`."""
    corner: str
    """What the rows are: the head of their names."""
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    kind: str = ""
    """Its CSS class."""


def file_name(text: str) -> str:
    """A name as part of a table's.

    >>> file_name("COCO-Stuff, 2 %")
    'coco-stuff_2'
    """
    return re.sub(r"[^a-z0-9-]+", "_", text.lower()).strip("_")


def text_table(name: str, corner: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table of plain texts; the first of each row is its name."""
    return Table(name, corner, heads, tuple(Row(row[0], tuple(map(Cell, row[1:]))) for row in rows))


def render_markdown(table: Table) -> list[str]:
    """Lines of Markdown, small print in brackets.

    >>> render_markdown(Table("t", "run", ("IoU ↑",), (Row("a", (Cell("50%", ("40–60%",)),)),)))
    ['| run | IoU ↑ |', '| --- | ---: |', '| a | 50% (40–60%) |']
    """
    align = " --- |" if table.kind == "fields" else " ---: |"
    lines = ["| " + " | ".join((table.corner, *table.heads)) + " |", "| --- |" + align * len(table.heads)]
    for row in table.rows:
        cells = [cell.text + "".join(f" ({small})" for small in cell.small if small) for cell in row.cells]
        lines.append("| " + " | ".join((row.name, *cells)) + " |")
    return lines


def render_csv(table: Table) -> str:
    """CSV: figures unrounded, with `... low` and `... high` beside those that have an interval; empty where unknown.

    >>> row = Row("a", (Cell("50%", value=0.5, ends=(0.4, 0.6)),))
    >>> print(render_csv(Table("t", "run", ("IoU ↑",), (row,))), end="")
    run,IoU,IoU low,IoU high
    a,0.5,0.4,0.6
    """
    with_ends = [any(row.cells[place].ends for row in table.rows) for place in range(len(table.heads))]
    heads = [table.corner]
    for head, ends in zip(table.heads, with_ends, strict=True):
        title = head.rstrip(" ↑↓")
        heads += [title, f"{title} low", f"{title} high"] if ends else [title]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for row in table.rows:
        line: list[Any] = [row.name]
        for cell, ends in zip(row.cells, with_ends, strict=True):
            line.append(("" if cell.text == "–" else cell.text) if cell.value is None else cell.value)
            line += (cell.ends or ("", "")) if ends else ()
        writer.writerow(line)
    return text.getvalue()


def render_latex(table: Table) -> str:
    """A `tabular` of booktabs, to be put into a `table`: small print in script size, the best bold."""
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{('l' if table.kind == 'fields' else 'r') * len(table.heads)}}}",
        "\\toprule",
        " & ".join(map(escape, (table.corner, *table.heads))) + r" \\",
        "\\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join([escape(row.name), *map(_latex_cell, row.cells)]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


_SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
    "−": "$-$",
    "…": r"\dots{}",
    "’": "'",
    "“": "``",
    "”": "''",
    "×": r"$\times$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def escape(text: str) -> str:
    r"""Text as LaTeX shows it.

    >>> escape("a_b & 5% ↑")
    'a\\_b \\& 5\\% $\\uparrow$'
    """
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _latex_cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = rf"\textbf{{{text}}}" if cell.tone == "best" else text
    small = "; ".join(escape(part) for part in cell.small if part)
    return text + (rf" {{\scriptsize ({small})}}" if small else "")
