"""Measured by hand, `python -m tests.evaluation.measurements`: is the evaluation of pictures bounded by its networks?

The same pictures, with the shipped segmenter and FID's Inception (random weights), take turns through the bare
networks, from tensors of the right size that are there already; through one worker, from Parquet files to image
results; and through two Ray actors. All networks have one thread each and are loaded before the clock starts. With
fewer than two idle cores the last ratio says nothing. `--features none` leaves Inception out: then what is not a
network weighs most.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from evaluation.metrics.inception import SIDE as INCEPTION_SIDE
from evaluation.metrics.inception import FIDInception3
from evaluation.scoring.distributed import ScorerPool, ScorerSpec
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.scoring.protocols import PRESETS
from evaluation.scoring.scorer import ImageScorer
from evaluation.segmenters import load_segmenter
from pipeline.data.records import Record
from pipeline.pretrained.state_dicts import sha256_of
from pipeline.runtime.ray_session import ray_session
from tests.evaluation.conftest import write_pictures

SEGMENTER = Path(__file__).parents[2] / "weights" / "landscape-segmenter.safetensors"


def main() -> None:
    """Print the seconds of every lap, ratios, and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--features", choices=("inception", "none"), default="inception")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        order, pictures = prepare(folder, given.pictures, given.side, inception=given.features == "inception")
        contestants: dict[str, Callable[[int], object]] = {"bare networks": bare(order.build(), given.side)}
        if given.workers == 2:
            stack.enter_context(ray_session(num_cpus=4))
        for workers in range(1, given.workers + 1):
            scorers = stack.enter_context(ScorerPool(order, workers=workers))
            contestants[f"{workers} worker(s)"] = lambda count, scorers=scorers: scorers.score(
                pictures, Selection(frozenset(sorted(pictures.ids)[:count]))
            )
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for run in contestants.values():
            run(16)
        before = memory()
        for _ in range(given.laps):
            for name, run in contestants.items():
                start = time.perf_counter()
                run(given.pictures)
                seconds[name].append(time.perf_counter() - start)
    print(f"{given.pictures} pictures of {given.side}x{given.side}; load of the machine {os.getloadavg()[0]:.1f}")
    for name, times in seconds.items():
        print(f"{name}: {', '.join(f'{t:.2f}' for t in times)} s, median {statistics.median(times):.2f}")
    bare_times, one, *two = seconds.values()
    print(f"one worker against the bare networks {ratio(bare_times, one):.2f}")
    if two:
        print(f"two workers against one {ratio(one, two[0]):.2f}")
    print(f"peak memory after 16 pictures {before:.0f} MiB, at the end {memory():.0f} MiB")


def prepare(folder: Path, count: int, side: int, *, inception: bool) -> tuple[ScorerSpec, PictureSet]:
    """What makes a scorer, and landscapes of coloured blobs to be scored."""
    segmenter = load_segmenter("deeplab", SEGMENTER)
    space = segmenter.settings.labels  # type: ignore[attr-defined]
    palette = np.array(space.palette)

    def draw(index: int) -> Record:
        random = np.random.default_rng(index)
        label = np.kron(random.integers(0, len(palette), (4, 4)), np.ones((side // 4, side // 4), int))
        label[side // 2 :] = random.integers(0, len(palette))
        colours = palette[label] + random.normal(0, 12, (side, side, 3))
        image = colours.round().clip(0, 255).astype(np.uint8)
        return Record(f"scene-{index:05d}", label.astype(np.uint8), None, image)

    def image_of(record: Record, sample: int) -> np.ndarray:
        assert record.image is not None
        return record.image

    images = write_pictures(folder / "images", list(map(draw, range(count))), image_of, parts=4, space=space)
    weights = folder / "inception.pth"
    torch.manual_seed(0)
    torch.save(FIDInception3().state_dict(), weights)
    order = ScorerSpec(
        "deeplab",
        SEGMENTER,
        segmenter.sha256,
        space,
        (PRESETS["native"],),
        inception=weights if inception else None,
        inception_sha256=sha256_of(weights) if inception else None,
        threads=1,
    )
    return order, PictureSet.open(images, what="pictures")


def bare(scorer: ImageScorer, side: int) -> Callable[[int], None]:
    """The forward passes of so many pictures, in the scorer's batches."""
    shown = torch.zeros(scorer.batch_size, 3, side, side)
    resized = torch.zeros(scorer.batch_size, 3, INCEPTION_SIDE, INCEPTION_SIDE)
    if scorer.inception is not None:
        resized = resized.contiguous(memory_format=scorer.inception.layout)

    @torch.inference_mode()
    def run(count: int) -> None:
        for start in range(0, count, scorer.batch_size):
            rows = min(scorer.batch_size, count - start)
            scorer.segmenter(shown[:rows])
            if scorer.inception is not None:
                scorer.inception.network(resized[:rows])

    return run


def ratio(slow: list[float], fast: list[float]) -> float:
    """The median over laps of one time over another."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def memory() -> float:
    """The most that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
