"""Noise before normalisation: what is added where, and that it belongs to the image alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.config import GeneratorSettings
from pipeline.errors import InputError
from pipeline.networks.generator import Generator, layer_sizes
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.noise import noise_map
from pipeline.networks.spade import SPADE
from tests.pipeline.engines.cases import SPACE, label_maps, lively_generator


def layers_of(generator: Generator) -> list[SPADE]:
    return [module for module in generator.modules() if isinstance(module, SPADE)]


def test_a_layer_adds_a_number_a_pixel_times_a_scale_a_channel() -> None:
    generator = lively_generator(noise=True, statistics="instance")
    layer = layers_of(generator)[5]
    codes, seeds = label_maps(2), torch.tensor([7, 8])
    x = torch.randn(2, len(layer.noise_scale), 32, 64)
    label_input = generator.label_input(codes).with_seeds(seeds)
    with torch.no_grad():
        gamma, beta = layer.dense(label_input.one_hot_at(32, 64))
        noisy = x + layer.noise_scale.view(1, -1, 1, 1) * noise_map(seeds, 5, 32, 64)
        expected = F.instance_norm(noisy) * (1 + gamma) + beta
        torch.testing.assert_close(layer(x, label_input), expected, atol=1e-5, rtol=0)


def test_noise_belongs_to_the_seed_and_the_layer_and_is_normal() -> None:
    seeds = torch.tensor([1, 2, 3])
    fields = noise_map(seeds, 4, 32, 48)
    assert fields.shape == (3, 1, 32, 48) and fields.dtype == torch.float32
    for index in range(3):  # to the last bit, whatever is beside it
        assert torch.equal(noise_map(seeds[index : index + 1], 4, 32, 48), fields[index : index + 1])
    everything = torch.cat([fields, noise_map(seeds, 5, 32, 48)]).flatten(1)
    assert everything.mean(1).abs().max() < 0.1 and (everything.std(1) - 1).abs().max() < 0.05
    assert (torch.corrcoef(everything) - torch.eye(6)).abs().max() < 0.1
    neighbours = [(fields[..., 1:] * fields[..., :-1]).mean(), (fields[..., 1:, :] * fields[..., :-1, :]).mean()]
    assert max(abs(float(product)) for product in neighbours) < 0.05


@pytest.mark.parametrize("upsampling", ["normal", "more", "most"])
def test_layers_are_numbered_in_the_order_of_their_sizes(upsampling: str) -> None:
    settings = GeneratorSettings(channels=2, hidden=4, upsampling=upsampling, noise=True)
    generator = Generator(settings, SPACE, height=128, width=256)
    layers = layers_of(generator)
    sizes: dict[int, tuple[int, int]] = {}
    for layer in layers:
        layer.register_forward_pre_hook(
            lambda layer, inputs: sizes.__setitem__(layer.number, tuple(inputs[0].shape[2:]))
        )
    with torch.no_grad():
        generator(label_maps(1, (128, 256)), None, torch.tensor([1]))
    assert [sizes[number] for number in range(len(layers))] == layer_sizes(settings, (128, 256))


def test_scales_begin_at_0_and_old_weights_have_none() -> None:
    torch.manual_seed(0)
    plain = Generator(GeneratorSettings(channels=2, hidden=8), SPACE, height=32, width=64).eval()
    torch.manual_seed(0)
    noisy = Generator(GeneratorSettings(channels=2, hidden=8, noise=True), SPACE, height=32, width=64).eval()
    added = noisy.state_dict().keys() - plain.state_dict().keys()
    assert added and all(name.endswith(".noise_scale") for name in added)
    codes = label_maps(2)
    with torch.no_grad():
        assert torch.equal(noisy(codes, None, torch.tensor([1, 2])), plain(codes))


@pytest.mark.parametrize("style_dim", [0, 5])
def test_samples_of_one_map_are_those_of_each_alone(style_dim: int) -> None:
    generator = lively_generator(noise=True, style_dim=style_dim)
    codes, seeds = label_maps(1), torch.tensor([3, 4, 5])
    z = torch.randn(1, 5).expand(3, -1) if style_dim else None
    folded = FoldedGenerator(generator)
    label_input = folded.label_input(codes)
    together = folded(label_input, z, seeds)
    assert (together[0] - together[1]).abs().mean() > 0.02
    for index in range(3):
        alone = slice(index, index + 1)
        found = folded(label_input, None if z is None else z[alone], seeds[alone])
        torch.testing.assert_close(found, together[alone], atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(generator(codes, z, seeds), together, atol=1e-5, rtol=0)


def test_a_generator_with_noise_wants_seeds() -> None:
    with pytest.raises(InputError, match="takes a seed for each picture, and got none"):
        lively_generator(noise=True)(label_maps(1))
