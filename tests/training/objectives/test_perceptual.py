"""The perceptual loss: its taps, weights and scaling against a direct computation, and the loading of local weights."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg19

from pipeline.errors import InputError
from training.objectives.perceptual import PerceptualLoss, load_perceptual_loss


def narrow_vgg() -> nn.Sequential:
    """VGG19's sequence of layers with an eighth of the channels at most, so that tests are quick."""
    with torch.device("meta"):
        layers = vgg19(weights=None).features
    channels, narrow = 3, []
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            narrow.append(nn.Conv2d(channels, layer.out_channels // 32, 3, padding=1))
            channels = layer.out_channels // 32
        else:
            narrow.append(type(layer)(inplace=True) if isinstance(layer, nn.ReLU) else layer)
    return nn.Sequential(*narrow)


def test_it_is_the_weighted_sum_over_five_relus() -> None:
    torch.manual_seed(0)
    features = narrow_vgg()
    fake, real = torch.rand(2, 2, 3, 32, 48) * 2 - 1
    x, y = ((p / 2 + 0.5 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) for p in (fake, real))
    x, y = (p / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) for p in (x, y))
    expected, relus, pools = torch.zeros(()), 0, 0
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            relus, pools = 0, pools + 1
        x, y = layer(x.clone()), layer(y.clone())
        if isinstance(layer, nn.ReLU):
            relus += 1
            if relus == 1:  # relu1_1, 2_1, ..., with weights 1/32, 1/16, 1/8, 1/4, 1
                expected += (x - y).abs().mean() * [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1][pools]
    fake.requires_grad_()
    loss = PerceptualLoss(features)(fake, real)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert fake.grad.abs().sum() > 0
    assert PerceptualLoss(features)(real, real) == 0


def test_without_a_file_it_is_off_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert load_perceptual_loss(None) is None
    assert [record.message for record in caplog.records] == [
        "perceptual loss: off, as no VGG19 weights file is given (--vgg-weights)"
    ]


def test_weights_are_read_from_a_local_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg19(weights=None).state_dict().items() if "features" in key}
    state = {key: torch.full(shape, 0.001 * index) for index, (key, shape) in enumerate(shapes.items())}
    save_file({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg.safetensors")
    loss = load_perceptual_loss(tmp_path / "vgg.safetensors")
    loaded = [parameter.flatten()[0].item() for parameter in loss.parameters()]
    assert loaded == pytest.approx([0.001 * index for index in range(26)])  # the 13 convolutions up to relu5_1
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_perceptual_loss(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="cannot be read"):
        load_perceptual_loss(tmp_path / "text.pth")
    torch.save({0: torch.zeros(1)}, tmp_path / "numbered.pth")
    with pytest.raises(InputError, match="does not hold a state dict"):
        load_perceptual_loss(tmp_path / "numbered.pth")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"VGG19 weights \S+ is of another network: it lacks"):
        load_perceptual_loss(tmp_path / "other.safetensors")
