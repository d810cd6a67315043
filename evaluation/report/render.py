"""Scores and pictures to report.json, report.md and one self-contained report.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report import TEMPLATES
from evaluation.report.charts import class_bars, confusion_table
from evaluation.report.curves import HEIGHT, WIDTH
from evaluation.report.curves import NOTE as CURVES
from evaluation.report.examples import VOID_COLOUR, Example, Illustrations, Strip
from evaluation.report.gallery import FILE_NAME as PICTURES
from evaluation.report.gallery import gallery_fields, gallery_table
from evaluation.report.laboratory import NOTE as LABORATORY
from evaluation.report.laboratory import laboratory_lines, laboratory_rows, laboratory_table
from evaluation.report.marks import mark_lines, mark_note, mark_tables, style_words
from evaluation.report.published import published_tables
from evaluation.report.settings import field_table, published_table, setting_rows, style_note
from evaluation.report.tables import (
    ABOVE_CEILING,
    class_table,
    columns_table,
    distance_tables,
    protocol_columns,
    score_columns,
    summary,
)
from evaluation.report.texture import Region, texture_table
from evaluation.scoring.image_scores import write_table
from evaluation.scoring.independence import SENTENCES
from evaluation.scoring.marks import MarkedPicture
from evaluation.scoring.scores import Scores
from pipeline.data.atomic import write_atomic
from pipeline.pages.format import css_colour
from pipeline.pages.pictures import reduce_classes, reduce_image
from pipeline.pages.render import write_page
from pipeline.pages.tables import Table, file_name, render_markdown

RIGHT_COLOUR, WRONG_COLOUR = (222, 228, 230), (190, 62, 38)
"""Of pixels in the map of errors."""
STRETCHED = 100
"""Grey levels from the mean to which almost all of a region reaches where its contrast is raised."""
LARGEST_SIDE = 320
"""Pixels of the pictures in the report; larger ones are reduced."""


def write_report(out: Path, scores: Scores, illustrations: Illustrations) -> None:
    """Write the three files, the tables and the gallery's pictures to the folder `out`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "report.json", json.dumps(scores.to_json(), indent=2, allow_nan=False) + "\n")
    write_atomic(out / "report.md", render_markdown_report(scores))
    (out / PICTURES).unlink(missing_ok=True)  # of an earlier report in this folder
    if illustrations.gallery is not None:
        write_table(out / PICTURES, gallery_table(illustrations.gallery))
    _write_html(out / "report.html", scores, illustrations)


def report_tables(scores: Scores) -> list[Table]:
    """All tables of a report, by the names under which its template finds them."""
    protocols = protocol_columns(scores)
    optional = [
        columns_table("protocols", protocols, scores.sets) if protocols else None,
        laboratory_table(scores),
        texture_table(scores),
        confusion_table(scores)[0],
    ]
    distances = distance_tables(scores)
    return [
        columns_table("scores", score_columns(scores), scores.sets),
        *(table for table in optional if table is not None),
        class_table(scores),
        *(part.table for part in distances),
        *(part.curves.table for part in distances if part.curves),
        *(mark_tables(scores.marks) if scores.marks else ()),
        *(published_table(scores, published) for published in published_tables(_data_classes(scores))),
        field_table(scores),
    ]


def _write_html(path: Path, scores: Scores, illustrations: Illustrations) -> None:
    distances = distance_tables(scores)
    near = "Inception" if any(table.features == "Inception" for table in distances) else "segmenter"
    gallery = illustrations.gallery
    write_page(
        path,
        TEMPLATES / "report.html.j2",
        tables=report_tables(scores),
        scores=scores,
        summary=summary(scores),
        columns=score_columns(scores),
        distances=distances,
        curves={"note": CURVES, "width": WIDTH, "height": HEIGHT},
        near_columns=next((table.columns for table in distances if table.features == near), {}),
        protocol_columns=protocol_columns(scores),
        laboratory={"rows": laboratory_rows(scores), "note": LABORATORY},
        published=[
            (f"published_on_{file_name(part.data_set)}", part) for part in published_tables(_data_classes(scores))
        ],
        bars=class_bars(scores),
        left_out=confusion_table(scores)[1],
        legend=list(zip(scores.classes, map(css_colour, scores.palette), strict=True)),
        colours={
            "void": css_colour(VOID_COLOUR),
            "void_rgb": VOID_COLOUR,
            "right": RIGHT_COLOUR,
            "wrong": WRONG_COLOUR,
        },
        examples=[_panels(example, scores) for example in illustrations.examples],
        extremes={title: _extreme(example, scores) for title, example in illustrations.extremes.items()},
        strips=[_strip(strip, scores) for strip in illustrations.strips],
        regions=[_region(region) for region in illustrations.regions],
        gallery=None if gallery is None else gallery_fields(gallery, scores.classes),
        marked=[_marked(picture, scores) for picture in illustrations.marked],
        mark_note=mark_note(scores.marks) if scores.marks else "",
        style=style_note(scores),
        warning=ABOVE_CEILING,
        independence=SENTENCES,
        settings=setting_rows(scores),
    )


