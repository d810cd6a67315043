"""LPIPS against torchmetrics' own (with the same random trunks), and the diversity that is made of it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.image.lpips import _LPIPS

from evaluation.metrics.lpips import LPIPS, TRUNKS, linear_layers
from pipeline.errors import InputError


def trunk_file(folder: Path, name: str) -> Path:
    """A file in the public layout, with random weights: torchvision's classifier as it is saved."""
    with torch.device("meta"):  # of the classifier's head, half a gigabyte in VGG16, one tensor will do
        shapes = {key: value.shape for key, value in TRUNKS[name].build(weights=None).state_dict().items()}
    random = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(shape, generator=random) / max(1, shape[1:].numel()) ** 0.5
        for key, shape in shapes.items()
        if key.startswith("features.")
    }
    path = folder / f"{name}.pth"
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, path)
    return path


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alex", "squeeze", "vgg"])
def test_distances_are_torchmetrics(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = LPIPS.load(trunk_file(tmp_path, name))
    for initialise in ("normal_", "kaiming_normal_", "kaiming_uniform_", "uniform_"):  # seconds, for nothing
        monkeypatch.setattr(f"torch.nn.init.{initialise}", lambda tensor, *_, **__: tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.load inside
        theirs = _LPIPS(pretrained=True, net=name, pnet_rand=True)
    slices = theirs.net.slices if name == "squeeze" else [getattr(theirs.net, f"slice{i}") for i in range(1, 6)]
    for stage, part in zip(ours.stages, slices, strict=True):
        part.load_state_dict(dict(zip(part.state_dict(), stage.state_dict().values(), strict=True)))
    images = torch.from_numpy(np.stack(pictures(3, 40, 56))).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        distances = ours(images)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            expected = theirs(images[one : one + 1] / 127.5 - 1, images[other : other + 1] / 127.5 - 1)
            torch.testing.assert_close(distances[one, other], expected.squeeze(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(distances, distances.T)
    assert (distances.diagonal() == 0).all()
    assert (distances[0, 1:] > 1e-4).all()


def test_spread_is_the_mean_distance_to_the_others(tmp_path: Path) -> None:
    lpips = LPIPS.load(trunk_file(tmp_path, "squeeze"))
    assert lpips.sha256 is not None
    assert lpips.title == "LPIPS (SqueezeNet 1.1)"
    some = pictures(3, 33, 32)
    with torch.inference_mode():
        pairs = lpips(torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).float()).numpy()
    spread = lpips.spread(some)
    np.testing.assert_allclose(spread, [(pairs[i].sum()) / 2 for i in range(3)], rtol=1e-5)
    assert spread.mean() == pytest.approx(np.mean([pairs[0, 1], pairs[0, 2], pairs[1, 2]]), rel=1e-5)
    assert lpips.spread([some[0], some[0]]).tolist() == [0, 0]
    assert np.isnan(lpips.spread(some[:1])).all()
    with pytest.raises(InputError, match="32 pixels a side or more, not 32x16"):
        lpips.spread(pictures(2, 16, 32))


def test_linear_layers_are_the_published_ones() -> None:
    channels = {"alex": [64, 192, 384, 256, 256], "vgg": [64, 128, 256, 512, 512]}
    channels["squeeze"] = [64, 128, 256, 384, 384, 512, 512]
    assert channels.keys() == TRUNKS.keys()
    for name, expected in channels.items():
        linear = linear_layers(name)
        assert [tuple(value.shape) for value in linear.values()] == [(1, count, 1, 1) for count in expected]
        assert all((value >= 0).all() for value in linear.values())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        LPIPS.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(InputError, match="cannot be read"):
        LPIPS.load(tmp_path / "text.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="are of none of torchvision's AlexNet, VGG16, SqueezeNet"):
        LPIPS.load(tmp_path / "other.pth")
    state = torch.load(trunk_file(tmp_path, "squeeze"), weights_only=True)
    torch.save({**state, "features.0.weight": torch.zeros(1)}, tmp_path / "shape.pth")
    with pytest.raises(InputError, match=r"features.0.weight is \[1\] there"):
        LPIPS.load(tmp_path / "shape.pth")
