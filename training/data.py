"""Batches for training: which records a step sees is a function of the seed and the step alone.

A step takes the next `batch_size` records of an endless sequence, one random order of all records after another.
Each of W workers decodes its own slice of them. Hence the same batches for any number of workers, and resuming at a
step needs no other state than the step.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.config import Recipe
from pipeline.errors import InputError
from pipeline.labels import encode
from pipeline.noise import record_seed
from pipeline.records import check_dataset, decode_record, iter_rows, resize_record
from training.step import Batch

PREFETCHED = 3
"""Batches that are decoded ahead of the step."""
DECODERS = 2
"""Threads; Pillow's decoders release the interpreter lock."""
CACHE_BYTES = 1 << 30
"""Decoded records are kept up to this size, so that small data sets are decoded once."""


@dataclass(frozen=True)
class Example:
    """A record as the networks want it, still in small integers."""

    id: str
    codes: np.ndarray
    """int32 `[H, W]`."""
    picture: np.ndarray
    """uint8 `[H, W, 3]`."""


def check_fits(path: Path, recipe: Recipe) -> None:
    """Refuse a data set that is not one of label maps with photographs of the recipe's classes (`InputError`)."""
    info = check_dataset(path, ("id", "label", "image"))
    if info.space.classes != recipe.labels.classes:
        raise InputError(
            f"{path} has the classes {', '.join(info.space.classes)}, but the recipe's are "
            f"{', '.join(recipe.labels.classes)}; they must be the same in the same order"
        )


def check_shares(recipe: Recipe, workers: int) -> None:
    """Refuse a batch that does not come apart into equal parts for the workers (`InputError`)."""
    size, parts = recipe.training.batch_size, recipe.training.accumulate
    if size % (workers * parts):
        accumulating = f" in {parts} parts each (training.accumulate)" if parts > 1 else ""
        raise InputError(
            f"training.batch_size is {size}, which {workers} workers cannot share evenly{accumulating}; "
            f"make it a multiple of {workers * parts}"
        )


class Examples:
    """The records of a data set at the recipe's size, by position; safe to use from several threads."""

    def __init__(self, path: Path, recipe: Recipe, *, limit: int | None = None) -> None:
        """Reads the encoded records; raises `InputError` where they do not fit the recipe, before any is decoded."""
        check_fits(path, recipe)
        self.recipe = recipe
        self.rows = []
        for row in iter_rows(path, ("id", "label", "instance", "image")):
            self.rows.append(row)
            if len(self.rows) == limit:
                break
        self._cache: dict[int, Example] = {}
        self._room = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        """Decode, resize and encode a record; `InputError` names one that is broken."""
        if index in self._cache:
            return self._cache[index]
        data = self.recipe.data
        record = resize_record(decode_record(self.rows[index], need_image=True), data.height, data.width)
        assert record.image is not None
        try:
            codes = encode(record.label, record.instance, self.recipe.labels)
        except InputError as error:
            raise InputError(f"record '{record.id}': {error}") from None
        example = Example(record.id, codes, record.image)
        size = codes.nbytes + example.picture.nbytes
        if size <= self._room:
            self._room -= size
            self._cache[index] = example
        return example


def collate(examples: list[Example], noise: torch.Tensor | None = None) -> Batch:
    """Examples to a batch; `noise` `[2, N, style_dim]`."""
    codes = torch.from_numpy(np.stack([example.codes for example in examples]))
    pictures = torch.from_numpy(np.stack([example.picture for example in examples]))
    pictures = pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)  # channels_last in memory
    return Batch(codes, pictures, torch.zeros(2, len(examples), 0) if noise is None else noise)


class TrainingData:
    """The batches of one worker out of `workers`."""

    def __init__(self, examples: Examples, *, rank: int = 0, workers: int = 1) -> None:
        self.examples = examples
        self.recipe = examples.recipe
        self.rank = rank
        check_shares(self.recipe, workers)
        self.share = self.recipe.training.batch_size // workers

    def records(self, step: int) -> list[tuple[int, int]]:
        """The (epoch, index) of each record that this worker sees at a step, counted from 0."""
        first = step * self.recipe.training.batch_size + self.rank * self.share
        places = [divmod(place, len(self.examples)) for place in range(first, first + self.share)]
        return [(epoch, int(self._order(epoch)[place])) for epoch, place in places]

    @functools.lru_cache(maxsize=2)  # noqa: B019 - lives as long as the run
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.recipe.training.seed, epoch]).permutation(len(self.examples))

    def example(self, epoch: int, index: int) -> tuple[Example, torch.Tensor]:
        """A record as augmented in an epoch, and its noise `[2, style_dim]`."""
        example = self.examples[index]
        # The record's own stream: not disturbed by its neighbours, the worker or the number of threads.
        generator = torch.Generator().manual_seed(record_seed(self.recipe.training.seed, example.id, epoch))
        flip = bool(torch.randint(2, (), generator=generator)) and self.recipe.data.flip
        noise = torch.randn(2, self.recipe.generator.style_dim, generator=generator)
        if flip:
            example = Example(example.id, example.codes[:, ::-1].copy(), example.picture[:, ::-1].copy())
        return example, noise

    def batches(self, first_step: int = 0, *, pin: bool = False) -> Generator[Batch]:
        """This worker's batches from a step on, without end, decoded ahead in threads."""
        step = first_step
        queue: deque[list[Future[tuple[Example, torch.Tensor]]]] = deque()
        pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        try:
            while True:
                while len(queue) <= PREFETCHED:
                    queue.append([pool.submit(self.example, *record) for record in self.records(step)])
                    step += 1
                examples, noise = zip(*(future.result() for future in queue.popleft()), strict=True)
                batch = collate(list(examples), torch.stack(noise, dim=1))
                yield (
                    Batch(batch.codes.pin_memory(), batch.pictures.pin_memory(), batch.noise.pin_memory())
                    if pin
                    else batch
                )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
