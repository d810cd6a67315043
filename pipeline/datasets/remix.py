"""New label maps from those of a data set: mirrored, and with instances of other maps where such things can stand.

`things.py` learns what can stand where from the maps themselves.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.images import resize_ids
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import (
    RECORD_FIELDS,
    DatasetInfo,
    Record,
    RecordWriter,
    check_dataset,
    count_rows,
    decode_record,
    iter_rows,
)
from pipeline.datasets.convert import SplitSummary, Summary, count_pixels
from pipeline.datasets.instance_ids import read_zero_is_none
from pipeline.datasets.instances import Instance, find_instances, find_owners
from pipeline.datasets.things import SMALLEST, Thing, learn
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.seeding import record_seed

FILE_NAME = "remix.parquet"
ATTEMPTS = 30
"""Places that are tried for each instance."""
VISIBLE = 0.5
"""Share that must be seen of an instance that is moved, and stay seen of each one behind it."""
LARGEST_CHANGE = 2.0
"""By which an instance is enlarged, or shrunk, at most."""


class Scene:
    """A label map into which instances are put, each behind those whose lower edge is lower: these are nearer."""

    def __init__(self, record: Record, classes: Collection[int], *, mirrored: bool, zero_is_none: bool = False) -> None:
        step = -1 if mirrored else 1
        self.base = record.id
        self.label = record.label[:, ::step].copy()
        self.instance = None if record.instance is None else record.instance[:, ::step].astype(np.int32)
        found = find_instances(self.label, self.instance, classes, zero_is_none=zero_is_none)
        self._rows = [part.row for part in found]
        self._pixels = [int(part.mask.sum()) for part in found]
        self._owner = find_owners(found, self.label.shape)

    def put(self, part: Instance, support: int) -> int | None:
        """Put an instance where it stands on `support`; its id in the instance map (0 without one), None if it cannot.

        It cannot where most of what lies below its lower edge is something else, where it would be hidden for the most
        part or reach out of the map, and where it would hide most of another instance.
        """
        below = part.below(self.label)
        if 2 * np.count_nonzero(below == support) <= len(part.lower_edge[1]):
            return None
        pixels = np.argwhere(part.mask) + np.array([part.top, part.left])
        inside = (pixels >= 0).all(axis=1) & (pixels < self.label.shape).all(axis=1)
        rows, columns = pixels[inside].T
        owners = self._owner[rows, columns]
        shown = np.append(self._rows, -1)[owners] <= part.row  # -1 is the last one.
        if np.count_nonzero(shown) < VISIBLE * len(pixels):
            return None
        hidden = np.bincount(owners[shown] + 1, minlength=len(self._rows) + 1)[1:]
        left = np.bincount(self._owner.ravel() + 1, minlength=len(self._rows) + 1)[1:] - hidden
        if ((hidden > 0) & (left < VISIBLE * np.array(self._pixels))).any():
            return None
        number = 0
        rows, columns = rows[shown], columns[shown]
        self._owner[rows, columns] = len(self._rows)
        self._rows.append(part.row)
        self._pixels.append(len(pixels))
        self.label[rows, columns] = part.label
        if self.instance is not None:
            number = _unused(self.instance, part.label)
            self.instance[rows, columns] = number
        return number


def _unused(instance: np.ndarray, label: int) -> int:
    """The smallest id from 1 on that an instance map does not have, but the class's: see `find_instances`."""
    taken = {label, *np.unique(instance).tolist()}
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def remix(
    record: Record,
    things: Sequence[Thing],
    space: LabelSpace,
    rng: np.random.Generator,
    *,
    instances: int,
    zero_is_none: bool = False,
) -> tuple[Scene, dict[str, Any]]:
    """A new map from that of a record, with 1 to `instances` more instances where there is room, and what was done.

    Half of the maps are mirrored, and all into which nothing was put. Each class of things comes as often as any other.
    `zero_is_none` is that of `find_instances`.
    """
    mirrored = bool(rng.random() < 0.5)
    classes = [thing.label for thing in things]
    scene = Scene(record, classes, mirrored=mirrored, zero_is_none=zero_is_none)
    movable = [thing for thing in things if thing.shapes]
    wanted = int(rng.integers(1, instances + 1)) if instances and movable else 0
    placed = [entry for _ in range(wanted) if (entry := _insert(scene, movable, space, rng)) is not None]
    if not (placed or mirrored):
        scene, mirrored = Scene(record, classes, mirrored=True, zero_is_none=zero_is_none), True
    return scene, {"base": record.id, "mirrored": mirrored, "instances": placed}


