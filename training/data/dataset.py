"""Batches for training: which records a step sees, and how, is a function of the seed and the step alone.

A step takes the next `batch_size` records of an endless sequence (`training.data.sampler`). Each of W workers reads and
decodes its own slice of them, ahead of the step. Hence the same batches for any number of workers, and resuming at a
step needs no other state than the step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, chain, count, islice
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from pipeline.config import Recipe, SIMSSettings, Source
from pipeline.data.records import decode_record, resize_record
from pipeline.data.schema import Record
from pipeline.data.sources import as_sources, open_sources
from pipeline.errors import InputError
from pipeline.runtime.seeding import record_seed
from pipeline.segments.bank import MemoryBank
from training.data.batch import Batch
from training.data.canvases import TrainingCanvases
from training.data.preprocess import crop_and_flip, resize
from training.data.sampler import MixedSampler, find_groups

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
    canvas: np.ndarray | None = None
    """uint8 `[H, W, 4]`, for SIMS: what was left of the photograph, and 255 where something was."""
    segment: np.ndarray | None = None
    """uint8 `[H, W, 4]`, for SIMS that moves pieces: another picture's, and 255 where it belongs."""
    pair: tuple[np.ndarray, int] | None = None
    """For SIMS that orders pieces: two segments, int32 `[H, W]`, and the class of the one in front."""


def check_shares(recipe: Recipe, workers: int) -> None:
    """Refuse a batch that does not come apart into equal parts for the workers (`InputError`)."""
    size, parts = recipe.training.batch_size, recipe.training.accumulate
    if size % (workers * parts):
        accumulating = f" in {parts} parts each (training.accumulate)" if parts > 1 else ""
        raise InputError(
            f"training.batch_size is {size}, which {workers} workers cannot share evenly{accumulating}; "
            f"make it a multiple of {workers * parts}"
        )


class RecordDataset:
    """The records of data sets by number, read a row group at a time; safe to use from several threads."""

    def __init__(self, data: str | Path | Sequence[Source], recipe: Recipe) -> None:
        """Looks at the footers and ids of a location or of sources; `InputError` where they do not fit the recipe."""
        self.recipe = recipe
        self.sources = open_sources(as_sources(data), recipe.labels, seed=recipe.training.seed)
        firsts = accumulate((source.rows for source in self.sources), initial=0)
        self.by_source = [find_groups(source, first) for source, first in zip(self.sources, firsts, strict=False)]
        self.groups = list(chain.from_iterable(self.by_source))
        self._firsts = [group.first for group in self.groups]
        self._tables: dict[int, Future[pa.Table]] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._lock = Lock()

    def __len__(self) -> int:
        return sum(group.rows for group in self.groups)

    def __getitem__(self, index: int) -> Example:
        """A record at the recipe's size, all of it, as validation wants it; `InputError` names one that is broken."""
        data = self.recipe.data
        return self.encode(resize_record(self.record(index), data.height, data.width, resample=data.resample))

    def record(self, index: int, *, need_disparity: bool = False) -> Record:
        """A record as it is stored, decoded; waits until its row group has been read. `InputError` if it is broken, or
        has no disparity where that is needed."""
        number = bisect_right(self._firsts, index) - 1
        table = self._request(number).result()
        row: dict[str, Any] = table.slice(index - self._firsts[number], 1).to_pylist()[0]
        return decode_record(self.groups[number].source.row(row), need_image=True, need_disparity=need_disparity)

    def encode(self, record: Record) -> Example:
        """The codes of a record's label map, with its photograph; `InputError` names a record with unknown ids."""
        assert record.image is not None
        try:
            codes = self.recipe.encode(record.label, record.instance)
        except InputError as error:
            raise InputError(f"record '{record.id}': {error}") from None
        return Example(record.id, codes, record.image)

    def hold(self, groups: Collection[int], *, read: Collection[int] = ()) -> None:
        """Let go of all row groups but these, and begin to read some of them in a thread."""
        with self._lock:
            self._tables = {number: table for number, table in self._tables.items() if number in groups}
        for number in read:
            self._request(number)

    def _request(self, number: int) -> Future[pa.Table]:
        with self._lock:
            if number not in self._tables:
                self._tables[number] = self._reader.submit(self.groups[number].read)
            return self._tables[number]


