"""The data sets that a training draws from, opened and checked: one alone, or several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Source
from pipeline.data.mixture import Mixture
from pipeline.data.parquet import ParquetDataset, ParquetFile, RowGroup
from pipeline.data.records import read_keys
from pipeline.data.storage import absolute
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.seeding import record_seed


@dataclass(frozen=True)
class OpenSource:
    """A source whose files, columns, classes and ids fit."""

    source: Source
    dataset: ParquetDataset
    chosen: np.ndarray | None
    """int64, sorted: the numbers of the records that are taken; None: all."""

    @property
    def rows(self) -> int:
        """Records that are taken."""
        return self.dataset.rows if self.chosen is None else len(self.chosen)

    @property
    def columns(self) -> tuple[str, ...]:
        """What training reads; `sample`, `instance` and `disparity` may be absent."""
        return "id", "sample", self.source.label_column, "instance", "image", "disparity"

    def seed(self, seed: int) -> int:
        """The seed of what is drawn for this source alone; a source without a name has that of the whole."""
        return record_seed(seed, self.source.name, 0) if self.source.name else seed

    def row(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A stored row as `decode_record` takes it: its label map under `label`, the source's name before its id."""
        name = f"{self.source.name}:{stored['id']}" if self.source.name else stored["id"]
        return {**stored, "id": name, "label": stored[self.source.label_column]}

    def row_groups(self) -> Iterator[tuple[ParquetFile, RowGroup, np.ndarray | None]]:
        """The row groups with records that are taken, and which rows of each.

        Rows are counted in the group, int64 `[rows]` in ascending order; None: all of them.
        """
        first = 0
        for file in self.dataset.files:
            for group in file.row_groups:
                if self.chosen is None:
                    yield file, group, None
                else:
                    start, stop = np.searchsorted(self.chosen, [first, first + group.rows])
                    if stop > start:
                        yield file, group, self.chosen[start:stop] - first
                first += group.rows

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """The `row` of each record that is taken, in order, pictures still encoded; without instance maps and
        disparity."""
        columns = [name for name in self.columns if name not in ("instance", "disparity")]
        for file, group, taken in self.row_groups():
            wanted = None if taken is None else set((taken + group.first).tolist())
            for position, stored in file.iter_rows(columns, start=group.first, stop=group.first + group.rows):
                if wanted is None or position in wanted:
                    yield self.row(stored)


def as_sources(data: str | Path | Sequence[Source], base: Path | None = None) -> tuple[Source, ...]:
    """`data.train` or `data.validation` of a recipe as sources, relative paths taken from `base` (None: from here)."""
    sources = [Source(path=str(data))] if isinstance(data, str | Path) else data
    return tuple(source.model_copy(update={"path": absolute(source.path, base)}) for source in sources)


def open_sources(sources: Sequence[Source], space: LabelSpace, *, seed: int) -> tuple[OpenSource, ...]:
    """Open data sets of label maps with photographs, of the classes of a recipe's `space`.

    `seed` chooses the records of sources with a `count`. Raises `InputError` for anything that `check_dataset` refuses,
    sources of different classes, classes other than the recipe's, and a `count` of more records than there are.
    """
    found: list[OpenSource] = []
    for source in sources:
        dataset = ParquetDataset.open(source.path)
        label = source.label_column
        dataset.check_columns(("id", label, "image"), pictures=(label, "instance", "image"))
        ours = dataset.require_info().space
        for other in found:
            if told := _difference(other.dataset.require_info().space, ours):
                raise InputError(
                    f"source '{source.name}' ({source.path}) has other classes than source '{other.source.name}' "
                    f"({other.source.path}): {told}; train on sources of one label space"
                )
        if told := _difference(space, ours):
            raise InputError(
                f"{source.path} has the classes {', '.join(ours.classes)}, but the recipe's are "
                f"{', '.join(space.classes)} ({told}); they must be the same in the same order"
            )
        found.append(OpenSource(source, dataset, _choose(source, read_keys(dataset), seed)))
    return tuple(found)


def mix(sources: Sequence[OpenSource], *, seed: int) -> Mixture:
    """The order in which sources take turns, by their weights where they have some."""
    weights = [source.source.weight for source in sources]
    known = [weight for weight in weights if weight is not None]
    return Mixture([source.rows for source in sources], known or None, seed=seed)


def _choose(source: Source, keys: Sequence[str], seed: int) -> np.ndarray | None:
    """The numbers of the `count` records with the smallest hashes of seed and key, wherever they are stored."""
    if source.count is None:
        return None
    if source.count > len(keys):
        raise InputError(
            f"source '{source.name}' ({source.path}) has {len(keys)} records, fewer than its count {source.count}; "
            "lower it, or leave it out"
        )
    hashes = np.array([record_seed(seed, f"count {source.name}:{key}", 0) for key in keys])
    return np.sort(np.argsort(hashes, kind="stable")[: source.count])


def _difference(one: LabelSpace, other: LabelSpace) -> str | None:
    """What keeps label maps of `other` from being read as those of `one`; None where nothing does."""
    if len(one.classes) != len(other.classes):
        return f"{len(other.classes)} classes, not {len(one.classes)}"
    for number, (ours, theirs) in enumerate(zip(one.classes, other.classes, strict=True)):
        if ours != theirs:
            return f"class {number} is '{theirs}', not '{ours}'"
    if None not in (one.dont_care, other.dont_care) and one.dont_care != other.dont_care:
        return f"don't-care is {other.dont_care}, not {one.dont_care}"
    return None
