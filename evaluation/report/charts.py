"""The bars and the heat map of a report, as a template draws them."""

from __future__ import annotations

from typing import Any

from evaluation.scoring.scores import Scores
from pipeline.pages.format import css_colour
from pipeline.pages.tables import Cell, Row, Table


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


def confusion_table(scores: Scores, most: int = 24) -> tuple[Table | None, int]:
    """Which class is taken for which: shares of each true class's pixels, the most frequent classes first; and how
    many classes are left out. None without a known pixel."""
    labels = scores.synthesized.labels[scores.main_protocol.name]
    totals = [sum(row) for row in labels.confusion[:-1]]
    order = [index for index in sorted(range(len(totals)), key=lambda index: -totals[index]) if totals[index]][:most]
    rows = []
    for true in order:
        shares = [labels.confusion[true][guess] / totals[true] for guess in order]
        cells = [Cell(f"{100 * share:.0f}" if share >= 0.005 else "", value=share) for share in shares]
        rows.append(Row(scores.classes[true], tuple(cells)))
    heads = tuple(scores.classes[index] for index in order)
    table = Table("confusion", "class", heads, tuple(rows), "heat") if rows else None
    return table, len(totals) - len(order)