def collate(examples: list[Example], noise: torch.Tensor | None = None, seeds: torch.Tensor | None = None) -> Batch:
    """Examples to a batch; `noise` `[2, N, style_dim]`, `seeds` `[N]`."""
    arrays = {name: torch.from_numpy(array) for name, array in stack(examples).items()}
    noise = torch.zeros(2, len(examples), 0) if noise is None else noise
    seeds = torch.arange(len(examples)) if seeds is None else seeds
    return to_batch(noise=noise, seeds=seeds, **arrays)


def stack(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """`codes` int32 `[N, H, W]`, `pictures` uint8 `[N, H, W, 3]` and, where there are, `canvases` and `segments`, uint8
    `[N, H, W, 4]`, `pairs` int32 `[N, H, W]` and `fronts` int64 `[N]`."""
    arrays = {
        "codes": np.stack([example.codes for example in examples]),
        "pictures": np.stack([example.picture for example in examples]),
    }
    canvases = [example.canvas for example in examples if example.canvas is not None]
    segments = [example.segment for example in examples if example.segment is not None]
    pairs = [example.pair for example in examples if example.pair is not None]
    more = {"canvases": canvases, "segments": segments, "pairs": [pair for pair, _ in pairs]}
    arrays |= {name: np.stack(found) for name, found in more.items() if found}
    return arrays | ({"fronts": np.array([front for _, front in pairs])} if pairs else {})


def to_batch(
    codes: torch.Tensor,
    pictures: torch.Tensor,
    noise: torch.Tensor,
    seeds: torch.Tensor,
    canvases: torch.Tensor | None = None,
    segments: torch.Tensor | None = None,
    pairs: torch.Tensor | None = None,
    fronts: torch.Tensor | None = None,
) -> Batch:
    """A batch from photographs, canvases and segments that are still uint8 `[N, H, W, 3]` and `[N, H, W, 4]`; the rest
    as `Batch` has it."""
    pictures = pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)  # channels_last in memory
    canvases, segments = (
        None if pixels is None else pixels.permute(0, 3, 1, 2).float().div_(255) for pixels in (canvases, segments)
    )
    return Batch(codes, pictures, noise, seeds, canvases, segments, pairs, fronts)


