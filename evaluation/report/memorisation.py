"""The page and the table of `memorisation`: the closest pairs, side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.copies import BINS, Copies
from evaluation.metrics.nearest import Neighbours, TrainingPhotographs
from evaluation.report import TEMPLATES
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.picture_sets import Key, PictureSet, Selection
from pipeline.pages.format import percent
from pipeline.pages.render import write_page
from pipeline.pages.tables import Cell, Row, Table

COLUMNS = (
    *("id", "sample", "photograph", "photograph_sample", "mirrored", "distance", "spacing", "closeness"),
    *("authentic", "copy", "other", "other_sample", "other_distance", "near_duplicate"),
)
"""Of the table: a picture, the nearest photograph, and the nearest other picture; see `Neighbours`."""


@dataclass(frozen=True)
class MeasuredSet:
    """Pictures, and what was found out about each."""

    pictures: PictureSet
    results: ImageResults
    selection: Selection
    """How they were read."""

    def key(self, index: int) -> Key:
        """Id and sample of a picture."""
        return str(self.results.ids[index]), int(self.results.samples[index])

    def name(self, index: int) -> str:
        """A picture in words."""
        name, sample = self.key(index)
        return f"{name}, sample {sample}" if sample else name

    def image(self, index: int, *, mirrored: bool = False) -> np.ndarray:
        """uint8 `[H, W, 3]`: a picture, read again."""
        (picture,) = self.pictures.pictures([self.key(index)], replace(self.selection, mirrored=mirrored))
        return picture.image


def write_pairs_page(
    path: Path,
    parts: Sequence[Copies],
    generated: MeasuredSet,
    trained: MeasuredSet,
    found: Neighbours,
    reference: TrainingPhotographs,
    *,
    features: str,
    pairs: int,
) -> None:
    """Write HTML: the figures of the sets, the synthesized pictures first, and `pairs` of these with the nearest
    photograph and with the nearest other picture, the closest ones first; and its table as CSV and LaTeX."""
    bars = _bars(parts)
    write_page(
        path,
        TEMPLATES / "memorisation.html.j2",
        tables=[_closeness_table(parts, bars)],
        parts=parts,
        features=features,
        photographs=len(reference),
        bars=bars,
        copies=[_copy(index, generated, trained, found, reference) for index in closest_copies(found, pairs)],
        repeats=[_repeat(index, generated, found) for index in closest_repeats(found, pairs)],
    )


def render_table(generated: MeasuredSet, trained: MeasuredSet, found: Neighbours) -> str:
    """CSV with `COLUMNS`: a row a picture, in the order of the files."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for index, (photograph, other) in enumerate(zip(found.photograph.tolist(), found.other.tolist(), strict=True)):
        distances = [f"{values[index]:.9g}" for values in (found.distance, found.spacing, found.closeness)]
        flags = [int(values[index]) for values in (found.authentic, found.copies)]
        nearest = (*generated.key(other), f"{found.other_distance[index]:.9g}") if other >= 0 else ("", "", "")
        photographed = (*trained.key(photograph), int(found.mirrored[index]))
        rows.writerow([*generated.key(index), *photographed, *distances, *flags, *nearest, int(found.repeated[index])])
    return text.getvalue()


def closest_copies(found: Neighbours, count: int) -> list[int]:
    """The pictures that are closest to a photograph, in order; of each photograph only the closest one."""
    order = np.argsort(found.closeness, kind="stable")
    _, first = np.unique(found.photograph[order], return_index=True)
    return order[np.sort(first)][:count].tolist()


def closest_repeats(found: Neighbours, count: int) -> list[int]:
    """The pictures that are closest to another one, in order; each pair once."""
    chosen: dict[frozenset[int], int] = {}
    for index in np.argsort(found.other_closeness, kind="stable").tolist():
        if len(chosen) == count or found.other[index] < 0:
            break
        chosen.setdefault(frozenset((index, int(found.other[index]))), index)
    return list(chosen.values())


def _copy(
    index: int, generated: MeasuredSet, trained: MeasuredSet, found: Neighbours, reference: TrainingPhotographs
) -> dict[str, Any]:
    """A picture, the nearest photograph, and that one's nearest other."""
    photograph, mirrored = int(found.photograph[index]), bool(found.mirrored[index])
    times, other = divmod(int(reference.other[photograph]), len(reference))
    other_mirrored = times > 0
    panels = [
        ("synthesized", generated.image(index)),
        (_form("nearest photograph", mirrored), trained.image(photograph, mirrored=mirrored)),
        (_form("its nearest other", other_mirrored), trained.image(other, mirrored=other_mirrored)),
    ]
    names = f"{generated.name(index)} and {trained.name(photograph)}"
    return {"names": names, "closeness": float(found.closeness[index]), "panels": panels}


def _repeat(index: int, generated: MeasuredSet, found: Neighbours) -> dict[str, Any]:
    """A picture and the nearest other one."""
    both = (index, int(found.other[index]))
    panels = [(generated.name(one), generated.image(one)) for one in both]
    return {"names": "", "closeness": float(found.other_closeness[index]), "panels": panels}


def _form(what: str, mirrored: bool) -> str:
    return f"{what}, mirrored" if mirrored else what


def _bars(parts: Sequence[Copies]) -> list[dict[str, Any]]:
    """A bin of closeness each: its name, and the share of every set that is in it."""
    names = [f"{low:g} to {high:g}" for low, high in pairwise(BINS[:-1])] + [f"over {BINS[-2]:g}"]
    return [{"name": name, "shares": [part.histogram[index] for part in parts]} for index, name in enumerate(names)]


def _closeness_table(parts: Sequence[Copies], bars: Sequence[dict[str, Any]]) -> Table:
    """The bars of the page: the share of every set by closeness."""
    rows = [Row(bar["name"], tuple(Cell(percent(share), value=share) for share in bar["shares"])) for bar in bars]
    return Table(
        "closeness", "share of the distance between photographs", tuple(part.name for part in parts), tuple(rows)
    )
