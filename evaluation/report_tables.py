"""Scores as the tables and bars of a report: what is shown, in words and figures, for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.boundaries import TOLERANCE
from evaluation.feature_scores import FeatureScores
from evaluation.published import PublishedTable, published_table
from evaluation.scores import Scores, SetScores, ratio

NONE = "–"


@dataclass(frozen=True)
class Column:
    """A score in a table."""

    title: str
    note: str
    """What it means, in a sentence."""
    cells: tuple[str, ...]
    """One for each set."""
    intervals: tuple[str, ...] = ()
    best: int | None = None
    """The set that does best, photographs aside."""
    lower_is_better: bool = False

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↓" if self.lower_is_better else "↑"


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
    """The main table: agreement with the label maps, and the distances."""
    protocol = scores.main_protocol
    labels = [part.labels[protocol.name] for part in scores.sets]
    rule = {
        "present": "classes that the label maps contain",
        "union": "classes in label maps or predictions",
        "all": "all classes",
    }[protocol.averaging]
    ceiling = labels[-1].mean_iou
    columns = [
        _column(
            "mean IoU",
            f"Intersection over union of predicted and true class, averaged over the {rule}; from one confusion matrix "
            "of the whole set.",
            [part.mean_iou for part in labels],
            [part.intervals.get("mean_iou") for part in scores.sets],
        ),
        _column(
            "of ceiling",
            "Mean IoU as a share of that of the real photographs.",
            [ratio(part.mean_iou, ceiling) for part in labels],
        ),
        _column(
            "accuracy",
            "Pixels of the right class, void left out.",
            [part.accuracy for part in labels],
            [part.intervals.get("accuracy") for part in scores.sets],
        ),
        _column(
            "void as error",
            "The same with every void pixel counted as wrong, as the SPADE paper does on Cityscapes.",
            [part.accuracy_void_as_error for part in labels],
            [part.intervals.get("accuracy_void_as_error") for part in scores.sets],
        ),
        _column(
            "weighted IoU",
            "IoU averaged with the share of the pixels that each class has.",
            [part.frequency_weighted_iou for part in labels],
        ),
        _column(
            "boundary F",
            f"How well the borders of classes agree, to {TOLERANCE:.2%} of the diagonal; mean over classes.",
            [part.boundary_f for part in labels],
            [part.intervals.get("boundary_f") for part in scores.sets],
        ),
        _column(
            "Fréchet",
            f"{scores.settings['segmenter_frechet']}. Distance to the real photographs.",
            [part.segmenter_frechet for part in scores.sets],
            [part.segmenter.frechet_interval if part.segmenter else None for part in scores.sets],
            lower_is_better=True,
        ),
    ]
    if any(part.fid is not None for part in scores.sets):
        note = f"Fréchet distance on Inception features ({protocol.fid_resizer} resizing) to the real photographs."
        values = [part.fid for part in scores.sets]
        intervals = [part.inception.frechet_interval if part.inception else None for part in scores.sets]
        columns.append(_column("FID", note, values, intervals, lower_is_better=True))
    return columns


def distance_columns(scores: Scores, *, inception: bool) -> list[Column]:
    """The table of one kind of features, without the photographs' own row; empty where there are none."""
    found = [part.inception if inception else part.segmenter for part in scores.sets[:-1]]
    if any(item is None for item in found):
        return []
    parts: list[FeatureScores] = [item for item in found if item is not None]

    def column(title: str, note: str, read: Callable[[FeatureScores], float | None], *, lower: bool = False) -> Column:
        return _column(title, note, [read(part) for part in parts], lower_is_better=lower, ceiling=False)

    first = _column(
        "FID" if inception else "Fréchet distance",
        "Distance between the two sets as Gaussians.",
        [part.frechet for part in parts],
        [part.frechet_interval for part in parts],
        lower_is_better=True,
        ceiling=False,
    )
    kernel = _column(
        "KID" if inception else "kernel distance",
        "Unbiased squared MMD with a cubic kernel; the interval is over subsets.",
        [part.kernel_distance for part in parts],
        [part.kernel_interval for part in parts],
        lower_is_better=True,
        ceiling=False,
    )
    return [
        first,
        kernel,
        column("precision", "Pictures that lie among the photographs.", lambda part: part.precision),
        column("recall", "Photographs that lie among the pictures.", lambda part: part.recall),
        column("density", "Like precision, weighted by how many photographs are near.", lambda part: part.density),
        column("coverage", "Photographs with a picture near them.", lambda part: part.coverage),
        column(
            "diversity",
            "Distance between pictures of one label map, relative to that between photographs.",
            lambda part: part.diversity,
        ),
    ]


