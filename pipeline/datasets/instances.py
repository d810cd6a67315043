"""The instances of a label map: from its instance map, or as the connected regions of classes of things."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.labels import LabelSpace

EDGE = 0.1
"""The lower edge of an instance is what ends in this lowest share of its height: it does not stand on its overhangs."""


@dataclass(frozen=True)
class Instance:
    """One instance, cut out of its map."""

    label: int
    """Its class, as stored."""
    left: int
    top: int
    mask: np.ndarray
    """bool `[height, width]`: its pixels in its bounding box."""

    @property
    def row(self) -> int:
        """The row of its lowest pixels."""
        return self.top + self.mask.shape[0] - 1

    @property
    def box(self) -> list[int]:
        """`[left, top, width, height]`, as COCO writes bounding boxes."""
        return [self.left, self.top, self.mask.shape[1], self.mask.shape[0]]

    @cached_property
    def lower_edge(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, in the box, of the lowest pixel of each column that reaches the lower edge: int64 `[n]`."""
        height = self.mask.shape[0]
        lowest = height - 1 - self.mask[::-1].argmax(axis=0)
        columns = np.flatnonzero(self.mask.any(axis=0) & (lowest >= height - 1 - EDGE * height))
        return lowest[columns], columns

    def below(self, label: np.ndarray) -> np.ndarray:
        """The ids `[n]` directly below its lower edge in a label map `[H, W]`; those outside the map are left out."""
        rows, columns = self.lower_edge
        rows, columns = rows + self.top + 1, columns + self.left
        inside = (rows >= 0) & (rows < label.shape[0]) & (columns >= 0) & (columns < label.shape[1])
        return label[rows[inside], columns[inside]]

    def around(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, int64 `[n]`, of the pixels beside, above and below it, in a map of a shape `(H, W)`."""
        padded = np.pad(self.mask, 1)
        wide = padded.copy()
        wide[1:] |= padded[:-1]
        wide[:-1] |= padded[1:]
        wide[:, 1:] |= padded[:, :-1]
        wide[:, :-1] |= padded[:, 1:]
        rows, columns = np.nonzero(wide & ~padded)
        rows, columns = rows + self.top - 1, columns + self.left - 1
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        return rows[inside], columns[inside]

    def is_whole(self, height: int, width: int) -> bool:
        """Whether it touches no border of a map of this size, which would have cut it."""
        box_height, box_width = self.mask.shape
        inside = self.left > 0 and self.top > 0
        return inside and self.left + box_width < width and self.top + box_height < height


def find_instances(
    label: np.ndarray, instance: np.ndarray | None, classes: Collection[int] | None, *, zero_is_none: bool = False
) -> list[Instance]:
    """The instances of `classes` (None: of all) in a label map `[H, W]`, in a fixed order.

    With an instance map `[H, W]`, the pixels of one instance id, of the class that most of them have. With
    `zero_is_none` 0 is no instance, and every other id is one; else an id that is the class's own is none, as
    COCO-Stuff and Cityscapes number what they do not tell apart (`instance_ids.py` says which it is). Without an
    instance map, the connected regions of each class.
    """
    if instance is None:
        assert classes is not None
        return [part for number in sorted(classes) for part in _regions(label, number)]
    found = []
    base = int(label.max()) + 1
    keys, counts = np.unique(instance.astype(np.int64) * base + label, return_counts=True)
    for identity in np.unique(keys // base).tolist():
        of_id = np.flatnonzero(keys // base == identity)
        number = int(keys[of_id[counts[of_id].argmax()]] % base)
        none = 0 if zero_is_none else number
        if identity != none and (classes is None or number in classes):
            found.append(_cut((instance == identity) & (label == number), number))
    return found


def find_owners(found: Sequence[Instance], shape: tuple[int, ...]) -> np.ndarray:
    """int64 `[H, W]`: at each pixel of a map the position of its instance in `found`; -1: none."""
    owners = np.full(shape, -1)
    for number, part in enumerate(found):
        height, width = part.mask.shape
        owners[part.top : part.top + height, part.left : part.left + width][part.mask] = number
    return owners


def _regions(label: np.ndarray, number: int) -> list[Instance]:
    """The connected regions of a class, from above."""
    numbered = connected_regions(label == number)
    return [_cut(numbered == region, number) for region in range(1, int(numbered.max()) + 1)]


def _cut(mask: np.ndarray, number: int) -> Instance:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Instance(number, int(columns[0]), int(rows[0]), box.copy())


def number_regions(label: np.ndarray, classes: Collection[int], space: LabelSpace) -> np.ndarray:
    """An instance map, int32 `[H, W]`, for a label map `[H, W]`: each connected region of `classes` is an instance.

    Their ids come after those of all classes; pixels of other classes have the id of their class, as in COCO-Stuff.

    >>> space = LabelSpace(classes=("sky", "car"))
    >>> number_regions(np.array([[1, 0, 1]], np.uint8), [1], space).tolist()
    [[2, 0, 3]]
    """
    found = label.astype(np.int32)
    number = max(len(space.classes), 0 if space.dont_care is None else space.dont_care + 1)
    for thing in sorted(classes):
        regions = connected_regions(label == thing)
        found[regions > 0] = regions[regions > 0] + number - 1
        number += int(regions.max())
    return found


def connected_regions(mask: np.ndarray) -> np.ndarray:
    """int32 `[H, W]`: 0 outside of a mask, bool `[H, W]`, and in it the number of the region from 1 on, 8-connected.

    >>> connected_regions(np.array([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)).tolist()
    [[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 2]]
    """
    height, width = mask.shape
    # Runs of a row, found in one go: `[start, stop)` in a flat picture with a column of zeros on either side.
    flat = np.pad(mask, ((0, 0), (1, 1))).ravel().astype(np.int8)
    steps = np.diff(flat)
    starts, stops = np.flatnonzero(steps == 1) + 1, np.flatnonzero(steps == -1) + 1
    rows = starts // (width + 2)
    first = np.searchsorted(rows, np.arange(height + 1))
    starts, stops = starts - rows * (width + 2), stops - rows * (width + 2)
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    for row in range(1, height):
        above, here = int(first[row - 1]), int(first[row])
        while above < first[row] and here < first[row + 1]:
            if starts[above] <= stops[here] and starts[here] <= stops[above]:
                one, other = root(above), root(here)
                parents[max(one, other)] = min(one, other)
            if stops[above] < stops[here]:
                above += 1
            else:
                here += 1
    numbers: dict[int, int] = {}
    result = np.zeros((height, width), np.int32)
    for run, row in enumerate(rows.tolist()):
        number = numbers.setdefault(root(run), len(numbers) + 1)
        result[row, starts[run] - 1 : stops[run] - 1] = number
    return result
