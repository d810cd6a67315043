"""Scores and pictures to report.json, report.md and one self-contained report.html."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from evaluation.report.charts import class_bars, heat_map
from evaluation.report.curves import HEIGHT, WIDTH, CurveTable
from evaluation.report.curves import NOTE as CURVES
from evaluation.report.examples import Example, Illustrations, Strip
from evaluation.report.format import NONE, css_colour, factor, number, percent
from evaluation.report.laboratory import NOTE as LABORATORY
from evaluation.report.laboratory import laboratory_rows, laboratory_table
from evaluation.report.marks import mark_lines, mark_note, style_words
from evaluation.report.published import published_tables
from evaluation.report.settings import own_row, protocol_fields, setting_rows, style_note
from evaluation.report.tables import (
    ABOVE_CEILING,
    Column,
    distance_tables,
    protocol_columns,
    score_columns,
    summary,
)
from evaluation.report.texture import Region, TextureRow, shown_periods, texture_rows
from evaluation.scoring.independence import SENTENCES
from evaluation.scoring.marks import MarkedPicture
from evaluation.scoring.scores import Scores
from pipeline.data.atomic import write_atomic
from pipeline.data.images import encode_png, resize_ids, resize_image

TEMPLATE = "report.html.j2"
VOID_COLOUR = (228, 228, 224)
RIGHT_COLOUR, WRONG_COLOUR = (222, 228, 230), (190, 62, 38)
"""Of pixels in the map of errors."""
STRETCHED = 100
"""Grey levels from the mean to which almost all of a region reaches where its contrast is raised."""
LARGEST_SIDE = 320
"""Pixels of the pictures in the report; larger ones are reduced."""


def write_report(out: Path, scores: Scores, illustrations: Illustrations) -> None:
    """Write the three files to the folder `out`, each whole or not at all."""
    texts = {
        "report.json": json.dumps(scores.to_json(), indent=2, allow_nan=False) + "\n",
        "report.md": render_markdown(scores),
        "report.html": render_html(scores, illustrations),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomic(out / name, text)


def render_template(name: str, **fields: Any) -> str:
    """A page from a template in this folder, without references to any other file or host."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "number": number, "factor": factor, "png": _embed}
    return environment.get_template(name).render(**fields)


def render_html(scores: Scores, illustrations: Illustrations) -> str:
    """The whole report as one page."""
    distances = distance_tables(scores)
    near = "Inception" if any(table.features == "Inception" for table in distances) else "segmenter"
    return render_template(
        TEMPLATE,
        scores=scores,
        summary=summary(scores),
        columns=score_columns(scores),
        distances=distances,
        curves={"note": CURVES, "width": WIDTH, "height": HEIGHT},
        near_columns=next((table.columns for table in distances if table.features == near), {}),
        protocols=protocol_columns(scores),
        laboratory={"rows": laboratory_rows(scores), "note": LABORATORY},
        fields=protocol_fields(scores),
        own=own_row(scores),
        published=published_tables(tuple(scores.settings["data_classes"])),
        bars=class_bars(scores),
        heat=heat_map(scores),
        legend=list(zip(scores.classes, map(css_colour, scores.palette), strict=True)),
        colours={"void": css_colour(VOID_COLOUR), "wrong": css_colour(WRONG_COLOUR)},
        examples=[_panels(example, scores) for example in illustrations.examples],
        extremes={title: _extreme(example, scores) for title, example in illustrations.extremes.items()},
        strips=[_strip(strip, scores) for strip in illustrations.strips],
        texture=texture_rows(scores),
        periods=shown_periods(scores),
        regions=[_region(region) for region in illustrations.regions],
        marked=[_marked(picture, scores) for picture in illustrations.marked],
        mark_note=mark_note(scores.marks) if scores.marks else "",
        style=style_note(scores),
        warning=ABOVE_CEILING,
        independence=SENTENCES,
        settings=setting_rows(scores),
    )


