"""What must not be: test photographs, or pictures made of their label maps, among the training data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from evaluation.scoring.label_maps import list_names, mark, read_label_maps
from evaluation.scoring.picture_sets import PictureSet
from pipeline.data.records import picture_bytes
from pipeline.data.shards import iter_shard
from pipeline.errors import InputError

PLAIN = 2
"""Label maps of so many classes or fewer may be equal by chance: all sky, or a horizon."""


@dataclass(frozen=True)
class _Contents:
    """Of a set: ids, checksums of the stored photographs, and of label maps that are not plain; by id each."""

    ids: frozenset[str]
    pictures: dict[str, str] = field(default_factory=dict)
    maps: dict[str, str] = field(default_factory=dict)


def refuse_overlap(test: PictureSet, training: Mapping[str, PictureSet]) -> None:
    """Raise `InputError` where a training set has an id, a photograph or a label map of the test set.

    Synthetic pictures carry the id of the label map that they were made of: one made of a test map shows a segmenter
    the answer. Photographs are compared as they are stored, label maps by their ids.
    """
    tested = _read(test)
    for name, pictures in training.items():
        found = _read(pictures)
        for what, shared in (
            ("ids", sorted(found.ids & tested.ids)),
            ("photographs", sorted(found.pictures[key] for key in found.pictures.keys() & tested.pictures.keys())),
            ("label maps", sorted(found.maps[key] for key in found.maps.keys() & tested.maps.keys())),
        ):
            if shared:
                raise InputError(
                    f"{len(shared)} {what} of {name} ({pictures}) are in the test set {test} too "
                    f"({list_names(shared)}); a test set shares none with training, or with the maps that pictures "
                    "were made of"
                )


def _read(pictures: PictureSet) -> _Contents:
    images = {}
    for shard in pictures.plan.shards:
        for _, row in iter_shard(shard, ["id", "image"]):
            data = picture_bytes(row["image"]) or b""
            images[hashlib.blake2b(data, digest_size=16).hexdigest()] = row["id"]
    maps = {
        mark(label): name
        for name, _, _, label in read_label_maps(pictures, pictures.ids)
        if len(np.unique(label)) > PLAIN
    }
    return _Contents(pictures.ids, images, maps)
