"""Label maps to start from: landscapes that are drawn, or those of a file."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import Record, decode_record, resize_record
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

MOST = 24
"""Templates of a file: its first records."""

SCENES = {
    "bay": 0,
    "road": 1,
    "conifers": 4,
    "houses": 11,
    "meadow": 13,
    "grove": 14,
    "village": 16,
    "evening road": 28,
    "river mouth": 31,
    "strait": 34,
    "lake and peak": 38,
}
"""Landscapes by what they show, and their numbers among the scenes of seed 0."""

SMALLEST = 64
"""Side of a landscape worth drawing."""


@dataclass(frozen=True)
class Template:
    """A label map and its name."""

    name: str
    label: np.ndarray
    """Integers `[H, W]`."""
    instance: np.ndarray | None
    """Integers `[H, W]`, or None."""


class Templates:
    """The templates of each label space."""

    def __init__(self, source: str | Path | None = None) -> None:
        """`source` has label maps of some checkpoint's classes; None: landscapes, for those of landscapes.

        Raises `InputError` where it is not readable.
        """
        self._source = None if source is None else ParquetDataset.open(source)
        self._space = self._source.require_info().space if self._source else None

    def of(self, space: LabelSpace, size: tuple[int, int]) -> list[Template]:
        """Those of a checkpoint with these classes, height and width; none where there are none of its classes."""
        if self._source is None:
            from pipeline.label_sets import LABEL_SETS

            return list(_landscapes(*size)) if space.classes == LABEL_SETS["landscape"].classes else []
        assert self._space is not None
        if self._space.classes != space.classes:
            return []
        rows = itertools.islice(self._source.iter_rows(["id", "label", "instance"], batch_rows=MOST), MOST)
        return [_template(resize_record(decode_record(row), *size)) for row in rows]

    def check(self, spaces: list[LabelSpace]) -> None:
        """Raise `InputError` where no checkpoint has the classes of the file."""
        if self._source is None or self._space is None:
            return
        if all(space.classes != self._space.classes for space in spaces):
            raise InputError(
                f"--templates {self._source.location} has other classes than every checkpoint; leave it out"
            )


def _template(record: Record) -> Template:
    return Template(record.id, record.label, record.instance)


@lru_cache(maxsize=4)
def _landscapes(height: int, width: int) -> tuple[Template, ...]:
    from pipeline.datasets.landscape.dataset import draw_scene

    large = max(height, SMALLEST), max(width, SMALLEST)
    drawn = [(name, draw_scene(0, index, *large).record) for name, index in SCENES.items()]
    return tuple(
        Template(name, small.label, small.instance)
        for name, small in ((name, resize_record(record, height, width)) for name, record in drawn)
    )
