"""What `run_study` found as one page, JSON, CSV and a table for LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from evaluation.report import TEMPLATES
from evaluation.report.tables import texture_sentence
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.study.latex import render_latex
from evaluation.study.statistics import SCORES, RowScore
from evaluation.study.study import RowResult, StudyResult
from evaluation.trainings.estimates import Estimate
from pipeline.data.atomic import write_atomic
from pipeline.labels import class_channels
from pipeline.pages.format import NONE, factor, interval, number, percent, plain
from pipeline.pages.pictures import reduce_classes, reduce_image
from pipeline.pages.render import write_page
from pipeline.pages.tables import Cell, Row, Table, Tone
from pipeline.runtime.digits import plural

SCHEMA = 1
LARGEST_SIDE = 160
"""Pixels of the pictures on the page; larger ones are reduced."""


def write_study(out: Path, found: StudyResult, *, examples: int = 6) -> None:
    """Write `study.html`, its tables, `study.json`, `study.csv` and `study.tex` to the folder `out`, each whole or not
    at all.

    The page shows what every row makes of so many label maps.
    """
    out.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "summary": summary(found), **asdict(found)}
    for row in content["rows"]:
        row["images"] = [str(path) for path in row["images"]]
    write_atomic(out / "study.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    write_atomic(out / "study.csv", render_csv(found))
    write_atomic(out / "study.tex", render_latex(found))
    write_page(
        out / "study.html",
        TEMPLATES / "study.html.j2",
        tables=[_score_table(found), _cost_table(found)],
        found=found,
        summary=summary(found),
        scores=SCORES,
        rows=[{"name": row.name, "seeds": len(row.seeds), "texture": _texture(row)} for row in found.rows],
        ceiling={name: percent(value) for name, value in found.ceiling.items()},
        pictures=_pictures(found, examples),
        settings=[(name.replace("_", " "), _setting(value)) for name, value in found.settings.items()],
    )


def summary(found: StudyResult) -> str:
    """The answer in a sentence or two: which row's mean IoU is highest, and what can be said of it."""
    known = [(row, row.scores["mean_iou"].estimate) for row in found.rows]
    best, own = max(known, key=lambda each: (each[1].value if each[1] else -1.0, each[0].name == found.reference))
    assert own is not None
    text = f"{best.name} has the highest mean IoU, {percent(own.value)}"
    change = best.scores["mean_iou"].gain
    if change is None:
        losing = [row.name for row, _ in known if row.name != best.name and _loses(row)]
        if len(found.rows) > 1:
            text += ", the reference itself; " + (
                f"significantly lower: {', '.join(losing)}" if losing else "no row is significantly lower"
            )
    else:
        sure = "a significant difference" if change.significant else "no significant difference"
        text += (
            f", {100 * change.value:+.1f} points from {found.reference} ({100 * change.low:+.1f} to "
            f"{100 * change.high:+.1f}, p = {change.p:.2g}): {sure}"
        )
    seeds = "one seed, an anecdote" if len(found.seeds) == 1 else f"{len(found.seeds)} seeds"
    return f"{text}. Of {seeds}, {found.budget} each."


def _loses(row: RowResult) -> bool:
    change = row.scores["mean_iou"].gain
    return change is not None and change.significant and change.value < 0


