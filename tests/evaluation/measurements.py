"""Measured by hand, `python -m tests.evaluation.measurements`: segmentation evaluation by two workers against one.

This process and two Ray actors, of one thread each, score the same pictures in turn, their networks loaded before the
clock starts. With fewer than two idle cores the ratio says nothing.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation.scoring.distributed import ScorerPool, ScorerSpec
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.scoring.protocols import PRESETS
from evaluation.segmenters import load_segmenter
from evaluation.segmenters.deeplab import DeepLab, DeepLabSettings, save_deeplab
from pipeline.runtime.ray_session import ray_session
from tests.evaluation.conftest import SPACE, draw, photograph, write_pictures

PICTURES, SIDE, REPEATS = 192, 128, 5


def main() -> None:
    """Print the seconds of every repeat and the ratio of medians."""
    with TemporaryDirectory() as name, ray_session(num_cpus=4):
        folder = Path(name)
        pictures = PictureSet.open(
            write_pictures(folder / "images", [draw(index, SIDE) for index in range(PICTURES)], photograph, parts=4),
            what="pictures",
        )
        settings = DeepLabSettings(
            backbone="mobilenet_v3_large", labels=SPACE, height=SIDE, width=SIDE, trunk="early", enlarge=2
        )
        save_deeplab(folder / "segmenter.safetensors", DeepLab(settings))
        order = ScorerSpec(
            "deeplab",
            folder,
            load_segmenter("deeplab", folder).sha256,
            SPACE,
            (PRESETS["native"],),
            threads=1,
        )
        few = Selection(frozenset(sorted(pictures.ids)[:8]))
        with ScorerPool(order, workers=2) as two, ScorerPool(order, workers=1) as one:
            seconds: dict[int, list[float]] = {1: [], 2: []}
            for scorers in (one, two):
                scorers.score(pictures, few)
            for _ in range(REPEATS):
                for workers, scorers in ((1, one), (2, two)):
                    start = time.perf_counter()
                    scorers.score(pictures, Selection())
                    seconds[workers].append(time.perf_counter() - start)
    print(f"{PICTURES} pictures of {SIDE}x{SIDE}; load of the machine {os.getloadavg()[0]:.1f}")
    for workers, times in seconds.items():
        print(f"{workers} worker(s): {', '.join(f'{t:.2f}' for t in times)} s, median {statistics.median(times):.2f}")
    print(f"ratio of medians {statistics.median(seconds[1]) / statistics.median(seconds[2]):.2f}")


if __name__ == "__main__":
    main()
