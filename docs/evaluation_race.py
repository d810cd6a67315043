"""How fast pictures are scored: FID's network bare, ours, and the public packages; and intervals of many pictures.

    python docs/evaluation_race.py --pictures 200 --judgements 100000

Run it on a quiet machine. All networks have the same random weights, and nothing is fetched; packages that are missing
have no row. The bare network gets tensors of its own size; all others get the same PNG files and do the rest.
"""

from __future__ import annotations

import argparse
import importlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from evaluation.metrics.inception import SIDE, FIDInception3, Inception
from evaluation.scoring.bootstrap import bootstrap_scores
from evaluation.scoring.image_results import Confusions, ImageResults
from evaluation.scoring.protocols import PRESETS

BATCH = 16
CLASSES = 19


def main() -> None:
    """Print pictures a second, and the seconds that intervals take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--judgements", type=int, default=100_000)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "inception.pth"
        torch.save(FIDInception3().state_dict(), weights)
        files = [picture(index) for index in range(given.pictures)]
        bare = None
        for name, score in contestants(weights):
            try:
                score(files[:BATCH])  # warms up
                started = time.perf_counter()
                score(files)
                rate = len(files) / (time.perf_counter() - started)
            except ImportError:
                continue
            bare = bare or rate
            print(f"{name:24s}{rate:8.2f} pictures a second, {rate / bare:.0%} of the bare network", flush=True)
    results = judgements(given.judgements)
    started = time.perf_counter()
    intervals = bootstrap_scores(results, results, PRESETS["native"])
    print(f"intervals of {len(intervals)} scores of {given.judgements} pictures: {time.perf_counter() - started:.1f} s")


def picture(index: int, *, height: int = 256, width: int = 256) -> bytes:
    """A PNG file."""
    random = np.random.default_rng(index)
    small = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
    file = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def decode(files: list[bytes]) -> list[np.ndarray]:
    """uint8 `[H, W, 3]` each."""
    return [np.array(Image.open(io.BytesIO(file))) for file in files]


def contestants(weights: Path) -> list[tuple[str, Callable[[list[bytes]], None]]]:
    """Names, and what takes files to features; the bare network first."""
    ours = Inception.load(weights)
    input_ = torch.zeros(BATCH, 3, SIDE, SIDE)

    def batches(files: list[bytes]) -> list[list[bytes]]:
        return [files[start : start + BATCH] for start in range(0, len(files), BATCH)]

    @torch.inference_mode()
    def bare(files: list[bytes]) -> None:
        for part in batches(files):
            ours.network(input_[: len(part)])

    def own(files: list[bytes]) -> None:
        for part in batches(files):
            ours(decode(part))

    @torch.inference_mode()
    def torch_fidelity(files: list[bytes]) -> None:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights))
        for part in batches(files):
            network(torch.from_numpy(np.stack(decode(part))).permute(0, 3, 1, 2))

    @torch.inference_mode()
    def pytorch_fid(files: list[bytes]) -> None:
        module = importlib.import_module("pytorch_fid.inception")
        module.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
        network = module.InceptionV3([module.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
        for part in batches(files):
            network(torch.from_numpy(np.stack(decode(part))).permute(0, 3, 1, 2).float() / 255)

    return [("bare", bare), ("spadework", own), ("torch-fidelity", torch_fidelity), ("pytorch-fid", pytorch_fid)]


def judgements(count: int) -> ImageResults:
    """Results of so many pictures, of a dozen cells each."""
    random = np.random.default_rng(0)
    cells = np.sort(random.integers(0, CLASSES * (CLASSES + 1), (count, 12)), 1)
    confusions = Confusions(
        CLASSES,
        np.arange(count + 1) * 12,
        cells.ravel().astype(np.int32),
        random.integers(1, 4000, cells.size),
    )
    return ImageResults(
        ids=np.array([f"{index:07d}" for index in range(count)]),
        samples=np.zeros(count, np.int32),
        sizes=np.full((count, 2), 256, np.int32),
        confusions={"native": confusions},
        boundaries={"native": random.integers(0, 100, (count, CLASSES, 4), np.int32)},
        features=np.zeros((count, 1), np.float32),
    )


if __name__ == "__main__":
    main()
