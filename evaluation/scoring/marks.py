"""What people said of pictures: their marks, counted, by class, and beside what the segmenter sees in the pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.scoring.picture_sets import Picture, Selection, decode_picture
from evaluation.scoring.scorer import ImageScorer
from pipeline.data.marks import BAD, GOOD
from pipeline.data.parquet import ParquetDataset
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

ORDER = (*BAD, "tie", *GOOD)
"""Of marks in reports; others follow by their letters."""

SHARE = 0.01
"""Of a label map: a class counts for a picture in which it has as many pixels."""

COLUMNS = ("id", "sample", "image", "label", "style", "seed", "checkpoint", "mark", "note")


@dataclass(frozen=True)
class MarkCount:
    """Pictures of one mark."""

    mark: str
    pictures: int
    accuracy: float | None
    """Mean share of known pixels in which the segmenter sees what the label map has."""


@dataclass(frozen=True)
class ClassMarks:
    """Pictures in which a class has pixels enough, by what was said of them."""

    name: str
    good: int
    bad: int

    @property
    def bad_share(self) -> float:
        """Of those that were called one or the other, 0 to 1."""
        return self.bad / (self.good + self.bad)


@dataclass(frozen=True)
class MarkScores:
    """All marks of a report."""

    sources: tuple[str, ...]
    """Where they were read."""
    counts: tuple[MarkCount, ...]
    classes: tuple[ClassMarks, ...]
    """Of the data set, those most often called bad first; only those of which a picture was called good or bad."""
    same_weights: int
    """How many pictures are of the weights that made the synthesized set."""

    @property
    def pictures(self) -> int:
        """That were marked; one that several people marked counts for each."""
        return sum(count.pictures for count in self.counts)


@dataclass(frozen=True)
class MarkedPicture:
    """A picture that somebody marked, and what the segmenter sees in it; arrays of one size."""

    id: str
    mark: str
    note: str
    style: str | None
    """As JSON, of the record."""
    image: np.ndarray
    """uint8 `[H, W, 3]`."""
    target: np.ndarray
    """int16 `[h, w]`: classes of the label map, -1 for void."""
    predicted: np.ndarray
    """int16 `[h, w]`."""
    accuracy: float | None


@dataclass(frozen=True)
class MarkedSet:
    """Parquet files of marks, opened."""

    datasets: tuple[ParquetDataset, ...]

    @classmethod
    def open(cls, locations: Sequence[str | Path], space: LabelSpace) -> MarkedSet:
        """Look at columns and classes; `InputError` for files without marks, or of other classes than `space` has."""
        datasets = []
        for location in locations:
            try:
                dataset = ParquetDataset.open(location)
            except InputError as error:
                raise InputError(f"marks: {error}") from None
            dataset.check_columns(("id", "label", "image"))
            if any("mark" not in file.schema.names for file in dataset.files):
                raise InputError(
                    f"{location} has no column 'mark'; give a file of marks: of the painter, or of `prefer --records`"
                )
            if dataset.require_info().space.classes != space.classes:
                raise InputError(f"the marks in {location} are of other classes than the pictures; leave them out")
            datasets.append(dataset)
        return cls(tuple(datasets))

    def score(
        self, scorer: ImageScorer, *, checkpoint: str | None, count: int
    ) -> tuple[MarkScores, tuple[MarkedPicture, ...]]:
        """What the marks say, and `count` marked pictures at most, spread over the marks, the last ones of each.

        `checkpoint` is the sha256 of the weights that made the synthesized set. Raises `InputError` for pictures that
        are missing or broken.
        """
        marks = [row["mark"] or "none" for row in self._rows(("mark",))]
        shown = _chosen(marks, count)
        accuracies: defaultdict[str, list[float]] = defaultdict(list)
        sides: Counter[tuple[int, str]] = Counter()
        same_weights = 0
        pictures: dict[int, MarkedPicture] = {}
        numbered = enumerate(self._rows(COLUMNS))
        while batch := list(islice(numbered, scorer.batch_size)):
            decoded = [decode_picture(row, Selection()) for _, row in batch]
            for (number, row), picture, predicted in zip(batch, decoded, scorer.predict(decoded), strict=True):
                target = scorer.target(picture)
                accuracy = _accuracy(target, predicted)
                if accuracy is not None:
                    accuracies[marks[number]].append(accuracy)
                for index in _classes(scorer, picture):
                    sides[index, _side(marks[number])] += 1
                same_weights += checkpoint is not None and row["checkpoint"] == checkpoint
                if number in shown:
                    pictures[number] = MarkedPicture(
                        row["id"], marks[number], row["note"] or "", row["style"], picture.image, target, predicted,
                        accuracy,
                    )  # fmt: skip
        names = scorer.space.classes
        found = [ClassMarks(name, sides[index, "good"], sides[index, "bad"]) for index, name in enumerate(names)]
        scores = MarkScores(
            tuple(dataset.location for dataset in self.datasets),
            tuple(
                MarkCount(mark, number, float(np.mean(accuracies[mark])) if accuracies[mark] else None)
                for mark, number in sorted(Counter(marks).items(), key=lambda item: _place(item[0]))
            ),
            tuple(sorted((each for each in found if each.good + each.bad), key=_worst_first)),
            same_weights,
        )
        return scores, tuple(pictures[number] for number in shown)

    def _rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for dataset in self.datasets:
            yield from dataset.iter_rows(columns, batch_rows=16)


def _chosen(marks: Sequence[str], count: int) -> list[int]:
    """Which of the pictures are shown, in the order of their marks: as many of each mark as there is room for.

    >>> _chosen(["good", "bad", "bad", "good", "bad"], 3)
    [2, 4, 3]
    """
    left = {mark: [number for number, each in enumerate(marks) if each == mark] for mark in set(marks)}
    taken: list[int] = []
    while len(taken) < min(count, len(marks)):
        for mark in sorted(left, key=_place):
            if left[mark] and len(taken) < count:
                taken.append(left[mark].pop())
    return sorted(taken, key=lambda number: (_place(marks[number]), number))


def _place(mark: str) -> tuple[int, str]:
    return (ORDER.index(mark) if mark in ORDER else len(ORDER)), mark


def _side(mark: str) -> str:
    return "bad" if mark in BAD else "good" if mark in GOOD else ""


def _worst_first(item: ClassMarks) -> tuple[float, int, str]:
    return -item.bad_share, -item.bad, item.name


def _accuracy(target: np.ndarray, predicted: np.ndarray) -> float | None:
    known = target >= 0
    return float((predicted == target)[known].mean()) if known.any() else None


def _classes(scorer: ImageScorer, picture: Picture) -> list[int]:
    """The classes of the data set that have pixels enough."""
    counts = np.bincount(scorer.data_classes(picture).ravel(), minlength=len(scorer.space.classes))
    return np.flatnonzero(counts[: len(scorer.space.classes)] >= SHARE * counts.sum()).tolist()
