"""Frozen backbones from local files: their feature maps are those of the networks that the files are of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_large, resnet50

from evaluation.segmenters.deeplab import DeepLab, DeepLabSettings, load_deeplab, save_deeplab
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from training.objectives.trunk import Trunk, load_trunk

SHIPPED = Path(__file__).parents[3] / "weights" / "landscape-segmenter.safetensors"


def test_the_shipped_segmenters_early_trunk() -> None:
    trunk, segmenter = load_trunk(SHIPPED), load_deeplab(SHIPPED)
    pictures = torch.rand(1, 3, 64, 96) * 2 - 1
    maps = trunk(pictures)
    assert [tuple(found.shape[1:]) for found in maps] == [(16, 32, 48), (24, 16, 24), (40, 8, 12)]
    with torch.no_grad():
        pixels = (255 * (pictures + 1) / 2 - segmenter.mean) / segmenter.std
        expected = segmenter.network.backbone(pixels)["out"]
    torch.testing.assert_close(maps[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v3_large"])
def test_whole_trunks_of_segmenters_which_may_enlarge(backbone: str, tmp_path: Path) -> None:
    settings = DeepLabSettings(
        backbone=backbone, labels=LabelSpace(classes=("a", "b")), height=64, width=64, enlarge=2
    )  # fmt: skip
    segmenter = DeepLab(settings).eval()
    save_deeplab(tmp_path / "segmenter.safetensors", segmenter)
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    maps = load_trunk(tmp_path)(pictures)
    with torch.no_grad():
        pixels = F.interpolate(
            (255 * (pictures + 1) / 2 - segmenter.mean) / segmenter.std, scale_factor=2, mode="bilinear"
        )
        expected = segmenter.network.backbone(pixels)["out"]
    torch.testing.assert_close(maps[-1], expected, rtol=1e-3, atol=1e-3)
    assert len(maps) == 5 and maps[0].shape[2:] == (32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large"])
def test_torchvisions_own_files(name: str, tmp_path: Path) -> None:
    network = {"resnet50": resnet50, "mobilenet_v3_large": mobilenet_v3_large}[name](weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "backbone.pth")
    before = torch.random.get_rng_state()
    trunk = load_trunk(tmp_path / "backbone.pth")
    assert torch.equal(torch.random.get_rng_state(), before)
    x = torch.rand(1, 3, 64, 64)
    maps = trunk(2 * x - 1)
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        if name == "resnet50":
            x = network.relu(network.bn1(network.conv1(x)))
            expected = [x]
            x = network.maxpool(x)
            for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
                expected.append(x := layer(x))
        else:
            expected = [network.features[: end + 1](x) for end in (1, 3, 6, 12, 16)]
    assert len(maps) == 5
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_it_never_learns_nor_moves_its_statistics_but_lets_gradients_through() -> None:
    trunk = load_trunk(SHIPPED).train()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    pictures = torch.rand(2, 3, 32, 32, requires_grad=True)
    sum(found.square().mean() for found in trunk(pictures)).backward()
    assert pictures.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in trunk.parameters())
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_no_stage_overwrites_the_one_before() -> None:
    trunk = Trunk([torch.nn.Identity(), torch.nn.ReLU(inplace=True)])
    first, second = trunk(torch.full((1, 3, 2, 2), -1.0))
    assert (first < 0).all() and (second == 0).all()


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights file .*none.pth does not exist"):
        load_trunk(tmp_path / "none.pth")
    save_file({"head.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors is no backbone .*: it is neither torchvision's resnet50"):
        load_trunk(tmp_path / "other.safetensors")
    part = {"backbone.0.0.weight": torch.zeros(16, 3, 3, 3), "backbone.1.block.0.0.weight": torch.zeros(16, 1, 3, 3)}
    save_file(part, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=r"part.safetensors \(a mobilenet_v3_large\) is of another network: it lacks"):
        load_trunk(tmp_path / "part.safetensors")