def _insert(
    scene: Scene, things: Sequence[Thing], space: LabelSpace, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Put one instance into a scene; where it came from and went to, or None if no place was found."""
    height = scene.label.shape[0]
    thing = things[int(rng.integers(len(things)))]
    for _ in range(ATTEMPTS):
        # Another instance of the class shows where such things stand: on what, and on which row.
        row_share, support = thing.standing[int(rng.integers(len(thing.standing)))]
        row = int(row_share * height)
        columns = np.flatnonzero(scene.label[row + 1] == support) if row + 1 < height else ()
        if not len(columns):
            continue
        shape = thing.shapes[int(rng.integers(len(thing.shapes)))]
        column, flip = int(columns[rng.integers(len(columns))]), bool(rng.random() < 0.5)
        if shape.source == scene.base:
            continue
        own = thing.height((shape.instance.row + 0.5) / shape.height)
        there = thing.height((row + 0.5) / height)
        if min(own, there) <= 0:
            continue  # Above the horizon.
        scale = there * height / (own * shape.height)
        if not 1 / LARGEST_CHANGE <= scale <= LARGEST_CHANGE:
            continue
        part = _moved(shape.instance, scale, row, column, flip=flip)
        if min(part.mask.shape) < SMALLEST:
            continue
        number = scene.put(part, support)
        if number is not None:
            return {
                "source": shape.source,
                "class": space.classes[thing.label],
                "source_box": shape.instance.box,
                "box": part.box,
                "scale": round(scale, 4),
                "mirrored": flip,
                "support": space.classes[support],
                "instance": number if scene.instance is not None else None,
            }
    return None


def _moved(part: Instance, scale: float, row: int, column: int, *, flip: bool) -> Instance:
    """An instance enlarged by a factor, with the middle of its lower edge at a pixel."""
    mask = part.mask[:, ::-1] if flip else part.mask
    height, width = (max(1, round(side * scale)) for side in mask.shape)
    mask = resize_ids(mask, height, width)
    rows = np.flatnonzero(mask.any(axis=1))  # Sampling may miss the outermost ones.
    columns = np.flatnonzero(mask.any(axis=0))
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = round(float(Instance(part.label, 0, 0, mask).lower_edge[1].mean()))
    return Instance(part.label, column - middle, row - mask.shape[0] + 1, mask)


@dataclass(frozen=True)
class Remixed:
    """What a remix wrote."""

    summary: Summary
    things: Sequence[Thing]
    moved: Mapping[str, int]
    """Instances that were put into maps, by class."""
    mirrored_only: int
    """Maps into which nothing was put."""

    def __str__(self) -> str:
        classes = self.summary.space.classes
        lines = []
        for thing in self.things:
            name = classes[thing.label]
            stands = ", ".join(f"{classes[number]} {share:.0%}" for number, share in thing.supports.items())
            learned = f"on {stands}; height {thing.intercept:+.2f} {thing.slope:+.2f} * row" if stands else "on nothing"
            lines.append(f"{name}: {len(thing.standing)} instances {learned}; {self.moved.get(name, 0)} moved")
        if self.mirrored_only:
            lines.append(f"maps that are mirrored and no more: {self.mirrored_only}")
        return "\n".join([str(self.summary), "", *lines])


def prepare(
    source: Path,
    out: Path,
    *,
    count: int | None = None,
    classes: Sequence[str] = (),
    instances: int = 4,
    seed: int = 0,
) -> Remixed:
    """Write `count` new maps (None: as many as there are) of the data set `source` to `out`/remix.parquet.

    The columns are id, label, instance where the maps have one, and provenance, a JSON object: the id of the base map,
    whether it is mirrored, and for each instance that was put there the id of its source, its class, its box
    `[left, top, width, height]` in either map (it may reach out of the new one), its scale, whether it is mirrored, the
    class that it stands on, and its id in the instance map. There is no photograph. Every map is a base equally often;
    those that are left over are chosen by the seed. The maps depend on the source and the seed alone.

    `classes` names the things, of which up to `instances` are put into each map (0: the maps are mirrored only).
    Without names, things are the classes that have two instances in one map; a data set without instance maps needs
    names, and its instances are their connected regions.

    Raises `InputError` for a data set that cannot be read, classes that it does not have, and where nothing is learned.
    """
    if out.resolve() == source.resolve():
        raise InputError(f"--out {out} is the input; give another folder")
    info = check_dataset(source)
    if unknown := [name for name in classes if name not in info.space.classes]:
        raise InputError(f"{source} has no class '{unknown[0]}'; there are {', '.join(info.space.classes)}")
    rows = count_rows(source)
    count = rows if count is None else count
    if not instances and count > rows:
        raise InputError(f"--instances 0 gives {rows} mirrored maps, one for each; --count {count} would repeat some")
    given = {info.space.classes.index(name) for name in classes}
    things: list[Thing] = []
    zero_is_none = bool(instances) and read_zero_is_none(ParquetDataset.open(source))
    if instances:
        records = ProgressBar(_records(source), desc="learn", total=rows, unit=" maps")
        things = learn(records, info.space, given or None, seed=seed, zero_is_none=zero_is_none)
        if not any(thing.shapes for thing in things):
            raise InputError(
                f"{source} has no instances to move; name classes of things that stand on others with --classes, or "
                "take --instances 0 to mirror maps only"
            )
    again = np.random.default_rng(seed).choice(rows, count % rows, replace=False)
    copies = np.full(rows, count // rows)
    copies[again] += 1
    notes = {
        "source": "remix",
        "seed": seed,
        "instances": instances,
        "classes": list(classes),
        "of": info.preprocessing,
    }
    make = partial(remix, things=things, space=info.space, instances=instances, zero_is_none=zero_is_none)
    return _write(source, out, DatasetInfo(info.space, notes), things, copies, seed=seed, make=make)


def _records(source: Path, wanted: np.ndarray | None = None) -> Iterator[Record]:
    """The label and instance maps of a data set, or of its rows that are not 0 in `wanted`.

    Raises `InputError` where some have an instance map and others have none.
    """
    first: bool | None = None
    for index, row in enumerate(iter_rows(source, columns=["id", "sample", "label", "instance"])):
        if wanted is not None and not wanted[index]:
            continue
        record = decode_record(row)
        has = record.instance is not None
        if has != (has if first is None else first):
            raise InputError(f"{source}: record '{record.id}' differs from the first one in having an instance map")
        first = has
        yield record


def _write(
    source: Path,
    out: Path,
    info: DatasetInfo,
    things: Sequence[Thing],
    copies: np.ndarray,
    *,
    seed: int,
    make: Callable[..., tuple[Scene, dict[str, Any]]],
) -> Remixed:
    space = info.space
    zeros = np.zeros(space.class_channels, np.int64)
    split = SplitSummary(out / FILE_NAME, 0, zeros.copy(), zeros.copy(), [])
    moved: Counter[str] = Counter()
    mirrored_only = 0
    records = _records(source, copies)
    first = next(records)
    absent = ("image",) if first.instance is not None else ("image", "instance")
    fields = [part for part in RECORD_FIELDS if part.name not in absent]
    bar = ProgressBar(desc="remix", total=int(copies.sum()), unit=" maps")
    with bar, RecordWriter(split.path, info, [*fields, pa.field("provenance", pa.string())]) as writer:
        for record, number in zip(itertools.chain([first], records), copies[copies > 0].tolist(), strict=True):
            for copy in range(number):
                rng = np.random.default_rng(record_seed(seed, record.id, copy))
                scene, provenance = make(record, rng=rng)
                try:
                    pixels = count_pixels(scene.label, space)
                except InputError as error:
                    raise InputError(f"{source}: record '{record.id}': {error}") from None
                row = {"id": f"{record.id}-remix-{seed}-{copy}", "label": scene.label}
                if scene.instance is not None:
                    row["instance"] = scene.instance
                writer.write({**row, "provenance": json.dumps(provenance)})
                split.records += 1
                split.pixels += pixels
                split.occurs += pixels > 0
                moved.update(entry["class"] for entry in provenance["instances"])
                mirrored_only += not provenance["instances"]
                bar.update()
    return Remixed(Summary(space, [split]), things, moved, mirrored_only)
