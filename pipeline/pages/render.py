"""A page from a Jinja template, beside it its tables as files: no reference to any other file or host."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from pipeline.data.atomic import write_atomic
from pipeline.data.images import encode_png
from pipeline.pages.format import factor, number, percent
from pipeline.pages.tables import Table, render_csv, render_latex

FOLDER = "tables"
"""Beside a page: its tables as CSV and LaTeX."""


def write_page(path: Path, template: Path, *, tables: Sequence[Table] = (), **fields: Any) -> None:
    """Write a page, and its tables to the folder `tables` beside it as `NAME.csv` and `NAME.tex`; whole or not at all.

    The template finds the tables by name as `tables.NAME`; it can extend `page.html.j2` and use the macros of
    `macros.html.j2`, both in this folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, render_page(template, tables=tables, **fields))
    if tables:
        (path.parent / FOLDER).mkdir(exist_ok=True)
    for table in tables:
        write_atomic(path.parent / FOLDER / f"{table.name}.csv", render_csv(table))
        write_atomic(path.parent / FOLDER / f"{table.name}.tex", render_latex(table))


def render_page(template: Path, *, tables: Sequence[Table] = (), **fields: Any) -> str:
    """The HTML of a page, self-contained: pictures, styles and the files of its tables are in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "factor": factor,
        "png": lambda image: data_uri(encode_png(image), "image/png"),
        "csv": lambda table: data_uri(render_csv(table).encode(), "text/csv"),
        "latex": lambda table: data_uri(render_latex(table).encode(), "text/x-tex"),
    }
    by_name = {table.name: table for table in tables}
    return environment.get_template(template.name).render(tables=by_name, **fields)


def data_uri(content: bytes, kind: str) -> str:
    """Content of a MIME type as an address of its own.

    >>> data_uri(b"abc", "text/plain")
    'data:text/plain;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
