"""Photographs and their label maps at one size, ready for random access while a segmenter trains."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Recipe, Source
from pipeline.data.records import decode_record, resize_record
from pipeline.data.sources import OpenSource, as_sources, mix, open_sources
from pipeline.labels import class_channels
from pipeline.runtime.progress import ProgressBar

VOID = -1
"""The label of pixels that teach nothing: don't-care, and what augmentation brings in from outside the picture."""

MEMORY_LIMIT = 4 * 2**30
"""Bytes of decoded pictures that are kept in memory; more of them go to a temporary file that is mapped."""


@dataclass(frozen=True)
class Photographs:
    """The records of one or more sources, decoded once, one source after the other."""

    images: np.ndarray
    """uint8 `[N, H, W, 3]`."""
    labels: np.ndarray
    """int16 `[N, H, W]`: classes, or `VOID`."""
    sources: tuple[OpenSource, ...]

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, size: int, *, seed: int, start: int = 0, first_alone_from: int | None = None
    ) -> Iterator[np.ndarray]:
        """Indices, int64 `[size]`, batch after batch without end, from batch number `start` on.

        Each source comes in an order of its own every epoch. From batch number `first_alone_from` on nothing but the
        first source does, which goes on where it was.

        Batch b is a function of the seed and b, however one got there.
        """
        mixture = mix(self.sources, seed=seed)
        firsts = np.cumsum([0, *(source.rows for source in self.sources)])

        @lru_cache(maxsize=3 * len(self.sources))
        def order(source: int, epoch: int) -> np.ndarray:
            found = self.sources[source]
            return firsts[source] + np.random.default_rng((found.seed(seed), epoch)).permutation(found.rows)

        border = None if first_alone_from is None else first_alone_from * size
        of_first = 0 if border is None else mixture.before(border)[0]
        for batch in count(start):
            indices = []
            for draw in range(batch * size, (batch + 1) * size):
                if border is None or draw < border:
                    source, place = mixture.find(draw)
                else:
                    source, place = 0, of_first + draw - border
                epoch, offset = divmod(place, self.sources[source].rows)
                indices.append(order(source, epoch)[offset])
            yield np.array(indices)

    def class_pixels(self, classes: int) -> np.ndarray:
        """float64 `[classes]`: the pixels of each class in what an epoch draws."""
        draws = mix(self.sources, seed=0).draws
        pixels, first = np.zeros(classes), 0
        for source, times in zip(self.sources, draws, strict=True):
            labels = self.labels[first : first + source.rows]
            pixels += np.bincount(labels[labels >= 0], minlength=classes) * (times / source.rows)
            first += source.rows
        return pixels


def load_photographs(data: str | Path | Sequence[Source], recipe: Recipe, *, scratch: Path, what: str) -> Photographs:
    """Decode every record of a location, or of sources, at the recipe's size; `what` names it in the progress bar.

    `scratch` is an existing folder for a temporary file, should the pictures exceed `MEMORY_LIMIT`. Raises
    `InputError` for records without photographs and for what `open_sources` refuses. Don't-care pixels teach nothing,
    whatever their id in the files: the recipe need not have one (`filter --regions` adds one).
    """
    sources = open_sources(as_sources(data), recipe.labels, seed=recipe.segmenter.seed)
    theirs = (source.dataset.require_info().space.dont_care for source in sources)
    dont_care = next((number for number in theirs if number is not None), recipe.labels.dont_care)
    space = recipe.labels.model_copy(update={"dont_care": dont_care})
    total, height, width = sum(source.rows for source in sources), recipe.data.height, recipe.data.width
    images = _allocate((total, height, width, 3), np.uint8, scratch)
    labels = _allocate((total, height, width), np.int16, scratch)

    def decode(item: tuple[int, dict[str, Any]]) -> None:
        index, row = item
        record = resize_record(decode_record(row, need_image=True), height, width)
        known = class_channels(record.label, space)
        images[index] = record.image
        labels[index] = np.where(known < len(recipe.labels.classes), known, VOID)

    rows = enumerate(chain.from_iterable(source.iter_rows() for source in sources))
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        ProgressBar(total=total, desc=what, unit="image", leave=False) as bar,
    ):
        while chunk := list(islice(rows, 64)):
            for _ in pool.map(decode, chunk):
                bar.update()
    return Photographs(images, labels, sources)


def _allocate(shape: tuple[int, ...], dtype: Any, scratch: Path) -> np.ndarray:
    if np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize <= MEMORY_LIMIT:
        return np.empty(shape, dtype)
    # The file has no name any more once it is open, so nothing is left behind however the program ends.
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