def protocol_columns(scores: Scores) -> list[Column]:
    """Mean IoU and headline accuracy of every protocol, one column each; empty with a single protocol."""
    if len(scores.protocols) < 2:
        return []
    columns = []
    for protocol in scores.protocols:
        labels = [part.labels[protocol.name] for part in scores.sets]
        cells = tuple(f"{percent(part.mean_iou)} / {percent(part.headline_accuracy(protocol))}" for part in labels)
        seen = {"picture": "as it is", "label": "at the label map's size"}.get(
            str(protocol.input_size), f"at a long side of {protocol.input_size}"
        )
        note = (
            f"The segmenter sees the picture {seen}; compared at the {protocol.label_size}'s size; classes averaged: "
            f"{protocol.averaging}; {protocol.scales} scales; void pixels "
            f"{'are errors' if protocol.void_is_error else 'left out'}."
        )
        columns.append(Column(protocol.name, note, cells))
    return columns


def class_bars(scores: Scores) -> list[dict[str, Any]]:
    """One bar a class, the most frequent first: IoU of the synthesized pictures against the ceiling and baselines."""
    labels = [part.labels[scores.main_protocol.name] for part in scores.sets]
    order = sorted(range(len(scores.classes)), key=lambda index: -labels[0].class_share[scores.classes[index]])
    bars = []
    for index in order:
        name = scores.classes[index]
        values = [part.class_iou[name] for part in labels]
        if any(value is not None for value in values):
            bars.append(
                {
                    "name": name,
                    "colour": css_colour(scores.palette[index]),
                    "share": labels[0].class_share[name],
                    "made": values[0],
                    "ceiling": values[-1],
                    "baselines": values[1:-1],
                }
            )
    return bars


def heat_map(scores: Scores, most: int = 24) -> dict[str, Any]:
    """Which class is taken for which: shares of each true class's pixels, the most frequent classes first."""
    labels = scores.synthesized.labels[scores.main_protocol.name]
    totals = [sum(row) for row in labels.confusion[:-1]]
    order = [index for index in sorted(range(len(totals)), key=lambda index: -totals[index]) if totals[index]][:most]
    rows = [
        {
            "name": scores.classes[true],
            "cells": [labels.confusion[true][guess] / totals[true] for guess in order],
        }
        for true in order
    ]
    return {"names": [scores.classes[index] for index in order], "rows": rows, "left_out": len(totals) - len(order)}


def published(scores: Scores) -> PublishedTable | None:
    """The published scores on the report's data set, where it is a known one."""
    return published_table(tuple(scores.settings["data_classes"]))


def setting_rows(scores: Scores) -> list[tuple[str, str]]:
    """Every setting and hash as name and text."""
    rows = []
    for protocol in scores.protocols:
        fields = ", ".join(f"{key} {_plain(value)}" for key, value in protocol.model_dump().items() if key != "name")
        rows.append((f"protocol {protocol.name}", fields))
    rows += _flatten({key: value for key, value in scores.settings.items() if key != "data_classes"})
    for part in scores.sets:
        rows += [(f"{part.name}: {name}", value) for name, value in _flatten(_brief(part))]
    for name, ids in scores.unpaired.items():
        if ids:
            rows.append((f"unpaired {name}", ", ".join(ids[:20]) + (" ..." if ids[20:] else "")))
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


def css_colour(colour: Sequence[int]) -> str:
    """RGB as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _column(
    title: str,
    note: str,
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None] = (),
    *,
    lower_is_better: bool = False,
    ceiling: bool = True,
) -> Column:
    """Distances are numbers, everything else per cent; with `ceiling` the last value is no competitor."""
    show = number if lower_is_better else percent
    known = {index: value for index, value in enumerate(values[:-1] if ceiling else values) if value is not None}
    best = (min if lower_is_better else max)(known, key=lambda index: known[index]) if len(known) > 1 else None
    texts = tuple("" if pair is None else f"{show(pair[0]).rstrip('%')}–{show(pair[1])}" for pair in intervals)
    return Column(title, note, tuple(map(show, values)), texts if any(texts) else (), best, lower_is_better)


def _brief(part: SetScores) -> dict[str, Any]:
    """Where a set came from, without the list of its files."""
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
