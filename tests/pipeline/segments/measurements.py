"""How long a memory bank takes to build and to search, and how much memory: by hand, on a quiet machine.

python -m tests.pipeline.segments.measurements FOLDER --pictures 2975 --queries 100 --workers 2
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.images import decode_label, encode_png
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.labels import LabelSpace, class_channels
from pipeline.runtime.ray_tasks import map_in_order
from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import Span, build_bank, spans
from pipeline.segments.search import find_matches

SPACE = LabelSpace(classes=tuple(f"class {number}" for number in range(19)))
HEIGHT, WIDTH = 256, 512
REGIONS = 12
"""Of a picture: with 2975 of them, as Cityscapes has, some 32,500 segments, as those of a class that touch are one."""


def write_pictures(path: Path, count: int, *, seed: int) -> Path:
    """Label maps of regions around random points, and smooth photographs."""
    if path.exists():
        return path
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with RecordWriter(path, DatasetInfo(SPACE)) as writer:
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            points = rng.random((REGIONS, 2)) * [HEIGHT, WIDTH]
            nearest = np.hypot(y[::4, ::4, None] - points[:, 0], x[::4, ::4, None] - points[:, 1]).argmin(axis=2)
            label = rng.integers(0, 19, REGIONS).astype(np.uint8)[nearest].repeat(4, axis=0).repeat(4, axis=1)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 16, 3), dtype=np.uint8))
            image = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
            writer.write({"id": f"{seed}-{number}", "label": label, "image": encode_png(image, compress_level=1)})
    return path


def searcher(bank: str) -> Callable[[Span], tuple[int, float, int]]:
    """What a worker does with some label maps: how many matches, the sum of their scores, and its peak memory."""
    opened = MemoryBank(bank)

    def search(span: Span) -> tuple[int, float, int]:
        file, first, stop = span
        count, total = 0, 0.0
        for _, row in file.iter_rows(["label"], start=first, stop=stop):
            label = decode_label(row["label"]["bytes"])
            matches = find_matches(opened, class_channels(label, SPACE), None)
            count, total = count + len(matches), total + sum(match.score for match in matches)
        return count, total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

    return search


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=2975)
    parser.add_argument("--queries", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    source = write_pictures(given.folder / f"train-{given.pictures}.parquet", given.pictures, seed=0)
    queries = write_pictures(given.folder / f"queries-{given.queries}.parquet", given.queries, seed=1)
    out = given.folder / f"bank-{given.pictures}.parquet"

    start = time.perf_counter()
    made = build_bank(source, out, workers=given.workers, quiet=True)
    seconds, count = time.perf_counter() - start, sum(made.counts.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"build: {count} segments of {made.pictures} pictures in {seconds:.1f} s, {out.stat().st_size >> 20} MiB")
    print(f"build: peak of the driver {peak} MiB")

    start = time.perf_counter()
    found = list(map_in_order(partial(searcher, str(out)), spans(ParquetDataset.open(queries)), workers=given.workers))
    seconds = time.perf_counter() - start
    matches = sum(count for count, _, _ in found)
    print(f"search: {matches} segments of {given.queries} label maps in {seconds:.1f} s, with the start of the workers")
    print(f"search: mean score {sum(total for _, total, _ in found) / matches:.4f}, of 2 at most")
    print(f"search: peak of a worker {max(memory for _, _, memory in found)} MiB")
    start = time.perf_counter()
    bank = MemoryBank(out)
    print(f"open: {time.perf_counter() - start:.2f} s, {bank.coarse.nbytes >> 20} MiB of masks")


if __name__ == "__main__":
    from tests.pipeline.segments import measurements  # by the name under which workers find `searcher`

    measurements.main()