class BatchLoader:
    """The batches of one worker out of `workers`."""

    def __init__(
        self,
        examples: RecordDataset,
        *,
        rank: int = 0,
        workers: int = 1,
        cache_bytes: int = CACHE_BYTES,
        bank: str | None = None,
    ) -> None:
        """`bank`: where SIMS's memory bank is, whose masks cut the canvases; None: there are none. Raises `InputError`
        where it cannot be read, and for a batch that workers cannot share."""
        self.examples = examples
        self.recipe = examples.recipe
        check_shares(self.recipe, workers)
        self.rank = rank
        self.workers = workers
        self.share = self.recipe.training.batch_size // workers
        self.bank = bank
        self.canvases = None if bank is None else _open_canvases(bank, self.recipe)
        window = self.recipe.data.window_mib << 20
        self.sampler = MixedSampler.of(
            examples.sources, examples.by_source, seed=self.recipe.training.seed, window_bytes=window
        )
        self._cache: dict[int, Record] = {}
        self._room = cache_bytes // workers

    def records(self, step: int) -> list[tuple[int, int]]:
        """The (epoch, number) of each record that this worker sees at a step, counted from 0; epochs of its source."""
        first = step * self.recipe.training.batch_size + self.rank * self.share
        return [self.sampler.record(place) for place in range(first, first + self.share)]

    def ends_epoch(self, step: int, every: int) -> bool:
        """Whether the latest of `step` steps has come to the end of an epoch whose number `every` divides.

        An epoch of several sources is as many draws as they have records.
        """
        size = every * len(self.examples)
        batch = self.recipe.training.batch_size
        return step * batch // size > (step - 1) * batch // size

    def example(self, epoch: int, index: int) -> tuple[Example, torch.Tensor, int]:
        """A record as augmented in an epoch, its noise `[2, style_dim]`, and the seed of what else is drawn for it."""
        record = self._resized(index)
        # The record's own stream: not disturbed by its neighbours, the worker or the number of threads.
        seed = record_seed(self.recipe.training.seed, record.id, epoch)
        random = torch.Generator().manual_seed(seed)
        flip = bool(torch.randint(2, (), generator=random)) and self.recipe.data.flip
        noise = torch.randn(2, self.recipe.generator.style_dim, generator=random)
        seen = crop_and_flip(record, self.recipe.data, flip=flip, random=random)
        example = self.examples.encode(seen)
        if self.canvases is not None:
            example = replace(
                example,
                canvas=self.canvases.draw(seen, seed),
                segment=self.canvases.draw_segment(seen, seed),
                pair=self.canvases.draw_pair(seen, seed),
            )
        return example, noise, seed

    def _resized(self, index: int) -> Record:
        """A record decoded and resized, which is the same in every epoch."""
        if index in self._cache:
            return self._cache[index]
        settings = self.recipe.generator
        need_disparity = settings.kind == "sims" and settings.order_network
        record = resize(self.examples.record(index, need_disparity=need_disparity), self.recipe.data)
        arrays = record.label, record.instance, record.image, record.disparity
        size = sum(array.nbytes for array in arrays if array is not None)
        if size <= self._room:
            self._room -= size
            self._cache[index] = record
        return record

    def batches(self, first_step: int = 0, *, steps: int | None = None, pin: bool = False) -> Generator[Batch]:
        """This worker's batches from a step on, read, decoded and put together ahead in threads.

        There are `steps` of them; with None they have no end.
        """
        coming = iter(range(first_step, first_step + steps)) if steps is not None else count(first_step)
        queue: deque[Future[Batch]] = deque()
        decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        collator = ThreadPoolExecutor(1, thread_name_prefix="collate")
        try:
            while True:
                for step in islice(coming, PREFETCHED + 1 - len(queue)):
                    self.read_ahead(step)
                    parts = [decoders.submit(self.example, *record) for record in self.records(step)]
                    queue.append(collator.submit(_join, parts, pin))
                if not queue:
                    break
                yield queue.popleft().result()
        finally:
            for pool in (decoders, collator):
                pool.shutdown(wait=False, cancel_futures=True)

    def read_ahead(self, step: int) -> None:
        """Read the next window bit by bit while this one is in use, and let go of those before.

        What is being decoded belongs to the last few steps, which may reach back into the window before.
        """
        place, batch = step * self.recipe.training.batch_size, self.recipe.training.batch_size
        held, coming = self.sampler.read_ahead(max(0, place - (PREFETCHED + 1) * batch), place)
        self.examples.hold(held, read=coming)


class BatchSource(Protocol):
    """What gives a worker its batches: `BatchLoader.batches`, or what `training.data.ray_loader` has in its place."""

    def __call__(self, data: BatchLoader, first_step: int, /, *, steps: int, pin: bool) -> Generator[Batch]:
        """The batches of so many steps from one on; closing the generator frees what makes them."""


def _open_canvases(bank: str, recipe: Recipe) -> TrainingCanvases:
    assert isinstance(recipe.generator, SIMSSettings)
    return TrainingCanvases(MemoryBank(bank), recipe.generator, recipe.labels)


def _join(parts: list[Future[tuple[Example, torch.Tensor, int]]], pin: bool) -> Batch:
    """The batch of examples that are being made."""
    examples, noise, seeds = zip(*(part.result() for part in parts), strict=True)
    batch = collate(list(examples), torch.stack(noise, dim=1), torch.tensor(seeds))
    return batch.pin_memory() if pin else batch
