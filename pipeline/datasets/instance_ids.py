"""Which instance ids of a data set mean "no instance": 0, or those that equal the id of the pixel's class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from pipeline.data.images import decode_instance, decode_label
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import picture_bytes

MAPS = 64
"""Maps that are looked at where the metadata does not say it."""

_BY_SOURCE = {"landscape": True, "coco-stuff": False, "cityscapes": False, "coco": False}
"""Whether 0 is no instance, by what `prepare` writes into the metadata. COCO-Stuff's objects are counted from 0 on."""


def read_zero_is_none(dataset: ParquetDataset, label_column: str = "label") -> bool:
    """Whether 0 is no instance in a data set, by its metadata, else by its first maps: see `zero_is_none`.

    Raises `InputError` where the metadata is missing or a map is broken.
    """
    known = zero_by_metadata(dataset.require_info().preprocessing)
    return zero_is_none(_maps(dataset, label_column)) if known is None else known


def zero_by_metadata(preprocessing: Any) -> bool | None:
    """Whether 0 is no instance by the notes of `prepare`, also within those of `synthesize` or `prepare remix`.

    None where they do not say it.

    >>> zero_by_metadata({"source": "landscape"}), zero_by_metadata({"source": "remix", "of": {"source": "coco"}})
    (True, False)
    """
    if isinstance(preprocessing, Mapping):
        made = preprocessing.get("instances")
        if isinstance(made, Mapping) and "connected regions of" in made:
            return False  # `number_regions` gives all other pixels the id of their class.
        if isinstance(made, Mapping) and "no object" in made:
            return bool(made["no object"] == "0")
        if preprocessing.get("source") in _BY_SOURCE:
            return _BY_SOURCE[preprocessing["source"]]
        parts: Sequence[Any] = list(preprocessing.values())
    else:
        parts = preprocessing if isinstance(preprocessing, list) else []
    return next((known for part in parts if (known := zero_by_metadata(part)) is not None), None)


def zero_is_none(maps: Iterable[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether 0 is no instance in label and instance maps `[H, W]`: else pixels of none have the id of their class.

    It is where more pixels of other classes than 0 have the instance id 0 than that of their class; pixels of class 0
    do not tell the two apart. Where no pixel tells, ids of classes are none.

    >>> label = np.array([[1, 1, 1, 2]])
    >>> zero_is_none([(label, np.array([[0, 0, 0, 2]]))]), zero_is_none([(label, np.array([[1, 1, 1, 0]]))])
    (True, False)
    """
    zeros = own = 0
    for label, instance in maps:
        telling = label != 0
        zeros += int(np.count_nonzero(telling & (instance == 0)))
        own += int(np.count_nonzero(telling & (instance == label)))
    return zeros > own


def _maps(dataset: ParquetDataset, label_column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for row in islice(dataset.iter_rows([label_column, "instance"], batch_rows=16), MAPS):
        label, instance = picture_bytes(row[label_column]), picture_bytes(row.get("instance"))
        if label is not None and instance is not None:
            yield decode_label(label), decode_instance(instance)
