"""The pictures of finished, filtered or joined sets, one after the other, as exports take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.data.images import decode_instance, decode_label
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import picture_bytes, record_key
from pipeline.data.storage import Folder, base_name
from pipeline.datasets.instance_ids import read_zero_is_none
from pipeline.datasets.instances import Instance, find_instances
from pipeline.errors import InputError
from pipeline.exports.names import OriginalNames, find_clash
from pipeline.labels import LabelSpace

_EXTENSIONS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"RIFF", ".webp"))
_ABOUT = ("id", "sample", "seed", "checkpoint")


@dataclass(frozen=True)
class _Numbering:
    """How a set numbers instances; read where objects are asked for."""

    dataset: ParquetDataset
    label_column: str

    @cached_property
    def zero_is_none(self) -> bool:
        return read_zero_is_none(self.dataset, self.label_column)


@dataclass(frozen=True)
class Picture:
    """A picture with what is known about it."""

    name: str
    """Its file name, without extension and perhaps with folders."""
    row: dict[str, Any]
    """As stored."""
    label_column: str
    space: LabelSpace
    numbering: _Numbering

    @property
    def image(self) -> bytes:
        """The encoded picture."""
        return _bytes(self.row, "image")

    @property
    def extension(self) -> str:
        """That of the picture's format."""
        return next((extension for start, extension in _EXTENSIONS if self.image.startswith(start)), ".img")

    @property
    def label_png(self) -> bytes:
        """The label map as it is stored."""
        return _bytes(self.row, self.label_column)

    @property
    def about(self) -> dict[str, Any]:
        """Id and sample, seed and checkpoint, as far as they are known."""
        return {name: self.row[name] for name in _ABOUT if self.row.get(name) is not None}

    @cached_property
    def label(self) -> np.ndarray:
        """Ids as stored `[H, W]`."""
        return decode_label(self.label_png)

    @cached_property
    def instance(self) -> np.ndarray | None:
        """Ids of instances `[H, W]`; None where the set has no instance maps."""
        data = picture_bytes(self.row.get("instance"))
        return None if data is None else decode_instance(data)

    @cached_property
    def objects(self) -> list[Instance]:
        """Those of the instance map; without one, the connected regions of each class."""
        zero_is_none = self.instance is not None and self.numbering.zero_is_none
        classes = range(len(self.space.classes))
        found = find_instances(self.label, self.instance, classes, zero_is_none=zero_is_none)
        return [part for part in found if part.mask.any()]


@dataclass(frozen=True)
class PictureSet:
    """Sets of pictures of the same classes, joined."""

    datasets: Sequence[tuple[str, ParquetDataset]]
    """Each with what its ids are put behind: nothing, if it is the only one."""
    label_column: str
    space: LabelSpace

    @classmethod
    def open(cls, locations: Sequence[str], *, label_column: str = "label", unfinished: bool = False) -> PictureSet:
        """The pictures of these folders, files, patterns or URIs.

        Of several, the name of each folder stands before its ids. Raises `InputError` where one is an unfinished job
        (unless it may be), has no pictures, or has other classes than the first.
        """
        found: list[tuple[str, ParquetDataset]] = []
        for location in locations:
            folder = Folder(location) if "*" not in location and not location.endswith(".parquet") else None
            begun = folder is not None and folder.size("_job/job.json") is not None
            if folder and begun and not unfinished and folder.size("_SUCCESS") is None:
                raise InputError(f"{location} is not finished; run the same synthesize command again")
            dataset = ParquetDataset.open(location)
            dataset.check_columns(("id", "image", label_column), pictures=("image", label_column))
            found.append((f"{base_name(location)}/" if len(locations) > 1 else "", dataset))
        names = [prefix for prefix, _ in found]
        if len(set(names)) < len(names):
            raise InputError(f"two sets are called {names[0].rstrip('/')}; rename one, as names stand before ids")
        space = found[0][1].require_info().space
        for _, dataset in found[1:]:
            if dataset.require_info().space.classes != space.classes:
                raise InputError(f"{dataset.location} has other classes than {found[0][1].location}")
        spaces = [dataset.require_info().space for _, dataset in found]
        return cls(found, label_column, max(spaces, key=lambda space: space.dont_care or 0))

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(dataset.rows for _, dataset in self.datasets)

    def check_names(self) -> None:
        """Refuse (`InputError`) pictures of which one's file would have the name of a folder of the other."""
        keys = self._keys()
        names = _names(keys)
        ids = {names.of(*key): key[0] for key in keys}
        if clash := find_clash(ids):
            file, inside = (ids[name] for name in clash)
            raise InputError(
                f"the file of '{file}' may have the name of a folder of '{inside}'; rename one of these ids, or export "
                "as webdataset"
            )

    def _keys(self) -> list[tuple[str, int]]:
        """The id and sample of each picture."""
        return [
            (prefix + row["id"], row["sample"] or 0)
            for prefix, dataset in self.datasets
            for row in dataset.iter_rows(["id", "sample"], batch_rows=4096)
        ]

    def __iter__(self) -> Iterator[Picture]:
        """The pictures in their order; `InputError` where two have one id and sample."""
        keys = self._keys()
        if len(set(keys)) < len(keys):
            raise InputError("two pictures have one id and sample; export their sets apart")
        names = _names(keys)
        columns = [*_ABOUT, "image", "instance", self.label_column]
        for prefix, dataset in self.datasets:
            numbering = _Numbering(dataset, self.label_column)
            for row in dataset.iter_rows(columns, batch_rows=32):
                row["id"] = prefix + row["id"]
                name = names.of(row["id"], row["sample"] or 0)
                yield Picture(name, row, self.label_column, self.space, numbering)


def _names(keys: Sequence[tuple[str, int]]) -> OriginalNames:
    return OriginalNames((record for record, _ in keys), several=any(sample for _, sample in keys))


def _bytes(row: dict[str, Any], column: str) -> bytes:
    data = picture_bytes(row[column])
    if data is None:
        raise InputError(f"record '{record_key(row)}' has no {column}; leave it out of the export")
    return data
