"""Pictures of several runs of the same label maps, from the galleries of their reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.runs import Run
from pipeline.pages.render import data_uri

SPREAD, DIFFERING = 8, 8
"""Label maps that are shown: evenly spread over the ids, and those on which accuracies differ most."""


def side_by_side(runs: Sequence[Run]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Title, note and rows of each section: label map, every run's picture with its accuracy, and photograph.

    Empty where a report has no gallery, or no picture is in all of them.
    """
    tables = []
    for run in runs:
        if run.pictures is None:
            return []
        tables.append({(row["id"], row["sample"]): row for row in run.pictures.to_pylist()})
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    if not shared:
        return []
    places = np.unique(np.linspace(0, len(shared) - 1, min(SPREAD, len(shared))).round().astype(int)).tolist()
    spread = [shared[place] for place in places]

    def row_of(key: tuple[str, int]) -> dict[str, Any]:
        rows = [table[key] for table in tables]
        return {
            "name": f"{key[0]}, sample {key[1]}" if key[1] else key[0],
            "label": data_uri(rows[0]["label"]["bytes"], "image/png"),
            "photograph": data_uri(rows[0]["photograph"]["bytes"], "image/webp"),
            "pictures": [(data_uri(row["image"]["bytes"], "image/webp"), row["accuracy"]) for row in rows],
        }

    def range_of(key: tuple[str, int]) -> float:
        known = [table[key]["accuracy"] for table in tables if table[key]["accuracy"] is not None]
        return max(known) - min(known) if len(known) == len(tables) else 0.0

    differing = sorted((key for key in shared if range_of(key) > 0), key=lambda key: (-range_of(key), key))[:DIFFERING]
    note = "Spread evenly over the label maps that the galleries of all reports have, not chosen."
    sections = [("The same label maps", note, [row_of(key) for key in spread])]
    if differing:
        note = "Where the shares of pixels that agree are furthest apart, the largest difference first."
        sections.append(("Where runs differ most", note, [row_of(key) for key in differing]))
    return sections
