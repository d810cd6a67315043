"""Sets of pictures in Parquet: synthesized ones and photographs, read shard by shard."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import decode_image, decode_label, picture_bytes
from pipeline.data.schema import DatasetInfo
from pipeline.data.shards import Plan, Shard, iter_shard, plan_shards
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

Key = tuple[str, int]
"""A picture's id and sample."""
KEY_COLUMNS = ("id", "sample")
PICTURE_COLUMNS = (*KEY_COLUMNS, "image", "label")
"""The columns that are read; `sample` may be absent."""


@dataclass(frozen=True)
class Picture:
    """A picture and the label map that it should show."""

    id: str
    sample: int
    image: np.ndarray
    """uint8 `[H, W, 3]`."""
    label: np.ndarray
    """Stored ids `[h, w]`, of any size."""
    original: np.ndarray | None = None
    """uint8: the picture before it was resized, where it was."""


@dataclass(frozen=True)
class Selection:
    """Which pictures of a set to score, and at which size."""

    ids: frozenset[str] | None = None
    """None: all of them."""
    size: tuple[int, int] | None = None
    """Height and width to which pictures are resized first; None: as they are."""
    sizes: Mapping[str, tuple[int, int]] | None = None
    """The same by id, for sets of several sizes."""
    mirrored: bool = False
    """Left and right exchanged."""

    def size_of(self, name: str) -> tuple[int, int] | None:
        """Height and width to which a picture is resized."""
        return self.sizes[name] if self.sizes is not None else self.size


@dataclass(frozen=True)
class PictureSet:
    """Parquet files with columns id, image, label and perhaps sample; each is opened once, for all that is read."""

    location: str
    """Of a file, a folder or a pattern, local or at a URI."""
    plan: Plan
    info: DatasetInfo

    @classmethod
    def open(cls, location: str | Path, *, what: str) -> PictureSet:
        """Look at columns, metadata and ids; `InputError` names `what` where there is nothing."""
        try:
            dataset = ParquetDataset.open(location)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None
        dataset.check_columns(("id", "label", "image"))
        found = cls(dataset.location, plan_shards(dataset), dataset.require_info())
        repeated = next((key for key, count in Counter(found.keys).items() if count > 1), None)
        if repeated is not None:
            raise InputError(f"{location} has two pictures of id '{repeated[0]}' (sample {repeated[1]}); remove one")
        return found

    def __str__(self) -> str:
        return self.location

    @property
    def space(self) -> LabelSpace:
        """Of its label maps."""
        return self.info.space

    @cached_property
    def keys(self) -> list[Key]:
        """Id and sample of every picture, in order."""
        return [_key(row) for shard in self.plan.shards for _, row in iter_shard(shard, KEY_COLUMNS, batch_rows=4096)]

    @cached_property
    def ids(self) -> frozenset[str]:
        """Of its label maps."""
        return frozenset(name for name, _ in self.keys)

    @cached_property
    def shards(self) -> list[Shard]:
        """The plan's shards, with their ends moved so that neighbours of one id, samples of a label map, stay whole."""
        shards: list[Shard] = []
        first = 0  # of the file, among all keys
        for file, parts in groupby(self.plan.shards, key=lambda shard: shard.file):
            start = 0
            for part in parts:
                stop = max(part.stop, start)
                while 0 < stop < file.rows and self.keys[first + stop][0] == self.keys[first + stop - 1][0]:
                    stop += 1
                if stop > start:
                    shards.append(replace(part, index=len(shards), start=start, stop=stop))
                start = stop
            first += file.rows
        return shards

    def pictures(self, keys: Iterable[Key], selection: Selection) -> list[Picture]:
        """The pictures of some keys, in the order of the keys; they must exist. `InputError` names a broken one."""
        wanted = list(keys)
        found = {(picture.id, picture.sample): picture for picture in self.stream(wanted, selection)}
        return [found[key] for key in wanted]

    def stream(self, keys: Iterable[Key], selection: Selection) -> Iterator[Picture]:
        """The pictures of some keys as the files have them, one at a time; `InputError` names a broken one."""
        wanted = set(keys)
        for shard in self.plan.shards:
            if any(_key(row) in wanted for _, row in iter_shard(shard, KEY_COLUMNS)):
                for _, row in iter_shard(shard, PICTURE_COLUMNS):
                    if _key(row) in wanted:
                        yield decode_picture(row, selection)


def read_shard(shard: Shard, selection: Selection) -> Iterator[Picture]:
    """The selected pictures of a shard, decoded, one at a time; `InputError` names a missing or broken one."""
    for _, row in iter_shard(shard, PICTURE_COLUMNS):
        if selection.ids is None or row["id"] in selection.ids:
            yield decode_picture(row, selection)


def digest_shard(shard: Shard, selection: Selection) -> str:
    """A hash of all that the results of a shard's selected pictures depend on: ids, pictures, label maps, sizes."""
    digest = hashlib.sha256()
    for _, row in iter_shard(shard, PICTURE_COLUMNS):
        if selection.ids is None or row["id"] in selection.ids:
            for part in (
                repr(_key(row)).encode(),
                picture_bytes(row["image"]) or b"",
                picture_bytes(row["label"]) or b"",
            ):
                digest.update(len(part).to_bytes(8, "big") + part)
            digest.update(repr(selection.size_of(row["id"])).encode() + b"mirrored" * selection.mirrored)
    return digest.hexdigest()


def decode_picture(row: Mapping, selection: Selection) -> Picture:
    """A row with id, image, label and perhaps sample; `InputError` names a picture that is missing or broken."""
    from pipeline.data.images import resize_image

    arrays = {}
    for column, decode in (("image", decode_image), ("label", decode_label)):
        try:
            data = picture_bytes(row[column])
            if data is None:
                raise InputError("is empty; evaluation needs one for every picture")
            arrays[column] = decode(data)
        except InputError as error:
            raise InputError(f"picture '{row['id']}': {column} {error}") from None
    size = selection.size_of(row["id"])
    if selection.mirrored:
        arrays = {column: np.ascontiguousarray(array[:, ::-1]) for column, array in arrays.items()}
    original = arrays["image"]
    image = original if size is None else resize_image(original, *size)
    return Picture(*_key(row), image, arrays["label"], None if image is original else original)


def _key(row: Mapping) -> Key:
    return row["id"], int(row.get("sample") or 0)
