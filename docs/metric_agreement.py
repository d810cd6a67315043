"""The table of docs/evaluation.md: our metrics beside the public packages, on the same pictures, weights and features.

    pip install scikit-learn && pip install --no-deps pytorch-fid clean-fid torch-fidelity prdc clip-mmd lpips
    python docs/metric_agreement.py

A package that is missing has a row that says so. Weights are random, so nothing is fetched: where a package would fetch
them, its loading is replaced, and nothing else of it.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.metrics.cmmd import cmmd
from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.metrics.feature_metrics import Neighbourhoods, kernel_distance
from evaluation.metrics.frechet import FeatureStatistics, frechet_distance
from evaluation.metrics.inception import FIDInception3, Inception, resize
from evaluation.metrics.lpips import LPIPS, TRUNKS

PICTURES = 16
SIZE = (48, 80)
"""Height and width of the pictures."""
COUNT, DIMENSIONS = 400, 64
"""Of the feature vectors that are compared without a network."""


@dataclass(frozen=True)
class Row:
    """A metric, and how far it is from a package's."""

    metric: str
    package: str
    difference: str
    note: str


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    print("| metric | package | largest relative difference | |")
    print("| --- | --- | ---: | --- |")
    for check in CHECKS:
        for row in check():
            print(f"| {row.metric} | {row.package} | {row.difference} | {row.note} |", flush=True)


def features(shift: float, seed: int) -> np.ndarray:
    """float32 `[COUNT, DIMENSIONS]`."""
    return np.random.default_rng(seed).normal(shift, 1, (COUNT, DIMENSIONS)).astype(np.float32)


def pictures(seed: int) -> list[np.ndarray]:
    """uint8 `[H, W, 3]`: smooth ones with noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    made = []
    for _ in range(PICTURES):
        waves = [128 + 80 * np.sin(rows / random.uniform(3, 20) + columns / random.uniform(3, 20)) for _ in range(3)]
        made.append((np.stack(waves, -1) + random.normal(0, 10, (*SIZE, 3))).clip(0, 255).astype(np.uint8))
    return made


def far(ours: Any, theirs: Any) -> float:
    """The largest difference over the largest value."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def row(metric: str, package: str, compare: Callable[[], float], note: str = "") -> Row:
    """What `compare` finds, or why it cannot."""
    try:
        name = f"{package} {version(package)}"
        return Row(metric, name, f"{compare():.1e}", note)
    except (ImportError, PackageNotFoundError) as error:
        return Row(metric, package, "–", f"not installed ({' '.join(str(error).split())[:60]})")
    except Exception as error:  # noqa: BLE001 - a package that breaks here is a finding, and no reason to stop
        return Row(metric, package, "–", f"fails here: {' '.join(str(error).split())[:80]}")


def closed_forms() -> Iterator[Row]:
    """Frechet and kernel distance of given features."""
    one, other = features(0, 0), features(0.3, 1)
    ours = frechet_distance(FeatureStatistics(one), FeatureStatistics(other))
    moments = [
        part for x in (one, other) for part in (x.mean(0, np.float64), np.cov(x.astype(np.float64), rowvar=False))
    ]

    def of(module: str, name: str) -> Callable[[], float]:
        return lambda: far(ours, getattr(importlib.import_module(module), name)(*moments))

    def torch_fidelity() -> float:
        metric = importlib.import_module("torch_fidelity.metric_fid")
        statistics = [metric.fid_features_to_statistics(torch.from_numpy(x).double()) for x in (one, other)]
        return far(ours, metric.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])

    def kid() -> float:
        metric = importlib.import_module("torch_fidelity.metric_kid")
        vectors = [torch.from_numpy(x).double() for x in (one, other)]
        options = {"kid_subsets": 1, "kid_subset_size": COUNT, "rng_seed": 0, "verbose": False}
        theirs = metric.kid_features_to_metric(*vectors, **options)["kernel_inception_distance_mean"]
        return far(kernel_distance(one, other)[0], theirs)

    yield row("Fréchet, closed form", "pytorch-fid", of("pytorch_fid.fid_score", "calculate_frechet_distance"))
    yield row("Fréchet, closed form", "clean-fid", of("cleanfid.fid", "frechet_distance"))
    yield row("Fréchet, closed form", "torch-fidelity", torch_fidelity)
    yield row("kernel distance", "torch-fidelity", kid, "one subset, the whole set")


def few_pictures() -> Iterator[Row]:
    """The Frechet distance of half as many vectors as dimensions, moved as a whole: the truth is the square of that."""
    one = np.random.default_rng(0).normal(0, 1, (256, 512))
    other = one + 0.25
    truth = 0.25**2 * 512
    ours = frechet_distance(FeatureStatistics(one), FeatureStatistics(other))
    moments = [
        part for x in (one, other) for part in (x.mean(0, np.float64), np.cov(x.astype(np.float64), rowvar=False))
    ]
    note = "256 vectors of 512 dimensions, against the truth"
    yield Row("Fréchet", "ours", f"{far(ours, truth):.1e}", note)
    for package, module, name in (
        ("pytorch-fid", "pytorch_fid.fid_score", "calculate_frechet_distance"),
        ("clean-fid", "cleanfid.fid", "frechet_distance"),
    ):

        def theirs(module: str = module, name: str = name) -> float:
            return far(getattr(importlib.import_module(module), name)(*moments), truth)

        yield row("Fréchet", package, theirs, note)


