"""The layout, tables and charts that pages share."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path

import pytest

from pipeline.pages.line_chart import HEIGHT, WIDTH, Point, Series, line_chart
from pipeline.pages.render import render_page, write_page
from pipeline.pages.tables import Cell, Row, Table, render_latex
from tests.pages import check_page

TABLE = Table(
    "scores",
    "run",
    ("mean IoU ↑", "note"),
    (
        Row("a & b", (Cell("62.3%", ("60.0–64.5%",), 0.62345, (0.6, 0.645), "best"), Cell("x_1"))),
        Row("c", (Cell("–"), Cell("of 5 ± 1"))),
    ),
)
TEMPLATE = """{% extends "page.html.j2" %}
{% from "macros.html.j2" import data_table, line_chart %}
{% block title %}A{% endblock %}
{% block content %}<h1>A</h1>{{ data_table(tables.scores) }}{{ line_chart(chart) }}{% endblock %}
"""


def test_a_page_has_its_tables_as_files_beside_it_and_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.html.j2").write_text(TEMPLATE)
    chart = line_chart("<loss> by step", [Series("loss", [Point(1, 2, text="at 1"), Point(2, 1)], 1, dashed=True)])
    write_page(tmp_path / "out/a.html", tmp_path / "a.html.j2", tables=[TABLE], chart=chart)
    page = (tmp_path / "out/a.html").read_text()
    check_page(page)
    assert "a &amp; b" in page and 'aria-label="&lt;loss&gt; by step"' in page
    assert '<td class="best">62.3%<small>60.0–64.5%</small></td>' in page
    text = (tmp_path / "out/tables/scores.csv").read_text()
    assert list(csv.reader(io.StringIO(text))) == [
        ["run", "mean IoU", "mean IoU low", "mean IoU high", "note"],
        ["a & b", "0.62345", "0.6", "0.645", "x_1"],
        ["c", "", "", "", "of 5 ± 1"],
    ]
    embedded = dict(re.findall(r'download="([^"]+)" href="data:[^,]+,([^"]+)"', page))
    assert base64.b64decode(embedded["scores.csv"]).decode() == text
    assert base64.b64decode(embedded["scores.tex"]).decode() == (tmp_path / "out/tables/scores.tex").read_text()


def test_latex_of_a_table() -> None:
    lines = render_latex(TABLE).splitlines()
    assert lines[1] == r"\begin{tabular}{lrr}"
    assert lines[3] == r"run & mean IoU $\uparrow$ & note \\"
    assert lines[5] == r"a \& b & \textbf{62.3\%} {\scriptsize (60.0--64.5\%)} & x\_1 \\"
    assert lines[6] == r"c & -- & of 5 $\pm$ 1 \\"


def test_a_template_that_asks_for_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.html.j2").write_text(TEMPLATE)
    with pytest.raises(Exception, match="chart"):
        render_page(tmp_path / "a.html.j2", tables=[TABLE])


def test_a_curve_is_drawn_where_its_values_are() -> None:
    """The highest value or end of an interval at the top, the lowest at the bottom, from left to right."""
    points = [Point(1, 5), Point(2, 3, (2, 6)), Point(3, 1)]
    (line,) = line_chart("c", [Series("loss", points, 9)]).series
    one, two, three = line.points
    assert one.x < two.x < three.x < WIDTH and two.x == pytest.approx((one.x + three.x) / 2, abs=0.1)
    assert two.ends is not None
    assert 0 < two.ends[1] < one.y < two.y < two.ends[0] < three.y < HEIGHT
    assert two.y == pytest.approx((one.y + three.y) / 2, abs=0.1)
    assert line.colour == 1  # the colours begin anew
    flat = line_chart("c", [Series("loss", [Point(4, 2)])])
    assert [text for _, text in flat.y_ticks] == ["1.5", "2", "2.5"]
    logarithmic = line_chart("c", [Series("", [Point(0, 0)])], y_ticks=[(-2, "0.01"), (0, "1")])
    assert [text for _, text in logarithmic.y_ticks] == ["0.01", "1"]
    assert logarithmic.series[0].points[0].y == logarithmic.y_ticks[1][0]