def render_markdown(scores: Scores) -> str:
    """The tables of the report as Markdown."""
    names = [part.name for part in scores.sets]
    columns = score_columns(scores)
    lines = [f"# {scores.title}", "", summary(scores), "", *_table(columns, names)]
    lines += ["", *(f"- **{column.title}**: {column.note}" for column in columns.values())]
    for table in distance_tables(scores):
        lines += ["", f"## Distances on {table.features} features", "", table.note, ""]
        lines += _table(table.columns, names[:-1])
        if table.curves:
            lines += ["", *_curve_table(table.curves)]
    if protocols := protocol_columns(scores):
        lines += [
            "",
            "## Protocols (mean IoU / accuracy / FID, and differences from the first)",
            "",
            *_table(protocols, names),
        ]
    if laboratory := laboratory_table(scores):
        lines += ["", "## What published protocols say of these pictures", "", *laboratory]
    if rows := texture_rows(scores):
        lines += ["", *_texture_table(rows, shown_periods(scores))]
    if scores.marks:
        lines += ["", "## Marks", "", *mark_lines(scores.marks)]
    lines += ["", "## Classes", "", "| IoU | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for name in scores.classes:
        ious = [percent(part.labels[scores.main_protocol.name].class_iou[name]) for part in scores.sets]
        lines.append(f"| {name} | " + " | ".join(ious) + " |")
    for published in published_tables(tuple(scores.settings["data_classes"])):
        lines += ["", f"## Published on {published.data_set}", "", "| method | mean IoU | accuracy | FID |"]
        lines += ["| --- | ---: | ---: | ---: |"]
        for row in (own_row(scores), *published.rows):
            figures = (row.mean_iou, row.accuracy, row.fid)
            lines.append(f"| {row.method} | " + " | ".join(NONE if f is None else f"{f:g}" for f in figures) + " |")
        lines += ["", *(f"- {note}" for note in published.notes)]
    lines += [
        "",
        "## Fields of the protocol",
        "",
        "| | " + " | ".join(protocol.name for protocol in scores.protocols) + " |",
    ]
    lines += ["| --- |" + " --- |" * len(scores.protocols)]
    lines += [f"| {row.name} | " + " | ".join(row.values) + " |" for row in protocol_fields(scores)]
    lines += ["", "## Settings", "", *(f"- {name}: {value}" for name, value in setting_rows(scores))]
    lines += ["", *(f"> {line}" for line in scores.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def _table(columns: Mapping[str, Column], names: list[str]) -> list[str]:
    shown = columns.values()
    lines = ["| | " + " | ".join(f"{column.title} {column.arrow}" for column in shown) + " |"]
    lines.append("| --- |" + " ---: |" * len(shown))
    for index, name in enumerate(names):
        cells = []
        for column in shown:
            interval = column.intervals[index] if column.intervals else ""
            cells.append(column.cells[index] + (f" ({interval})" if interval else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _curve_table(table: CurveTable) -> list[str]:
    lines = ["| pictures | " + " | ".join(table.sizes) + " | infinity | stable |"]
    lines.append("| --- |" + " ---: |" * (len(table.sizes) + 2))
    for row in table.rows:
        end = row.infinity + (f" ({row.interval})" if row.interval else "")
        lines.append(f"| {row.title} | " + " | ".join((*row.values, end, row.stable)) + " |")
    return [*lines, "", CURVES]


def _texture_table(rows: list[TextureRow], periods: list[int]) -> list[str]:
    lines = ["## Texture: power by octave over the photographs', and lattice scores, by period in pixels", ""]
    heads = [f"{period}–{2 * period}" for period in periods] + [f"lattice {period}" for period in periods]
    lines += ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for row in rows:
        cells = [cell.text + (f" ({cell.note})" if cell.note else "") for cell in (*row.power, *row.lattice)]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return lines


def _panels(example: Example, scores: Scores) -> dict[str, Any]:
    return {
        "id": example.id,
        "sample": example.sample,
        "accuracy": example.accuracy,
        "feature_distance": example.feature_distance,
        "texture_distance": example.texture_distance,
        "panels": [
            ("label map", _colourise(example.target, scores), True),
            ("synthesized", _reduce(example.image), False),
            ("real photograph", _reduce(example.photograph), False),
            ("predicted labels", _colourise(example.predicted, scores), True),
        ],
    }


def _extreme(example: Example, scores: Scores) -> dict[str, Any]:
    errors = np.where(example.target < 0, 2, (example.target != example.predicted).astype(int))
    colours = np.array([RIGHT_COLOUR, WRONG_COLOUR, VOID_COLOUR], np.uint8)
    shown = _panels(example, scores)
    shown["panels"][3] = ("errors", colours[resize_ids(errors, *_reduced_size(errors))], True)
    return shown


def _marked(picture: MarkedPicture, scores: Scores) -> dict[str, Any]:
    return {
        **{name: getattr(picture, name) for name in ("id", "mark", "note", "accuracy")},
        "style": style_words(picture.style),
        "panels": [
            ("label map", _colourise(picture.target, scores), True),
            ("picture", _reduce(picture.image), False),
            ("predicted labels", _colourise(picture.predicted, scores), True),
        ],
    }


def _region(region: Region) -> dict[str, Any]:
    """A region as it is, and with more contrast, as much in the picture as in the photograph."""
    both = [part.astype(np.float64) for part in (region.image, region.photograph)]
    means = [part[region.window].mean((0, 1)) for part in both]
    reach = max(np.percentile(abs(part[region.window] - mean), 99) for part, mean in zip(both, means, strict=True))
    gain = float(np.clip(STRETCHED / max(reach, 1), 1, 32))
    stretched = [(128 + gain * (part - mean)).round().clip(0, 255) for part, mean in zip(both, means, strict=True)]
    titles = ("synthesized", "real photograph", "synthesized, contrast", "photograph, contrast")
    images = [region.image, region.photograph, *(part.astype(np.uint8) for part in stretched)]
    return {
        "id": region.id,
        "sample": region.sample,
        "title": region.title,
        "panels": [
            (f"{title} ×{gain:.1f}" if "contrast" in title else title, image, True)
            for title, image in zip(titles, images, strict=True)
        ],
    }


def _strip(strip: Strip, scores: Scores) -> dict[str, Any]:
    return {
        "id": strip.id,
        "map": _colourise(strip.target, scores),
        "images": [_reduce(image) for image in strip.images],
    }


def _colourise(classes: np.ndarray, scores: Scores) -> np.ndarray:
    table = np.array([*scores.palette, VOID_COLOUR], np.uint8)  # -1 is the last
    return table[resize_ids(classes, *_reduced_size(classes))]


def _reduce(image: np.ndarray) -> np.ndarray:
    return resize_image(image, *_reduced_size(image))


def _reduced_size(array: np.ndarray) -> tuple[int, int]:
    height, width = array.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _embed(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()