def render_markdown_report(scores: Scores) -> str:
    """The tables of the report as Markdown."""
    tables = {table.name: table for table in report_tables(scores)}
    lines = [f"# {scores.title}", "", summary(scores), "", *render_markdown(tables["scores"])]
    lines += ["", *(f"- **{column.title}**: {column.note}" for column in score_columns(scores).values())]
    for part in distance_tables(scores):
        lines += ["", f"## Distances on {part.features} features", "", part.note, "", *render_markdown(part.table)]
        if part.curves:
            lines += ["", *render_markdown(part.curves.table), "", CURVES]
    if "protocols" in tables:
        lines += ["", "## Protocols (mean IoU / accuracy / FID, and differences from the first)", ""]
        lines += render_markdown(tables["protocols"])
    if laboratory := laboratory_lines(scores):
        lines += ["", "## What published protocols say of these pictures", "", *laboratory]
    if "texture" in tables:
        lines += ["", "## Texture: power by octave over the photographs', and lattice scores, by period in pixels", ""]
        lines += render_markdown(tables["texture"])
    if scores.marks:
        lines += ["", "## Marks", "", *mark_lines(scores.marks)]
    lines += ["", "## Classes", "", *render_markdown(tables["classes"])]
    for published in published_tables(_data_classes(scores)):
        lines += ["", f"## Published on {published.data_set}", ""]
        lines += render_markdown(tables[f"published_on_{file_name(published.data_set)}"])
        lines += ["", *(f"- {note}" for note in published.notes)]
    lines += ["", "## Fields of the protocol", "", *render_markdown(tables["protocol_fields"])]
    lines += ["", "## Settings", "", *(f"- {name}: {value}" for name, value in setting_rows(scores))]
    lines += ["", *(f"> {line}" for line in scores.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def _data_classes(scores: Scores) -> tuple[str, ...]:
    return tuple(scores.settings["data_classes"])


def _panels(example: Example, scores: Scores) -> dict[str, Any]:
    return {
        "id": example.id,
        "sample": example.sample,
        "accuracy": example.accuracy,
        "feature_distance": example.feature_distance,
        "texture_distance": example.texture_distance,
        "panels": [
            ("label map", _colourise(example.target, scores), True),
            ("synthesized", reduce_image(example.image, LARGEST_SIDE), False),
            ("real photograph", reduce_image(example.photograph, LARGEST_SIDE), False),
            ("predicted labels", _colourise(example.predicted, scores), True),
        ],
    }


def _extreme(example: Example, scores: Scores) -> dict[str, Any]:
    errors = np.where(example.target < 0, 2, (example.target != example.predicted).astype(int))
    colours = np.array([RIGHT_COLOUR, WRONG_COLOUR, VOID_COLOUR], np.uint8)
    shown = _panels(example, scores)
    shown["panels"][3] = ("errors", colours[reduce_classes(errors, LARGEST_SIDE)], True)
    return shown


def _marked(picture: MarkedPicture, scores: Scores) -> dict[str, Any]:
    return {
        **{name: getattr(picture, name) for name in ("id", "mark", "note", "accuracy")},
        "style": style_words(picture.style),
        "panels": [
            ("label map", _colourise(picture.target, scores), True),
            ("picture", reduce_image(picture.image, LARGEST_SIDE), False),
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
        "images": [reduce_image(image, LARGEST_SIDE) for image in strip.images],
    }


def _colourise(classes: np.ndarray, scores: Scores) -> np.ndarray:
    table = np.array([*scores.palette, VOID_COLOUR], np.uint8)  # -1 is the last
    return table[reduce_classes(classes, LARGEST_SIDE)]
