"""What the label maps of a data set teach about classes of things: on what they stand, where, and how high they are."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.records import Record
from pipeline.datasets.instances import Instance, find_instances, find_owners
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.seeding import record_seed

SHAPES = 500
"""Instances of a class that are kept to be moved; a seeded choice where there are more."""
SMALLEST = 4
"""Rows and columns of an instance that is moved, at least."""
PLAUSIBLE = 0.2
"""A support is as frequent as this share of the most frequent one: what is rare is mostly in front, as a fence."""
HIDDEN = 0.1
"""Share of the pixels around an instance that may belong to nearer ones, if it is to be moved."""


@dataclass(frozen=True)
class Shape:
    """An instance that may be moved."""

    source: str
    """The id of its record."""
    height: int
    """Of its map, in pixels."""
    instance: Instance


@dataclass(frozen=True)
class Thing:
    """What the maps teach about a class of things; rows and heights are shares of the map's height."""

    label: int
    """The class, as stored."""
    supports: Mapping[int, float]
    """The ids that lie directly below its instances, with the share of the instances, the most frequent first."""
    standing: Sequence[tuple[float, int]]
    """Of each instance on one of these: its lowest row, and which."""
    intercept: float
    slope: float
    """Of the least-squares line of height over lowest row."""
    shapes: Sequence[Shape]

    def height(self, row: float) -> float:
        """How high an instance is that ends on a row."""
        return self.intercept + self.slope * row


@dataclass(frozen=True)
class _Seen:
    """An instance that no border cuts."""

    row: float
    height: float
    support: int
    hidden_by: Mapping[int, float]
    """By class the share of the pixels around it that belong to instances nearer than it."""

    def stands_free(self, things: Collection[int]) -> bool:
        """Whether it stands on something else than a thing, and is hidden by none."""
        hidden = sum(share for label, share in self.hidden_by.items() if label in things)
        return self.support not in things and hidden <= HIDDEN


def learn(
    records: Iterable[Record],
    space: LabelSpace,
    classes: Collection[int] | None,
    *,
    seed: int,
    zero_is_none: bool = False,
) -> list[Thing]:
    """What the maps of a data set teach about `classes`; None: about those that have two instances in one map.

    An instance that touches a border of the map, that stands on another thing or that is partly behind one does not
    count: its height is unknown, and elsewhere it would look cut. `zero_is_none` is that of `find_instances`. Raises
    `InputError` where `classes` is None and a record has no instance map.
    """
    seen: dict[int, list[_Seen]] = defaultdict(list)
    kept: dict[int, list[tuple[int, int, _Seen, Shape]]] = defaultdict(list)
    things = set(classes or ())
    for record in records:
        if record.instance is None and classes is None:
            raise InputError(
                f"record '{record.id}' has no instance map; name classes of things with --classes, such as car,person"
            )
        found = find_instances(record.label, record.instance, classes, zero_is_none=zero_is_none)
        if classes is None:
            things |= {label for label, count in Counter(part.label for part in found).items() if count > 1}
        height, width = record.label.shape
        owners = find_owners(found, record.label.shape)
        for number, part in enumerate(found):
            below = part.below(record.label)
            below = below[below < len(space.classes)]
            if not (len(below) and part.is_whole(height, width)):
                continue
            around = owners[part.around(record.label.shape)]
            nearer = Counter(found[owner].label for owner in around[around >= 0] if found[owner].row > part.row)
            entry = _Seen(
                row=(part.row + 0.5) / height,
                height=part.mask.shape[0] / height,
                support=int(np.bincount(below).argmax()),
                hidden_by={label: count / len(around) for label, count in nearer.items()},
            )
            seen[part.label].append(entry)
            if min(part.mask.shape) >= SMALLEST:
                add = heapq.heappush if len(kept[part.label]) < SHAPES else heapq.heappushpop
                priority = record_seed(seed, record.id, number)
                add(kept[part.label], (-priority, len(seen[part.label]), entry, Shape(record.id, height, part)))
    return [_thing(label, seen[label], sorted(kept[label]), things) for label in sorted(things)]


def _thing(
    label: int, seen: Sequence[_Seen], kept: Sequence[tuple[int, int, _Seen, Shape]], things: Collection[int]
) -> Thing:
    """Conclude from what was seen of a class."""
    free = [entry for entry in seen if entry.stands_free(things)]
    counts = Counter(entry.support for entry in free).most_common()
    supports = {number: count / len(free) for number, count in counts if count >= PLAUSIBLE * counts[0][1]}
    standing = [entry for entry in free if entry.support in supports]
    if not standing:
        return Thing(label, {}, (), 0.0, 0.0, ())
    rows, heights = np.array([(entry.row, entry.height) for entry in standing]).T
    spread = float(rows.var())
    slope = float(np.mean((rows - rows.mean()) * (heights - heights.mean()))) / spread if spread > 1e-9 else 0.0
    return Thing(
        label,
        supports,
        standing=[(entry.row, entry.support) for entry in standing],
        intercept=float(heights.mean() - slope * rows.mean()),
        slope=slope,
        shapes=[shape for _, _, entry, shape in kept if entry.stands_free(things) and entry.support in supports],
    )
