"""Scores and pictures to report.json, report.md and one self-contained report.html."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from evaluation.scores import Scores, SetScores, ratio
from pipeline.images import encode_png, resize_ids, resize_image

TEMPLATE = "report.html.j2"
VOID_COLOUR = (228, 228, 224)
LARGEST_SIDE = 320
"""Pixels of the pictures in the report; larger ones are reduced."""
NONE = "–"


@dataclass(frozen=True)
class Example:
    """A picture and everything that was seen in it; arrays of one size."""

    id: str
    sample: int
    image: np.ndarray
    """uint8 `[H, W, 3]`, synthesized."""
    photograph: np.ndarray
    """uint8 `[H, W, 3]`, real, of the same label map."""
    target: np.ndarray
    """int16 `[h, w]`: classes of the label map, -1 for void."""
    predicted: np.ndarray
    """int16 `[h, w]`: classes that the segmenter sees in `image`."""
    accuracy: float | None
    """Share of known pixels where the two agree."""


@dataclass(frozen=True)
class Column:
    """A score in the table."""

    title: str
    note: str
    """What it means, in a sentence."""
    higher_is_better: bool
    cells: tuple[str, ...]
    """One for each set."""
    intervals: tuple[str, ...] = ()
    best: int | None = None
    """The set that does best, photographs aside."""


def write_report(out: Path, scores: Scores, examples: Sequence[Example]) -> None:
    """Write the three files to the folder `out`, each whole or not at all."""
    texts = {
        "report.json": json.dumps(scores.to_json(), indent=2, allow_nan=False) + "\n",
        "report.md": render_markdown(scores),
        "report.html": render_html(scores, examples),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        temporary = out / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(out / name)
        finally:
            temporary.unlink(missing_ok=True)


def render_html(scores: Scores, examples: Sequence[Example]) -> str:
    """One HTML page without references to any other file or host."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "number": number, "png": _embed}
    return environment.get_template(TEMPLATE).render(
        scores=scores,
        summary=summary(scores),
        columns=score_columns(scores),
        bars=class_bars(scores),
        legend=list(zip(scores.classes, map(_css_colour, scores.palette), strict=True)),
        void_colour=_css_colour(VOID_COLOUR),
        examples=[_panels(example, scores) for example in examples],
        settings=setting_rows(scores),
    )


