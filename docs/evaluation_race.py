"""FID's features and distances beside the public packages, on the same pictures and weights; and intervals.

    pip install --no-deps pytorch-fid clean-fid torch-fidelity
    python docs/evaluation_race.py --pictures 128 --laps 3 --judgements 100000

Ratios are medians over laps in which ours and theirs take turns. All networks have the same random weights and nothing
is fetched; packages that are missing have no row. The bare network gets tensors of its own size; everybody else the
same PNG files, resized as the package does it. Loading is in their own processes (as many as they start by themselves)
and in our one thread. On a machine that is not quiet only the ratios are of use.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from evaluation.metrics.frechet import FeatureStatistics, frechet_distance
from evaluation.metrics.inception import SIDE, FIDInception3, FidResizer, Inception
from evaluation.scoring.bootstrap import bootstrap_scores
from evaluation.scoring.image_results import Confusions, ImageResults
from evaluation.scoring.protocols import PRESETS
from pipeline.data.images import decode_image
from pipeline.runtime.stages import in_order

BATCH = 16
CLASSES = 19


@dataclass(frozen=True)
class Pair:
    """A package and ours: each takes files to features `[N, 2048]`."""

    package: str
    theirs: Callable[[list[Path]], np.ndarray]
    ours: Callable[[list[Path]], np.ndarray]


def main() -> None:
    """Print pictures a second, ratios, and the seconds that distances and intervals take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--features", type=int, default=5000, help="vectors on each side of a distance")
    parser.add_argument("--judgements", type=int, default=100_000)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.pictures:
            race_features(folder, given.pictures, given.laps)
        if given.features:
            race_distances(given.features)
        if given.judgements:
            time_intervals(folder, given.judgements)


def race_features(folder: Path, count: int, laps: int) -> None:
    """Pictures to features, ours beside each package and beside the bare network."""
    files = [write_picture(folder / f"{index:05d}.png", index) for index in range(count)]
    print(f"features of {count} pictures of 256x256, {torch.get_num_threads()} threads, medians of {laps} laps")
    for pair in pairs(folder):
        try:
            mine, other = pair.ours(files[:BATCH]), pair.theirs(files[:BATCH])  # warms up
        except ImportError as error:
            print(f"  {pair.package}: not installed ({error})")
            continue
        seconds: list[tuple[float, float]] = []
        for lap in range(laps):
            both = [clock(pair.ours, files), clock(pair.theirs, files)] if lap % 2 else None
            both = both or [clock(pair.theirs, files), clock(pair.ours, files)][::-1]
            seconds.append((both[0], both[1]))
        ours, theirs = (count / statistics.median(times) for times in zip(*seconds, strict=True))
        ratio = statistics.median(there / here for here, there in seconds)
        same = "" if pair.package == "bare network" else f", features differ by {np.abs(mine - other).max():.1e}"
        print(f"  {pair.package}: {theirs:.2f} a second, ours {ours:.2f}: {ratio:.2f} times as fast{same}", flush=True)


def race_distances(count: int) -> None:
    """Features of two sets to their Frechet distance, statistics included."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(2048, 2048)).astype(np.float32) / 2048**0.5
    one, other = (random.normal(shift, 1, (count, 2048)).astype(np.float32) @ mixing for shift in (0, 0.1))
    print(f"distance of two sets of {count} vectors of 2048 dimensions, statistics included")
    for package, distance in distances():
        try:
            value: list[float] = []
            seconds = clock(lambda pair, distance=distance, value=value: value.append(distance(*pair)), (one, other))
        except ImportError as error:
            print(f"  {package}: not installed ({error})")
            continue
        print(f"  {package}: {seconds:.1f} s ({value[0]:.9g})", flush=True)


def time_intervals(folder: Path, count: int) -> None:
    """Saved judgements to all label scores' intervals, by one protocol."""
    judgements(count).save(folder / "judgements.npz")
    started = time.perf_counter()
    results = ImageResults.load(folder / "judgements.npz")
    loaded = time.perf_counter()
    intervals = bootstrap_scores(results, results, PRESETS["native"])
    print(
        f"intervals of {len(intervals)} scores of {count} pictures of {CLASSES} classes, 1,000 resamples: "
        f"{time.perf_counter() - loaded:.1f} s, and {loaded - started:.1f} s to read the judgements"
    )


def clock(function: Callable[[Any], object], given: object) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    function(given)
    return time.perf_counter() - started