def inceptions() -> Iterator[Row]:
    """FID's network and resizing, from pictures to features, with the same random weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(FIDInception3().state_dict(), path)
        ours, shown = Inception.load(path), pictures(0)

        def pytorch_fid() -> float:
            module = importlib.import_module("pytorch_fid.inception")
            state = torch.load(path, weights_only=True)
            with replaced(module, "load_state_dict_from_url", lambda *_, **__: state):
                network = module.InceptionV3([module.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
            pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                return far(ours(shown), network(pixels)[0].flatten(1).numpy())

        def torch_fidelity() -> float:
            module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
            network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
            pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
            with torch.inference_mode():
                return far(ours(shown, resizer="torch-fidelity"), network(pixels)[0].numpy())

        def clean_fid() -> float:
            resizer = importlib.import_module("cleanfid.resize").build_resizer("clean")
            theirs = [torch.from_numpy(resizer(image)).permute(2, 0, 1) for image in shown]
            return far(torch.stack([resize(image, "clean-fid") * 128 + 128 for image in shown]), torch.stack(theirs))

        yield row("Inception's features", "pytorch-fid", pytorch_fid, "resizing included")
        yield row("Inception's features", "torch-fidelity", torch_fidelity, "resizing included")
        yield row("resizing to 299", "clean-fid", clean_fid, "its network is a file of its own")


def neighbourhoods() -> Iterator[Row]:
    """Precision, recall, density and coverage."""
    one, other = features(0.1, 0).astype(np.float64), features(0, 1).astype(np.float64)

    def prdc() -> float:
        theirs = importlib.import_module("prdc").compute_prdc(other, one, nearest_k=5)
        ours = Neighbourhoods.of(one, other).scores()
        return far([ours[name] for name in ours], [theirs[name] for name in ours])

    note = "a vector at exactly a neighbourhood's edge is inside here, outside there"
    yield row("precision, recall, density, coverage", "prdc", prdc, note)


def clips() -> Iterator[Row]:
    """CMMD of given features."""
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features(0, 0), features(0.3, 1)))

    def clip_mmd() -> float:
        theirs = importlib.import_module("clip_mmd.calculation").mmd(one.astype(np.float64), other.astype(np.float64))
        return far(cmmd(one, other)[0], float(theirs))

    yield row("CMMD", "clip-mmd", clip_mmd, "both in float64; its default is float32")


def perceptual() -> Iterator[Row]:
    """LPIPS of pairs, with the same random trunk."""

    def lpips() -> float:
        theirs = importlib.import_module("lpips").LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "alex.pth"
            torch.save(TRUNKS["alex"].build(weights=None).state_dict(), path)
            ours = LPIPS.load(path)
        for index, stage in enumerate(ours.stages, 1):
            slices = getattr(theirs.net, f"slice{index}")
            slices.load_state_dict(dict(zip(slices.state_dict(), stage.state_dict().values(), strict=True)))
        pixels = torch.from_numpy(np.stack(pictures(0)[:4])).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            pairs = [float(theirs(pixels[:1] / 127.5 - 1, pixels[i : i + 1] / 127.5 - 1)) for i in (1, 2, 3)]
            return far(ours(pixels)[0, 1:], pairs)

    yield row("LPIPS (AlexNet)", "lpips", lpips)


def labels() -> Iterator[Row]:
    """Mean IoU and accuracy."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 12, (8, 40, 40))
    guess = np.where(random.random(truth.shape) < 0.7, truth, random.integers(0, 12, truth.shape))
    matrix = ConfusionMatrix(12)
    matrix.update(np.where(truth == 11, 255, truth), guess)

    def torchmetrics() -> float:
        module = importlib.import_module("torchmetrics.functional.classification")
        options = {"num_classes": 12, "ignore_index": 11}
        theirs = [
            float(module.multiclass_jaccard_index(torch.from_numpy(guess), torch.from_numpy(truth), **options)),
            float(
                module.multiclass_accuracy(torch.from_numpy(guess), torch.from_numpy(truth), average="micro", **options)
            ),
        ]
        return far([matrix.mean_iou("present"), matrix.accuracy()], theirs)

    yield row("mean IoU, accuracy", "torchmetrics", torchmetrics, "in float32 there")


@contextmanager
def replaced(module: Any, name: str, value: object) -> Iterator[None]:
    """A block in which a module's name stands for something else."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


CHECKS = (closed_forms, few_pictures, inceptions, neighbourhoods, clips, perceptual, labels)

if __name__ == "__main__":
    main()
