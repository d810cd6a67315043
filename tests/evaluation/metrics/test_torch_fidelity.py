"""Distances, DINOv2 and Inception against torch-fidelity 0.4.0, whose figures of small random models are recorded here.

Only the loading of its models is replaced, not their arithmetic. Where the package is installed, the records are
checked as well.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.metrics.feature_metrics import kernel_distance
from evaluation.metrics.feature_networks import FeatureNetwork
from evaluation.metrics.frechet import FeatureStatistics, frechet_distance
from evaluation.metrics.inception import FIDInception3, Inception

VECTORS = {"frechet": 1.4073596574480298, "kernel": 0.13130049443755665}
"""Of `vectors()`: its Fréchet distance and its kernel distance, one subset of all, in float64."""
DINOV2 = {"frechet": 0.07389573424257365, "kernel": 0.09614678435256963}
"""The same of pictures, on the features of a small random DINOv2."""
INCEPTION = (1.2696652, 1.6468546, 1.5835931)
"""Mean, deviation and last of the features of a picture on Inception with the weights of `fill`."""


def vectors() -> list[np.ndarray]:
    """Two sets of 50 vectors of 8 dimensions."""
    return [np.random.default_rng(seed).normal(shift, 1, (50, 8)) for seed, shift in ((0, 0), (1, 0.3))]


def pictures(seed: int, count: int = 20, side: int = 224) -> list[np.ndarray]:
    """Coarse coloured squares, of the side that DINOv2 sees: the package's resizing, another one, leaves them alone."""
    coarse = np.random.default_rng(seed).integers(64 * seed, 256, (count, 7, 7, 3), np.uint8)
    return list(coarse.repeat(side // 7, 1).repeat(side // 7, 2))


def fill(module: torch.nn.Module) -> None:
    """Give all weights values that do not depend on torch's generator, with the variance of their input."""
    random = np.random.default_rng(0)
    with torch.no_grad():
        for name, tensor in sorted(module.state_dict().items()):
            if tensor.is_floating_point():
                values = torch.from_numpy(random.standard_normal(tuple(tensor.shape), np.float32))
                kept = values * (2 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1 * values
                scale = tensor.ndim == 1 and name.endswith(("weight", "var"))
                tensor.copy_(kept.abs() + 1 if scale else kept)


def dinov2() -> Any:
    """A tiny DINOv2 of transformers."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    size: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 224}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**size, patch_size=14)).eval()
    fill(model)
    return model


def test_distances_of_vectors() -> None:
    one, other = vectors()
    found = frechet_distance(FeatureStatistics(one), FeatureStatistics(other))
    assert found == pytest.approx(VECTORS["frechet"], rel=1e-9)
    assert kernel_distance(one, other)[0] == pytest.approx(VECTORS["kernel"], rel=1e-9)


@pytest.mark.slow
def test_distances_on_dinov2(tmp_path: Path) -> None:
    dinov2().save_pretrained(tmp_path)
    network = FeatureNetwork.load(tmp_path)
    one, other = network(pictures(0)), network(pictures(1))
    found = frechet_distance(FeatureStatistics(one), FeatureStatistics(other))
    assert found == pytest.approx(DINOV2["frechet"], rel=1e-4)
    assert kernel_distance(one, other)[0] == pytest.approx(DINOV2["kernel"], rel=1e-4)


@pytest.mark.slow
def test_features_of_inception(tmp_path: Path) -> None:
    network = FIDInception3()
    fill(network)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    features = Inception.load(tmp_path / "inception.pth")(pictures(0, 1, 70), resizer="torch-fidelity")[0]
    assert (features.mean(), features.std(), features[-1]) == pytest.approx(INCEPTION, rel=1e-5)


@pytest.mark.slow
def test_the_records_are_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    fid = importlib.import_module("torch_fidelity.metric_fid")
    kid = importlib.import_module("torch_fidelity.metric_kid")

    def distances(one: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
        moments = [fid.fid_features_to_statistics(part) for part in (one, other)]
        options = {"kid_subsets": 1, "kid_subset_size": len(one), "rng_seed": 0, "verbose": False}
        return {
            "frechet": fid.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"],
            "kernel": float(kid.kid_features_to_metric(one, other, **options)["kernel_inception_distance_mean"]),
        }

    assert distances(*map(torch.from_numpy, vectors())) == pytest.approx(VECTORS, rel=1e-12)

    network = FIDInception3()
    fill(network)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    extractor = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(tmp_path / "inception.pth"))
    shown = torch.from_numpy(np.stack(pictures(0, 1, 70))).permute(0, 3, 1, 2)
    features = extractor(shown)[0][0].numpy()
    assert (features.mean(), features.std(), features[-1]) == pytest.approx(INCEPTION, rel=1e-5)

    model = dinov2()
    module = importlib.import_module("torch_fidelity.feature_extractor_dinov2")

    class Loaded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=pixels).last_hidden_state[:, 0]

    monkeypatch.setattr(torch.hub, "load", lambda *_: Loaded())
    extractor = module.FeatureExtractorDinoV2("dinov2-vit-s-14", ["dinov2"])
    with torch.inference_mode():
        sets = [extractor(torch.from_numpy(np.stack(pictures(s))).permute(0, 3, 1, 2))[0] for s in (0, 1)]
    assert distances(*(part.double() for part in sets)) == pytest.approx(DINOV2, rel=1e-5)
