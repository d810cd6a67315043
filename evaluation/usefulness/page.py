"""What `measure_usefulness` found as one page, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluation.report import TEMPLATES
from evaluation.trainings.estimates import Estimate
from evaluation.usefulness.statistics import LARGEST_FACTOR, Exchange
from evaluation.usefulness.usefulness import ArmResult, Usefulness
from pipeline.data.atomic import write_atomic
from pipeline.pages.format import NONE, percent, plain
from pipeline.pages.line_chart import LineChart, Point, Series, line_chart
from pipeline.pages.render import write_page
from pipeline.pages.tables import Cell, Row, Table, Tone
from pipeline.runtime.json_text import jsonable

SCHEMA = 1


def write_usefulness(out: Path, found: Usefulness) -> None:
    """Write `usefulness.html`, its tables, `usefulness.json` and `usefulness.csv` to the folder `out`, each whole or
    not at all."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "summary": summary(found), **jsonable(found)}
    write_atomic(out / "usefulness.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    write_atomic(out / "usefulness.csv", render_csv(found))
    write_page(
        out / "usefulness.html",
        TEMPLATES / "usefulness.html.j2",
        tables=[_arm_table(found), _class_table(found)],
        found=found,
        summary=summary(found),
        chart=_chart(found),
        settings=[(name.replace("_", " "), plain(value)) for name, value in _settings(found)],
    )


def summary(found: Usefulness) -> str:
    """The answer in a sentence or two."""
    best = found.headline
    if best is None or best.gain is None:
        return f"{len(found.arms)} arms were trained with {len(found.arms[0].seeds)} seeds each."
    change = best.gain
    verb = "gains" if change.value >= 0 else "loses"
    lines = [
        f"{best.name} {verb} {100 * abs(change.value):.1f} points of mean IoU over the {best.real} real "
        f"photographs alone ({_points(change.low)} to {_points(change.high)}, p = {change.p:.2g}): "
        f"{'a significant difference' if change.significant else 'no significant difference'}."
    ]
    if best.exchange is not None:
        lines.append(f"That is worth {exchange_text(best.exchange)}.")
    return " ".join(lines)


def exchange_text(found: Exchange) -> str:
    """The exchange rate in words.

    >>> exchange_text(Exchange(100, 150.0, 120.0, float("inf"), True))
    '50 further real photographs (20 to more than the curve can tell; read beyond the curve, and curves flatten)'
    >>> exchange_text(Exchange(100, 100.0, 80.0, 90.0, False))
    'no more than none of the real photographs (20 fewer to 10 fewer)'
    """
    ends = f"{_photographs(found.low - found.real)} to {_photographs(found.high - found.real)}"
    further = found.further
    if further < 0.5:
        harm = "" if further > -0.5 else f", as {_photographs(further)} would do"
        return f"no more than none of the real photographs ({ends}){harm}"
    if math.isinf(further):
        least = "" if math.isinf(found.low) else f" ({ends})"
        return f"more than {LARGEST_FACTOR:g} times the real photographs of the curve, which cannot tell{least}"
    beyond = "; read beyond the curve, and curves flatten" if found.extrapolated else ""
    return f"{further:.0f} further real photographs ({ends}{beyond})"


def _photographs(number: float) -> str:
    if math.isinf(number):
        return "more than the curve can tell"
    return f"{-number:.0f} fewer" if round(number) < 0 else f"{number:.0f}"


def render_csv(found: Usefulness) -> str:
    """One line an arm; shares of 1."""
    seeds = len(found.arms[0].seeds)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ["arm", "real", "synthetic", "mean_iou", "mean_iou_low", "mean_iou_high", "spread"]
    columns += [f"seed_{seed}" for seed in range(seeds)]
    columns += ["gain", "gain_low", "gain_high", "gain_p", "worth", "worth_low", "worth_high"]
    writer.writerow([*columns, *(f"iou_{name}" for name in found.classes)])
    for arm in found.arms:
        own, change, rate = arm.mean_iou, arm.gain, arm.exchange
        line: list[Any] = [arm.name, arm.real, arm.synthetic, own.value, own.low, own.high, own.spread, *arm.seeds]
        line += [None] * 4 if change is None else [change.value, change.low, change.high, change.p]
        line += [None] * 3 if rate is None else [rate.worth, rate.low, rate.high]
        writer.writerow([*line, *(arm.class_iou[name] for name in found.classes)])
    return buffer.getvalue()


def _arm_table(found: Usefulness) -> Table:
    heads = ("photographs", "mean IoU ↑", "spread of seeds", "gain, points", "p", "worth")
    return Table("arms", "trained on", heads, tuple(map(_arm_row, found.arms)), "wordy")


def _arm_row(arm: ArmResult) -> Row:
    own, change = arm.mean_iou, arm.gain
    small = f"{percent(own.low).rstrip('%')}–{percent(own.high)}"
    spread = NONE if own.spread is None else f"{100 * own.spread:.1f}"
    cells = [
        Cell(str(arm.real or NONE), value=arm.real),
        Cell(percent(own.value), (small,), own.value, (own.low, own.high)),
        Cell(spread, value=own.spread),
    ]
    if change is None:
        cells += [Cell(NONE), Cell(NONE)]
    else:
        ends = (100 * change.low, 100 * change.high)
        small = f"{_points(change.low)} to {_points(change.high)}"
        tone: Tone = "best" if change.significant else ""
        cells += [Cell(_points(change.value), (small,), 100 * change.value, ends, tone)]
        cells += [Cell(f"{change.p:.2g}", value=change.p)]
    worth = NONE if arm.exchange is None or not arm.real else exchange_text(arm.exchange)
    return Row(arm.name, (*cells, Cell(worth)), "synthetic" if arm.synthetic is not None else "")


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _class_arms(found: Usefulness) -> list[ArmResult]:
    """The most real photographs that were mixed, the synthetic sets where they were trained on alone, and mixtures."""
    most = found.photographs if found.headline is None else found.headline.real
    return [arm for arm in found.arms if arm.real in (0, most)]


def _class_table(found: Usefulness) -> Table:
    arms = _class_arms(found)
    rows = []
    for name in found.classes:
        ious = [arm.class_iou[name] for arm in arms]
        cells = [Cell(percent(iou), (_gained(arm, name),), iou) for arm, iou in zip(arms, ious, strict=True)]
        if any(iou is not None for iou in ious):
            rows.append(Row(name, tuple(cells)))
    return Table("classes", "class", tuple(arm.name for arm in arms), tuple(rows))


def _gained(arm: ArmResult, name: str) -> str:
    change = arm.class_gain.get(name) if arm.real else None
    return "" if change is None else _points(change)


def _chart(found: Usefulness) -> LineChart:
    """Mean IoU over the number of real photographs, on a logarithmic scale; dashed: synthetic pictures alone,
    where there are such arms."""
    ends = [value for arm in found.arms for value in (arm.mean_iou.low, arm.mean_iou.high)]
    low, high = max(0.0, min(ends)), min(1.0, max(ends))
    step = _tick(high - low)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    numbers = sorted({arm.real for arm in found.curve})
    first, last = math.log2(numbers[0]) - 0.15, math.log2(numbers[-1]) + 0.15

    def point(arm: ArmResult, shift: float) -> Point:
        own: Estimate = arm.mean_iou
        ends = (min(max(own.low, low), high), min(max(own.high, low), high))
        return Point(math.log2(arm.real) + shift, own.value, ends, f"{arm.name}: {percent(own.value)}")

    series = [Series("real alone", [point(arm, 0) for arm in found.curve])]
    for index, name in enumerate(dict.fromkeys(arm.synthetic for arm in (*found.mixed, *found.alone)), 1):
        # A little beside each other, so that intervals do not hide each other.
        points = [point(arm, 0.01 * index * (last - first)) for arm in found.mixed if arm.synthetic == name]
        if points:
            series.append(Series(f"real + {name}", points, index))
        for arm in found.alone:
            if arm.synthetic == name:
                ends_of_line = [Point(x, arm.mean_iou.value) for x in (first, last)]
                series.append(Series(f"{name} alone", ends_of_line, index, dashed=True))
    return line_chart(
        "Mean IoU over the number of real photographs",
        series,
        x_title="real photographs (logarithmic)",
        x_ticks=[(math.log2(count), str(count)) for count in numbers],
        y_ticks=[
            (low + index * step, f"{100 * (low + index * step):.0f}%")
            for index in range(round((high - low) / step) + 1)
        ],
    )


def _tick(span: float) -> float:
    """A round distance between 3 to 7 lines over a span of shares.

    >>> _tick(0.2), _tick(0.03)
    (0.05, 0.01)
    """
    return next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 6 or step == 0.2)


def _settings(found: Usefulness) -> Iterator[tuple[str, Any]]:
    for name, value in found.settings.items():
        if isinstance(value, dict):
            yield name, [f"{key} {plain(item)}" for key, item in value.items()]
        else:
            yield name, value