def write_picture(path: Path, index: int, *, height: int = 256, width: int = 256) -> Path:
    """A PNG file, as large as one of a photograph is."""
    random = np.random.default_rng(index)
    small = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
    pixels = np.array(small.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    Image.fromarray((pixels + random.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)).save(path)
    return path


def pairs(folder: Path) -> Iterator[Pair]:
    """The bare network and the packages, each with ours as it resizes."""
    weights, archive = folder / "inception.pth", folder / "inception-2015-12-05.pt"
    network = FIDInception3().eval()
    torch.save(network.state_dict(), weights)
    save_archive(network, archive)
    loaded, scripted = Inception.load(weights), Inception.load(archive)

    def own(inception: Inception, resizer: FidResizer) -> Callable[[list[Path]], np.ndarray]:
        def run(files: list[Path]) -> np.ndarray:
            with ThreadPoolExecutor(1) as pool:
                decoded = in_order(pool, decode, batches(files), ahead=1)
                return np.concatenate([inception(images, resizer=resizer) for images in decoded])

        return run

    tensors = torch.zeros(BATCH, 3, SIDE, SIDE).contiguous(memory_format=loaded.layout)

    @torch.inference_mode()
    def bare(files: list[Path]) -> np.ndarray:
        return np.concatenate([loaded.network(tensors[: len(part)]).numpy() for part in batches(files)])

    def pytorch_fid(files: list[Path]) -> np.ndarray:
        module = importlib.import_module("pytorch_fid.inception")
        score = importlib.import_module("pytorch_fid.fid_score")
        module.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
        score.tqdm = list
        built = kept("pytorch-fid", lambda: module.InceptionV3([module.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]))
        return score.get_activations(files, built, BATCH, 2048, "cpu", 1)

    def clean_fid(files: list[Path]) -> np.ndarray:
        fid = importlib.import_module("cleanfid.fid")
        module = importlib.import_module("cleanfid.inception_torchscript")
        built = kept("clean-fid", lambda: module.InceptionV3W(str(folder), download=False))
        return fid.get_files_features(files, built, 1, BATCH, torch.device("cpu"), "clean", verbose=False)

    def torch_fidelity(files: list[Path]) -> np.ndarray:
        utils = importlib.import_module("torch_fidelity.utils")
        dataset = importlib.import_module("torch_fidelity.datasets").ImagesPathDataset(files)
        extractor = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
        built = kept("torch-fidelity", lambda: extractor("inception-v3-compat", ["2048"], str(weights)))
        return utils.get_featuresdict_from_dataset(dataset, built, BATCH, False, False, False)["2048"].numpy()

    yield Pair("bare network", bare, own(loaded, "pytorch-fid"))
    yield Pair("pytorch-fid", pytorch_fid, own(loaded, "pytorch-fid"))
    yield Pair("clean-fid", clean_fid, own(scripted, "clean-fid"))
    yield Pair("torch-fidelity", torch_fidelity, own(loaded, "torch-fidelity"))


def save_archive(network: torch.nn.Module, path: Path) -> None:
    """A network in the form of the public TorchScript archive: its `layers` are the network up to the features."""

    class Archive(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.jit.trace(network, torch.zeros(1, 3, SIDE, SIDE))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.layers(pixels)

    torch.jit.script(Archive()).save(str(path))


_built: dict[str, Any] = {}


def kept(name: str, build: Callable[[], Any]) -> Any:
    """What was built under this name; loading weights is no part of the race."""
    if name not in _built:
        _built[name] = build()
    return _built[name]


def distances() -> Iterator[tuple[str, Callable[[np.ndarray, np.ndarray], float]]]:
    """From the features of two sets to their distance."""

    def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features.mean(0, np.float64), np.cov(features.astype(np.float64), rowvar=False)

    def pytorch_fid(one: np.ndarray, other: np.ndarray) -> float:
        module = importlib.import_module("pytorch_fid.fid_score")
        return float(module.calculate_frechet_distance(*moments(one), *moments(other)))

    def clean_fid(one: np.ndarray, other: np.ndarray) -> float:
        module = importlib.import_module("cleanfid.fid")
        return float(module.frechet_distance(*moments(one), *moments(other)))

    def torch_fidelity(one: np.ndarray, other: np.ndarray) -> float:
        module = importlib.import_module("torch_fidelity.metric_fid")
        statistics = [module.fid_features_to_statistics(torch.from_numpy(x)) for x in (one, other)]
        return float(module.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])

    yield "spadework", lambda one, other: frechet_distance(FeatureStatistics(one), FeatureStatistics(other))
    yield "torch-fidelity", torch_fidelity
    yield "pytorch-fid", pytorch_fid
    yield "clean-fid", clean_fid


def batches(files: list[Path]) -> list[list[Path]]:
    """`BATCH` each."""
    return [files[start : start + BATCH] for start in range(0, len(files), BATCH)]


def decode(files: list[Path]) -> list[np.ndarray]:
    """uint8 `[H, W, 3]` each."""
    return [decode_image(file.read_bytes()) for file in files]


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
