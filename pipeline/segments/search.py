"""Retrieval: for a segment of a label map, those of a memory bank that are most alike (SIMS, Sec. 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.instances import Instance
from pipeline.segments.bank import MemoryBank
from pipeline.segments.coarse import coarse_box, coarse_iou, coarse_labels, context_overlap, pack_mask
from pipeline.segments.cut import cut_segments, in_frame

COARSE = 50
"""By the overlap of coarse masks, how many are compared pixel by pixel."""
FINE = 10
"""Of these, by the overlap of the masks themselves, how many have their surroundings compared too."""


@dataclass(frozen=True)
class Match:
    """A segment of the bank for one of a label map."""

    query: Instance
    segment: int
    """Its number in the bank."""
    iou: float
    """Of the two masks, each in its own frame: nothing is aligned, so position and size count."""
    context: float
    """How alike the label maps are in the query's box (`context_overlap`, at 64x64)."""

    @property
    def score(self) -> float:
        """What is compared: at most 2."""
        return self.iou + self.context


def find_matches(
    bank: MemoryBank, channels: np.ndarray, instance: np.ndarray | None, *, exclude: int | None = None
) -> list[Match]:
    """The best segment of the bank for each of a label map, class channels `[H, W]`, in the order of `cut_segments`.

    The `COARSE` best of its class by coarse masks, of these the `FINE` best by the masks at the label map's size, of
    these the best by the sum of both terms; of equal ones always the first. `exclude` is the number of a picture whose
    segments are left out. Segments without any of their class in the bank have no match.
    """
    labels = coarse_labels(channels, bank.contexts.dtype)
    queries = cut_segments(channels, instance, classes=len(bank.space.classes), least_area=bank.least_area)
    found = (_best(bank, query, labels, channels.shape, exclude) for query in queries)
    return [match for match in found if match is not None]


def candidates(bank: MemoryBank, label: int, exclude: int | None) -> np.ndarray:
    """The numbers of a class's segments, int64 `[n]`, but for those of one picture."""
    numbers = bank.of_class(label)
    return numbers if exclude is None else numbers[bank.pictures[numbers] != exclude]


def _best(
    bank: MemoryBank, query: Instance, labels: np.ndarray, shape: tuple[int, ...], exclude: int | None
) -> Match | None:
    height, width = shape
    mask = in_frame(query.mask, query.top, query.left, height, width)
    numbers = candidates(bank, query.label, exclude)
    if not len(numbers):
        return None
    # Of a class without `exclude` a slice, which is no copy.
    masks = (
        bank.coarse[numbers[0] : numbers[-1] + 1] if len(numbers) > numbers[-1] - numbers[0] else bank.coarse[numbers]
    )
    numbers = _largest(numbers, coarse_iou(pack_mask(mask), masks), COARSE)
    ious = np.array([_iou(mask, bank.frame_mask(number, height, width)) for number in numbers.tolist()])
    fine = _largest(np.arange(len(numbers)), ious, FINE)
    numbers, ious = numbers[fine], ious[fine]
    box = coarse_box((query.top, query.left, *query.mask.shape), height, width)
    contexts = context_overlap(labels, bank.contexts[bank.pictures[numbers]], box)
    first = int(np.lexsort((numbers, -(ious + contexts)))[0])
    return Match(query, int(numbers[first]), float(ious[first]), float(contexts[first]))


def _largest(numbers: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the largest values, of equal ones those of the smaller numbers first."""
    if len(numbers) > count:
        least = np.partition(values, -count)[-count]
        kept = values >= least
        numbers, values = numbers[kept], values[kept]
    return numbers[np.lexsort((numbers, -values))[:count]]


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.count_nonzero(one & other) / max(1, int(np.count_nonzero(one | other))))
