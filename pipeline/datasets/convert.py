"""Writing data sets: conversion in worker processes, all files or none, and a summary of what came of it."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from pipeline.data.frames import to_table
from pipeline.data.records import RECORD_FIELDS, DatasetInfo, RecordWriter, read_info
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels
from pipeline.runtime.digits import plural
from pipeline.runtime.progress import ProgressBar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Skipped:
    """Something left out of the data set, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Converted:
    """A row to write, and how many pixels it has of each class channel."""

    row: dict[str, Any]
    pixels: np.ndarray


@dataclass
class Split:
    """What goes into one file: `name`.parquet."""

    name: str
    items: Sequence[Any]
    skipped: list[Skipped] = field(default_factory=list)


@dataclass
class SplitSummary:
    """What one file has in the end."""

    path: Path
    records: int
    pixels: np.ndarray
    """int64 `[class_channels]`: pixels of each class over all records."""
    occurs: np.ndarray
    """int64 `[class_channels]`: records in which the class occurs."""
    skipped: list[Skipped]


@dataclass
class Summary:
    """What a preparation wrote."""

    space: LabelSpace
    splits: list[SplitSummary]
    notes: list[str] = field(default_factory=list)
    """What was decided on the way, a sentence each."""

    def __str__(self) -> str:
        lines = [*self.notes]
        for split in self.splits:
            size, records = split.path.stat().st_size, f"{split.records:,} {plural('record', split.records)}"
            amount = f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"
            lines.append(f"{split.path}: {records}, {amount}")
        names = [*self.space.classes, *(["don't care"] if self.space.dont_care is not None else [])]
        width = max(map(len, names))
        heads = "".join(f"  {split.path.stem:>12} {'records':>8}" for split in self.splits)
        lines += ["", f"{'class':{width}}{heads}"]
        for number, name in enumerate(names):
            cells = ""
            for split in self.splits:
                share = 100 * split.pixels[number] / max(split.pixels.sum(), 1)
                cells += f"  {share:>10.2f} % {split.occurs[number]:>8,}"
            if any(split.occurs[number] for split in self.splits):
                lines.append(f"{name:{width}}{cells}")
        absent = sum(not any(split.occurs[number] for split in self.splits) for number in range(len(names)))
        lines += [f"({absent} more classes that never occur)"] if absent else []
        skipped = [entry for split in self.splits for entry in split.skipped]
        lines += ["", f"skipped: {len(skipped)}"]
        lines += [f"  {entry.id}: {entry.reason}" for entry in skipped[:20]]
        lines += [f"  ... and {len(skipped) - 20} more"] if len(skipped) > 20 else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Preparation:
    """What `prepare` of `import spadework` wrote; as text, what the command line says."""

    folder: Path
    summary: Summary
    """Files, records, pixels and what was left out, by split."""

    def __str__(self) -> str:
        return str(self.summary)

    def to_table(self) -> pa.Table:
        """A row for each class of each split: `split`, `id`, `class`, `pixels`, `records` (in which it occurs).

        Where there is a don't-care id, its row comes last and has no class.
        """
        summary = self.summary
        names: list[tuple[int | None, str | None]] = [*enumerate(summary.space.classes)]
        names += [] if summary.space.dont_care is None else [(summary.space.dont_care, None)]
        return to_table(
            {"split": split.path.stem, "id": number, "class": name, "pixels": int(pixels), "records": int(occurs)}
            for split in summary.splits
            for (number, name), pixels, occurs in zip(names, split.pixels, split.occurs, strict=True)
        )


def write_dataset(
    out: Path,
    info: DatasetInfo,
    convert: Callable[[Item], Converted],
    splits: Sequence[Split],
    *,
    fields: Sequence[pa.Field] = RECORD_FIELDS,
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert every item of every split and write `out`/<split>.parquet; either all files appear or none does.

    `convert` must be picklable, and is called in `workers` processes (default: one for each CPU); the files do
    not depend on their number. Its `InputError` ends the work, or with `skip_bad` leaves that record out. A
    train.parquet or validation.parquet of an earlier preparation that this one would not replace is refused.
    """
    _refuse_stale(out, {split.name for split in splits})
    for split in splits:
        if not split.items:
            reasons = f"; the first of {len(split.skipped)} skipped: {_told(split.skipped[0])}" if split.skipped else ""
            raise InputError(f"there is nothing to put into {out / split.name}.parquet{reasons}")
    attempt = partial(_attempt, convert, skip_bad)
    summaries = []
    with ExitStack() as stack:
        pool = stack.enter_context(worker_pool(workers or available_cpus(), sum(len(split.items) for split in splits)))
        for split in splits:
            writer = stack.enter_context(RecordWriter(out / f"{split.name}.parquet", info, fields))
            summary = SplitSummary(writer.path, 0, *_zeros(info.space), list(split.skipped))
            results = map_ordered(attempt, split.items, pool)
            for result in ProgressBar(results, desc=split.name, total=len(split.items), unit=" records"):
                if isinstance(result, Skipped):
                    summary.skipped.append(result)
                    continue
                writer.write(result.row)
                summary.records += 1
                summary.pixels += result.pixels
                summary.occurs += result.pixels > 0
            if not summary.records:
                raise InputError(f"all records for {writer.path} were bad; the first: {_told(summary.skipped[0])}")
            summaries.append(summary)
    return Summary(info.space, summaries)


def _refuse_stale(out: Path, names: set[str]) -> None:
    """An old split may hold the records of a new one, and would be trained on or scored beside it."""
    for name in sorted({"train", "validation"} - names):
        path = out / f"{name}.parquet"
        if not path.is_file():
            continue
        try:
            read_info(path)
        except InputError:
            continue  # not one of ours
        raise InputError(f"{path} is left from an earlier preparation; remove it, or give another --out")


def _zeros(space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(space.class_channels, np.int64), np.zeros(space.class_channels, np.int64)


def _told(entry: Skipped) -> str:
    return f"{entry.id}: {entry.reason}"


def _attempt(convert: Callable[[Item], Converted], skip_bad: bool, item: Item) -> Converted | Skipped:
    try:
        return convert(item)
    except InputError as error:
        if skip_bad:
            return Skipped(getattr(item, "id", str(item)), str(error))
        raise


@contextmanager
def worker_pool(workers: int, items: int) -> Iterator[ProcessPoolExecutor | None]:
    """Worker processes for so many items, or None where they would take longer to start than to do the work."""
    workers = min(workers, items // 16)
    if workers < 2:
        yield None
        return
    # Forked children would inherit the locks of whatever threads run here (Arrow's, Ray's): start clean ones.
    # Ctrl-C reaches the whole process group; only this process should answer it.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=signal.signal, initargs=ignore)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def map_ordered(
    function: Callable[[Item], Any], items: Sequence[Item], pool: ProcessPoolExecutor | None, chunk: int = 4
) -> Iterator[Any]:
    """`map` over worker processes: results in order, a bounded number of them waiting, errors where they occur."""
    if pool is None:
        yield from map(function, items)
        return
    waiting: deque[Future[list[Any]]] = deque()
    for start in range(0, len(items), chunk):
        waiting.append(pool.submit(_each, function, items[start : start + chunk]))
        if len(waiting) > 64:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _each(function: Callable[[Item], Any], items: Sequence[Item]) -> list[Any]:
    return [function(item) for item in items]


def available_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_pixels(label: np.ndarray, space: LabelSpace) -> np.ndarray:
    """int64 `[class_channels]`; `InputError` for an id beyond the classes."""
    return np.bincount(class_channels(label, space).ravel(), minlength=space.class_channels)