def render_csv(found: StudyResult) -> str:
    """One line a row; shares of 1, distances and factors."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, study_rows(found)[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(study_rows(found))
    return buffer.getvalue()


def study_rows(found: StudyResult) -> list[dict[str, Any]]:
    """A mapping for each row, all of equal keys: every score with `..._low`, `..._high`, `..._spread` between seeds,
    `..._seed_N`, and `..._gain` over the reference with its ends and `..._gain_p`; and what the row costs."""
    lines = []
    every = list(dict.fromkeys(seed for row in found.rows for seed in (*found.seeds, *row.seeds)))
    for row in found.rows:
        line: dict[str, Any] = {"row": row.name, "recipe": row.recipe, "overrides": " ".join(row.overrides)}
        line["independence"] = row.independence
        for name, score in row.scores.items():
            of_seeds = dict(zip(row.seeds, score.seeds, strict=True))
            line |= _flat(name, score.estimate, "spread")
            line |= {f"{name}_seed_{seed}": of_seeds.get(seed) for seed in every}
            line |= _flat(f"{name}_gain", score.gain, "p")
        line |= {"parameters": row.parameters, "gmac": row.gmac, "steps": fmean(row.steps)}
        line |= {"seconds": fmean(row.seconds), "images_per_second": fmean(row.images_per_second)}
        lines.append(line)
    return lines


def _flat(name: str, estimate: Estimate | None, last: str) -> dict[str, float | None]:
    ends = ("low", "high", last)
    return {name: estimate.value if estimate else None} | {
        f"{name}_{end}": getattr(estimate, end) if estimate else None for end in ends
    }


def _score_table(found: StudyResult) -> Table:
    rows = []
    for row in found.rows:
        small = [" ".join(row.overrides)]
        if len(row.seeds) != len(found.seeds):
            small.append(f"{len(row.seeds)} {plural('seed', len(row.seeds))}")
        if row.independence == "not independent":
            small.append("judged by a network that it learned by")
        name = f"{row.name} (reference)" if row.name == found.reference else row.name
        rows.append(Row(name, tuple(_cell(*item) for item in row.scores.items()), small=tuple(small)))
    heads = tuple(f"{score.title} {'↓' if score.lower_is_better else '↑'}" for score in SCORES.values())
    return Table("scores", "row", heads, tuple(rows))


def _cost_table(found: StudyResult) -> Table:
    rows = []
    for row in found.rows:
        seconds, rate = fmean(row.seconds), fmean(row.images_per_second)
        cells = (
            Cell(f"{row.parameters / 1e6:.3g} M", value=row.parameters),
            Cell(number(row.gmac), value=row.gmac),
            Cell(_range(row.steps), value=fmean(row.steps)),
            Cell(f"{seconds:.0f}", value=seconds),
            Cell(f"{rate:.1f}", value=rate),
        )
        rows.append(Row(row.name, cells))
    return Table("cost", "row", ("parameters", "GMAC", "steps", "seconds", "pictures/s"), tuple(rows))


def _texture(row: RowResult) -> str:
    power, lattice = (row.scores[name].estimate for name in ("power_factor", "lattice_factor"))
    return texture_sentence(power.value, lattice.value) if power and lattice else ""


def _range(steps: Sequence[int]) -> str:
    return f"{steps[0]:,}" if len(set(steps)) == 1 else f"{min(steps):,}–{max(steps):,}"


def _cell(name: str, score: RowScore) -> Cell:
    show = {"share": percent, "distance": number, "factor": factor}[SCORES[name].unit]
    own, change = score.estimate, score.gain
    if own is None:
        return Cell(NONE)
    points = 100 if SCORES[name].unit == "share" else 1
    small = (
        interval((own.low, own.high), show),
        "" if own.spread is None else f"± {points * own.spread:.2g} between seeds",
        "" if change is None else f"{points * change.value:+.2g} (p = {change.p:.2g})",
    )
    tone: Tone = ""
    if change is not None and change.significant:
        tone = "best" if (change.value < 0) == SCORES[name].lower_is_better else "off"
    return Cell(show(own.value), small, own.value, (own.low, own.high), tone)


def _pictures(found: StudyResult, count: int) -> list[dict[str, Any]]:
    """The same label maps, spread over their ids: map, photograph, and each row's picture of the first seed."""
    if not count:
        return []
    photographs = PictureSet.open(found.photographs, what="the validation set")
    sets = [PictureSet.open(row.images[0], what=f"the pictures of row '{row.name}'") for row in found.rows]
    names = sorted(sets[0].ids)
    chosen = [names[place] for place in np.unique(np.linspace(0, len(names) - 1, count).round().astype(int)).tolist()]
    keys = [(name, 0) for name in chosen]
    real = photographs.pictures(keys, Selection(size=found.size))
    made = [pictures.pictures(keys, Selection()) for pictures in sets]
    colours = photographs.space.colour_table()
    shown = []
    for index, name in enumerate(chosen):
        channels = class_channels(made[0][index].label, sets[0].space)
        shown.append(
            {
                "id": name,
                "map": colours[reduce_classes(channels, LARGEST_SIDE)],
                "photograph": reduce_image(real[index].image, LARGEST_SIDE),
                "rows": [reduce_image(pictures[index].image, LARGEST_SIDE) for pictures in made],
            }
        )
    return shown


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return NONE if value is None else plain(value)