def render_markdown(scores: Scores) -> str:
    """The tables of the report as Markdown."""
    columns = score_columns(scores)
    lines = [f"# {scores.title}", "", summary(scores), ""]
    lines += ["| | " + " | ".join(column.title for column in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for index, part in enumerate(scores.sets):
        lines.append(f"| {part.name} | " + " | ".join(column.cells[index] for column in columns) + " |")
    lines += ["", *(f"- **{column.title}**: {column.note}" for column in columns), "", "## Classes", ""]
    lines += [
        "| IoU | " + " | ".join(part.name for part in scores.sets) + " |",
        "| --- |" + " ---: |" * len(scores.sets),
    ]
    for name in scores.classes:
        ious = [percent(part.labels[scores.main_protocol.name].class_iou[name]) for part in scores.sets]
        lines.append(f"| {name} | " + " | ".join(ious) + " |")
    lines += ["", "## Settings", "", *(f"- {name}: {value}" for name, value in setting_rows(scores))]
    lines += ["", *(f"> {line}" for line in scores.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def summary(scores: Scores) -> str:
    """The result in words."""
    name = scores.main_protocol.name
    mean_ious = [part.labels[name].mean_iou for part in scores.sets]
    text = (
        f"A segmentation network finds the classes of the label maps in the synthesized pictures with a mean IoU of "
        f"{percent(mean_ious[0])}. In the real photographs of the same label maps it reaches {percent(mean_ious[-1])}, "
        f"the ceiling: the synthesized pictures are at {percent(ratio(mean_ious[0], mean_ious[-1]), 0)} of it."
    )
    others = [
        f"{part.name} reaches {percent(mean_iou)} ({percent(ratio(mean_iou, mean_ious[-1]), 0)} of the ceiling)"
        for part, mean_iou in zip(scores.sets[1:-1], mean_ious[1:-1], strict=True)
    ]
    return text + (f" For comparison, {' and '.join(others)}." if others else "")


def score_columns(scores: Scores) -> list[Column]:
    """The columns of the score table."""
    protocol = scores.main_protocol
    labels = [part.labels[protocol.name] for part in scores.sets]
    ceiling = labels[-1].mean_iou
    rule = {
        "present": "classes that the label maps contain",
        "union": "classes in label maps or predictions",
        "all": "all classes",
    }[protocol.averaging]

    def column(title: str, note: str, values: list[float | None], *, key: str = "", distance: bool = False) -> Column:
        show = number if distance else percent
        intervals = [
            f"{show(part.intervals[key][0])} to {show(part.intervals[key][1])}" if key in part.intervals else ""
            for part in scores.sets
        ]
        known = {index: value for index, value in enumerate(values[:-1]) if value is not None}
        best = (min if distance else max)(known, key=lambda index: known[index]) if len(known) > 1 else None
        cells = tuple(map(show, values))
        return Column(title, note, not distance, cells, tuple(intervals) if any(intervals) else (), best)

    columns = [
        column(
            "mean IoU",
            f"Intersection over union of predicted and true class, averaged over the {rule}; from one confusion matrix "
            "of the whole set.",
            [part.mean_iou for part in labels],
            key="mean_iou",
        ),
        column(
            "of ceiling",
            "Mean IoU as a share of that of the real photographs.",
            [ratio(part.mean_iou, ceiling) for part in labels],
        ),
        column(
            "accuracy", "Pixels of the right class, void left out.", [part.accuracy for part in labels], key="accuracy"
        ),
        column(
            "void as error",
            "The same with every void pixel counted as wrong, as the SPADE paper does on Cityscapes.",
            [part.accuracy_void_as_error for part in labels],
            key="accuracy_void_as_error",
        ),
        column(
            "weighted IoU",
            "IoU averaged with the share of the pixels that each class has.",
            [part.frequency_weighted_iou for part in labels],
        ),
        column(
            "Fréchet, segmenter",
            f"{scores.settings['segmenter_frechet']}. Distance to the real photographs, lower is better.",
            [part.segmenter_frechet for part in scores.sets],
            key="segmenter_frechet",
            distance=True,
        ),
    ]
    if any(part.fid is not None for part in scores.sets):
        note = f"Fréchet distance on Inception features ({protocol.fid_resizer} resizing) to the real photographs."
        columns.append(column("FID", note, [part.fid for part in scores.sets], key="fid", distance=True))
    return columns


def class_bars(scores: Scores) -> list[dict[str, Any]]:
    """One bar a class, the most frequent first: IoU of the synthesized pictures against the ceiling and baselines."""
    name = scores.main_protocol.name
    labels = [part.labels[name] for part in scores.sets]
    order = sorted(range(len(scores.classes)), key=lambda index: -labels[0].class_share[scores.classes[index]])
    bars = []
    for index in order:
        label = scores.classes[index]
        values = [part.class_iou[label] for part in labels]
        if all(value is None for value in values):
            continue
        bars.append(
            {
                "name": label,
                "colour": _css_colour(scores.palette[index]),
                "share": labels[0].class_share[label],
                "made": values[0],
                "ceiling": values[-1],
                "baselines": values[1:-1],
            }
        )
    return bars


def setting_rows(scores: Scores) -> list[tuple[str, str]]:
    """Every setting and hash as name and text."""
    rows = []
    for protocol in scores.protocols:
        fields = ", ".join(f"{key} {_plain(value)}" for key, value in protocol.model_dump().items() if key != "name")
        rows.append((f"protocol {protocol.name}", fields))
    rows += _flatten(scores.settings)
    for part in scores.sets:
        rows += [(f"{part.name}: {name}", value) for name, value in _flatten(_brief(part))]
    rows += [
        (f"unpaired {name}", ", ".join(ids[:20]) + (" ..." if ids[20:] else ""))
        for name, ids in scores.unpaired.items()
        if ids
    ]
    return rows


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent.

    >>> percent(0.6234), percent(None)
    ('62.3%', '–')
    """
    return NONE if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None) -> str:
    """A distance to three significant digits or more.

    >>> number(123.456), number(1.2345), number(0.012345)
    ('123.5', '1.23', '0.0123')
    """
    if value is None:
        return NONE
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _brief(part: SetScores) -> dict[str, Any]:
    """Where a set came from, its many files as one hash."""
    source = {key: value for key, value in part.source.items() if key != "files"}
    return {"pictures": part.pictures, "label maps": part.label_maps, **source}


def _flatten(fields: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in fields.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += _flatten(value, f"{name}, ")
        elif value is not None:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _panels(example: Example, scores: Scores) -> dict[str, Any]:
    return {
        "id": example.id,
        "sample": example.sample,
        "accuracy": example.accuracy,
        "panels": [
            ("label map", _colourise(example.target, scores)),
            ("synthesized", _reduce(example.image)),
            ("predicted labels", _colourise(example.predicted, scores)),
            ("real photograph", _reduce(example.photograph)),
        ],
    }


def _colourise(classes: np.ndarray, scores: Scores) -> np.ndarray:
    height, width = _reduced_size(classes)
    table = np.array([*scores.palette, VOID_COLOUR], np.uint8)
    return table[resize_ids(classes, height, width)]


def _reduce(image: np.ndarray) -> np.ndarray:
    return resize_image(image, *_reduced_size(image))


def _reduced_size(array: np.ndarray) -> tuple[int, int]:
    height, width = array.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _embed(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()


def _css_colour(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
