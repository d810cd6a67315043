"""The ablations of the SPADE decoder: concatenation, width, kernel, and a random vector as input."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from pipeline.config import ConcatSettings, GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.concat import ConcatGenerator
from pipeline.networks.generator import Generator

ADE20K = LabelSpace(classes=tuple(map(str, range(150))), dont_care=255)
SPACE = LabelSpace(classes=tuple("abc"), instance_edges=True)


@pytest.mark.parametrize(
    ("network", "fields", "millions"),
    [
        (Generator, {}, 96.49),  # the paper's 96M
        (Generator, {"channels": 48}, 60.64),  # compact, 61M
        (Generator, {"channels": 80}, 140.68),  # 141M
        (Generator, {"kernel_size": 1}, 71.3),
        (Generator, {"kernel_size": 5}, 146.9),
        (Generator, {"style_dim": 256, "style_encoder": False}, 111.9),  # a random vector as input
        (ConcatGenerator, {}, 79.25),  # 79M
    ],
)
def test_parameters_for_ade20k(network: type[Generator], fields: dict[str, Any], millions: float) -> None:
    """Tables 3 and 4, at 256x256."""
    with torch.device("meta"):
        settings = ConcatSettings if network is ConcatGenerator else GeneratorSettings
        generator = network(settings(**fields), ADE20K, height=256, width=256)
    digits = len(str(millions).partition(".")[2])
    assert round(sum(parameter.numel() for parameter in generator.parameters()) / 1e6, digits) == millions


def generator_of(statistics: str) -> tuple[ConcatGenerator, torch.Tensor]:
    torch.manual_seed(0)
    settings = ConcatSettings(channels=2, statistics=statistics)
    generator = ConcatGenerator(settings, SPACE, height=64, width=96).double()
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return generator, torch.randint(1, SPACE.codes, (2, 64, 96), dtype=torch.int32)


@pytest.mark.parametrize("statistics", ["batch", "sync_batch", "instance"])
@torch.no_grad()
def test_every_convolution_of_the_blocks_sees_the_label_map(statistics: str) -> None:
    """Each one's weights for labels matter by themselves, with those of all others, and the first layer, at 0."""
    generator, codes = generator_of(statistics)
    names = [name for name, _ in generator.named_parameters() if re.search(r"blocks.*conv_.*original", name)]
    assert len(names) == 2 * 7 + 4
    weights = dict(generator.named_parameters())
    kept = {name: weights[name][:, -SPACE.channels :].clone() for name in names}
    for name in names:
        weights[name][:, -SPACE.channels :] = 0
    weights["first.weight"].zero_()
    other = codes.flip(0)
    blind = generator.eval()(codes)
    torch.testing.assert_close(generator(other), blind, atol=1e-12, rtol=0)
    for name in names:
        weights[name][:, -SPACE.channels :] = kept[name]
        assert (generator(other) - generator(codes)).abs().max() > 1e-6, name
        weights[name][:, -SPACE.channels :] = 0


def test_its_norms_are_learned_and_it_trains() -> None:
    generator, codes = generator_of("batch")
    generator(codes).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in generator.named_parameters()}
    assert all(gradient.abs().max() > 0 for name, gradient in gradients.items() if ".norm_" in name)
    wide = ConcatGenerator(ConcatSettings(channels=2, upsampling="most"), SPACE, height=128, width=128)
    assert {"blocks.0.norm_0.weight", "blocks.7.norm_shortcut.running_var"} <= set(wide.state_dict())
    assert torch.equal(wide.blocks[0].norm_0.weight, torch.ones(32))  # scales begin at 1, not at 0
