"""What SPADE generalises (Sec. 3.1): Conditional BatchNorm, AdaIN, and normalisation without parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pipeline.config import GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.label_input import LabelInput
from pipeline.networks.normalise import parameter_free_norm
from pipeline.networks.spade import SPADE
from tests.golden.baselines import FOLDER, Golden, cases

SPACE = LabelSpace(classes=tuple("abcd"))


def layer_of(channels: int, statistics: str, kernel_size: int = 3) -> SPADE:
    torch.manual_seed(0)
    settings = GeneratorSettings(statistics=statistics, kernel_size=kernel_size, hidden=16)
    return SPADE(channels, settings, SPACE).double()


def one_class(classes: list[int], height: int, width: int, modulation: str) -> LabelInput:
    codes = 1 + 2 * torch.tensor(classes, dtype=torch.int32).view(-1, 1, 1).expand(-1, height, width)
    return LabelInput(codes, SPACE, modulation)


@pytest.mark.parametrize("modulation", ["dense", "pattern"])
@pytest.mark.parametrize("statistics", ["batch", "instance"])
@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_with_one_class_a_picture_it_is_the_conditional_norm(modulation: str, statistics: str, kernel: int) -> None:
    """One pair of gamma and beta a class, an embedding; but for the border, where windows reach outside."""
    classes, x = [2, 0, 3, 2], torch.randn(4, 5, 9, 8, dtype=torch.float64)
    layer = layer_of(5, statistics, kernel)
    # In the middle of a large map gamma and beta are those of the class.
    gammas, betas = layer.dense(F.one_hot(torch.arange(4), 4).double()[:, :, None, None].expand(-1, -1, 9, 9))
    embedded = [F.embedding(torch.tensor(classes), table[:, :, 4, 4])[..., None, None] for table in (gammas, betas)]
    norm = F.batch_norm(x, None, None, training=True) if statistics == "batch" else F.instance_norm(x)
    conditional = norm * (1 + embedded[0]) + embedded[1]
    output = layer(x, one_class(classes, 9, 8, modulation))
    inside = slice(None) if kernel == 1 else slice(2, -2)  # two convolutions of radius 1
    torch.testing.assert_close(output[..., inside, inside], conditional[..., inside, inside], atol=1e-12, rtol=0)
    if kernel == 3:
        assert (output - conditional)[..., 1, :].abs().max() > 0.01


@pytest.mark.parametrize("path", cases(["special_cases/spade_uniform"]))
@pytest.mark.parametrize("modulation", ["dense", "pattern"])
@pytest.mark.parametrize("statistics", ["batch", "instance"])
@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_the_public_layer_is_the_conditional_norm_too(
    path: Path, modulation: str, statistics: str, kernel: int
) -> None:
    golden = Golden(path).below(f"{statistics}/kernel{kernel}/")
    space = LabelSpace(classes=tuple("abcde"))
    layer = SPADE(6, GeneratorSettings(statistics=statistics, kernel_size=kernel, hidden=128), space)
    names = {"shared": "mlp_shared.0", "gamma": "mlp_gamma", "beta": "mlp_beta"}
    for name, theirs in names.items():
        conv = getattr(layer, name)
        conv.weight.copy_(golden[f"state/{theirs}.weight"])
        conv.bias.copy_(golden[f"state/{theirs}.bias"])
    label = golden["label"][:, 0].int()
    output = layer(golden["x"], LabelInput(1 + 2 * label, space, modulation))
    torch.testing.assert_close(output, golden["output"], atol=1e-5, rtol=0)
    norm = (
        F.batch_norm(golden["x"], None, None, training=True) if statistics == "batch" else F.instance_norm(golden["x"])
    )
    chosen = label[:, 0, 0].long()
    gamma, beta = (golden[f"{part}_of_class"][chosen][..., None, None] for part in ("gamma", "beta"))
    inside = slice(None) if kernel == 1 else slice(2, -2)
    conditional = norm * (1 + gamma) + beta
    torch.testing.assert_close(output[..., inside, inside], conditional[..., inside, inside], atol=1e-5, rtol=0)


def as_adain(layer: SPADE, style: torch.Tensor) -> None:
    """gamma = sigma(style) - 1 and beta = mu(style) at every pixel, whatever the label map; `[1, C, H, W]`."""
    for conv, value in (
        (layer.gamma, (style.var((0, 2, 3), correction=0) + 1e-5).sqrt() - 1),
        (layer.beta, style.mean((0, 2, 3))),
    ):
        conv.weight.zero_()
        conv.bias.copy_(value)


@pytest.mark.parametrize("statistics", ["batch", "instance"])
@torch.no_grad()
def test_with_a_style_at_every_pixel_it_is_adain(statistics: str) -> None:
    golden = Golden(FOLDER / "special_cases/adain.safetensors")
    x, style = golden["x"].double(), golden["style"].double()
    layer = layer_of(7, statistics)
    as_adain(layer, style)
    torch.testing.assert_close(layer.gamma.bias, golden["gamma"].flatten().double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(layer.beta.bias, golden["beta"].flatten().double(), atol=1e-6, rtol=0)
    output = layer(x, one_class([1], 9, 11, "pattern"))
    torch.testing.assert_close(output, golden["output"].double(), atol=1e-6, rtol=0)
    # By another formula, of Huang and Belongie 2017, Eq. 8.
    sigma, mu = (style.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt(), style.mean((2, 3), keepdim=True)
    content = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(output, sigma * content + mu, atol=1e-12, rtol=0)
    # Batch statistics of several pictures are not those of each.
    several = torch.cat([x, 3 * x.flip(2) + 1])
    alone = torch.cat([layer(each[None], one_class([1], 9, 11, "pattern")) for each in several])
    together = layer(several, one_class([1, 1], 9, 11, "pattern"))
    assert torch.allclose(together, alone, atol=1e-12) == (statistics == "instance")


@pytest.mark.parametrize("modulation", ["dense", "pattern"])
@torch.no_grad()
def test_without_modulation_it_is_the_plain_norm(modulation: str) -> None:
    layer = layer_of(5, "batch")
    for conv in (layer.gamma, layer.beta):
        conv.weight.zero_()
        conv.bias.zero_()
    x = torch.randn(2, 5, 6, 8, dtype=torch.float64)
    expected = parameter_free_norm(5, "batch").double()(x)
    torch.testing.assert_close(layer(x, one_class([0, 3], 6, 8, modulation)), expected, atol=1e-12, rtol=0)
