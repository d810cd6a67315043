"""Photographs and their label maps at one size, ready for random access while a segmenter trains."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.config import Recipe
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import check_dataset, decode_record, resize_record
from pipeline.errors import InputError
from pipeline.labels import class_channels

VOID = -1
"""The label of pixels that teach nothing: don't-care, and what augmentation brings in from outside the picture."""

MEMORY_LIMIT = 4 * 2**30
"""Bytes of decoded pictures that are kept in memory; more of them go to a temporary file that is mapped."""


@dataclass(frozen=True)
class Photographs:
    """A data set, decoded once."""

    images: np.ndarray
    """uint8 `[N, H, W, 3]`."""
    labels: np.ndarray
    """int16 `[N, H, W]`: classes, or `VOID`."""

    def __len__(self) -> int:
        return len(self.images)


def load_photographs(location: str | Path, recipe: Recipe, *, scratch: Path, what: str) -> Photographs:
    """Decode every record of a Parquet data set at the recipe's size; `what` names it in the progress bar.

    `scratch` is an existing folder for a temporary file, should the pictures exceed `MEMORY_LIMIT`. Raises
    `InputError` for records without photographs and for classes other than the recipe's. Don't-care pixels teach
    nothing, whatever their id in the file: the recipe need not have one (`filter --regions` adds one).
    """
    dataset = ParquetDataset.open(location)
    space = check_dataset(dataset, ("id", "label", "image")).space
    if space.classes != recipe.labels.classes:
        raise InputError(
            f"{location} has the classes {_listed(space.classes)}, the recipe {_listed(recipe.labels.classes)}; "
            "use the recipe that the data set was prepared for"
        )
    count, height, width = dataset.rows, recipe.data.height, recipe.data.width
    images = _allocate((count, height, width, 3), np.uint8, scratch)
    labels = _allocate((count, height, width), np.int16, scratch)

    def decode(item: tuple[int, dict[str, Any]]) -> None:
        index, row = item
        record = resize_record(decode_record(row, need_image=True), height, width)
        known = class_channels(record.label, space)
        images[index] = record.image
        labels[index] = np.where(known < len(space.classes), known, VOID)

    rows = enumerate(dataset.iter_rows(["id", "sample", "label", "image"]))
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=count, desc=what, unit="image", leave=False) as bar:
        while chunk := list(islice(rows, 64)):
            for _ in pool.map(decode, chunk):
                bar.update()
    return Photographs(images, labels)


def shuffled_batches(count: int, size: int, *, seed: int, start: int = 0) -> Iterator[np.ndarray]:
    """Index batches without end, each epoch in its own order; batch number `start` on, the same however one got there.

    >>> first = [batch.tolist() for batch, _ in zip(shuffled_batches(5, 2, seed=0), range(5))]
    >>> sorted(sum(first[:2] + [first[2][:1]], []))
    [0, 1, 2, 3, 4]
    >>> next(shuffled_batches(5, 2, seed=0, start=3)).tolist() == first[3]
    True
    """
    step = start
    orders: dict[int, np.ndarray] = {}
    while True:
        positions = np.arange(step * size, (step + 1) * size)
        epochs = sorted(set((positions // count).tolist()))
        for epoch in epochs:
            if epoch not in orders:
                orders[epoch] = np.random.default_rng((seed, epoch)).permutation(count)
        orders = {epoch: orders[epoch] for epoch in epochs}
        yield np.array([orders[position // count][position % count] for position in positions.tolist()])
        step += 1


def _allocate(shape: tuple[int, ...], dtype: Any, scratch: Path) -> np.ndarray:
    if np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize <= MEMORY_LIMIT:
        return np.empty(shape, dtype)
    # The file has no name any more once it is open, so nothing is left behind however the program ends.
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f" ... ({len(names)} in all)" if len(names) > 6 else "")
