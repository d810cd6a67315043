"""A style for each class or instance: what pixels see, that windows stay few, and that all paths agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.labels import LabelSpace, encode, one_hot, split_codes
from pipeline.networks.generator import Generator
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import region_styles
from tests.pipeline.engines.cases import SPACE, label_maps, lively_generator

PLAIN = LabelSpace(classes=("sky", "sea", "car"))


def boxes(count: int = 2) -> torch.Tensor:
    """Codes with regions, `[count, 64, 96]`: two objects of class 2 touching each other, one of class 3, on class 0."""
    found = []
    for shift in range(count):
        label, instance = np.zeros((64, 96), np.uint8), np.zeros((64, 96), np.uint16)
        label[8:40, 8:56], label[44:60, 40 + shift : 70] = 2, 3
        instance[8:40, 8:30], instance[8:40, 30:56], instance[44:60, 40 + shift : 70] = 500, 7, 500
        found.append(torch.from_numpy(encode(label, instance, SPACE, regions=True)))
    return torch.stack(found)


def generators(region: str) -> tuple[Generator, Generator]:
    """The same weights with patterns and without, in float64."""
    settings = {"style_dim": 3, "style_input": "everywhere", "style_encoder": False, "region_styles": region}
    made = [lively_generator((64, 96), modulation=how, noise=True, **settings).double() for how in ("pattern", "dense")]
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


def test_regions_are_pairs_of_class_and_instance_in_their_order() -> None:
    label = np.array([[2, 2, 1, 0], [2, 2, 1, 0]], np.uint8)
    instance = np.array([[9, 4, 4, 4], [9, 4, 4, 4]], np.uint16)
    codes, regions = split_codes(encode(label, instance, PLAIN, regions=True), PLAIN)
    assert np.array_equal(codes, encode(label, None, PLAIN))
    assert regions.tolist() == [[3, 2, 1, 0]] * 2
    plain, nothing = split_codes(encode(label, None, PLAIN), PLAIN)
    assert np.array_equal(plain, encode(label, None, PLAIN)) and not nothing.any()
    blank = torch.tensor([[0, 1, 6]])  # as augmentation leaves it
    assert split_codes(blank, PLAIN)[0].tolist() == blank.tolist()
    with pytest.raises(InputError, match="generator has a style for each instance, but the record has no instance map"):
        encode(label, None, PLAIN, regions=True)


@pytest.mark.parametrize("region", ["class", "instance"])
def test_each_pixel_sees_the_style_of_its_region(region: str) -> None:
    """The hidden layer by hand: the one-hot map and, beside it, the style planes."""
    generator, _ = generators(region)
    codes = boxes() if region == "instance" else label_maps(2, (64, 96))
    plain, numbers = split_codes(codes, SPACE)
    if region == "class":
        numbers = (plain - 1) // 2
    z = torch.randn(2, int(numbers.max()) + 1 if region == "instance" else 6, 3, dtype=torch.float64)
    label_input = generator.label_input(codes).with_styles(z)
    assert label_input.region_count == z.shape[1]
    planes = torch.stack([each[number.long()].permute(2, 0, 1) for each, number in zip(z, numbers, strict=True)])
    layer = generator.blocks[2].norm_0
    x = torch.randn(2, len(layer.gamma.bias), 64, 96, dtype=torch.float64)
    layer.noise_scale = None
    with torch.no_grad():
        gamma, beta = layer.dense(torch.cat([one_hot(plain, SPACE, torch.float64), planes], dim=1))
        torch.testing.assert_close(layer(x, label_input), layer.norm(x) * (1 + gamma) + beta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("region", ["class", "instance"])
def test_all_paths_agree_and_a_picture_is_what_it_is_alone(region: str) -> None:
    pattern, dense = generators(region)
    codes = boxes() if region == "instance" else label_maps(2, (64, 96))
    seeds = torch.tensor([3, 4])
    count = pattern.label_input(codes).region_count
    z = region_styles(seeds, count, 3).double()
    # Gradients too, and statistics of the batch.
    outputs = []
    for generator in (pattern, dense):
        out = generator.train()(codes, z, seeds)
        out.square().mean().backward()
        outputs.append(out.detach())
        generator.eval()
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    ours, theirs = (generator.blocks[4].norm_1.shared.weight.grad for generator in (pattern, dense))
    assert (ours - theirs).norm() < 1e-10 * theirs.norm()
    folded = FoldedGenerator(pattern, torch.float64)
    with torch.no_grad():
        pictures = dense(codes, z, seeds)
        torch.testing.assert_close(pattern(codes, z, seeds), pictures, rtol=0, atol=1e-12)
        torch.testing.assert_close(folded(codes, z, seeds), pictures.float(), rtol=0, atol=1e-6)
        for index in range(2):
            one = slice(index, index + 1)
            torch.testing.assert_close(pattern(codes[one], z[one], seeds[one]), pictures[one], rtol=0, atol=1e-12)
        # Several styles of one label map; and one style for all regions is that style for the picture.
        several = folded(folded.label_input(codes[:1]), z, seeds)
        torch.testing.assert_close(several, pattern(codes[:1], z, seeds).float(), rtol=0, atol=1e-6)
        assert (several[0] - several[1]).abs().mean() > 0.01
        same = pattern(codes, z[:, :1].expand(-1, count, -1), seeds)
        torch.testing.assert_close(same, pattern(codes, z[:, 0], seeds), rtol=0, atol=1e-12)


def test_windows_stay_few() -> None:
    """Of classes they are those of the label map; of instances, in the interior of each one more."""
    codes, regions = split_codes(boxes(1), SPACE)
    plain = LabelInput(codes, SPACE, "pattern")
    by_class = plain.with_styles(torch.randn(1, 6, 3))
    assert by_class.patterns_at(64, 96, 3) is plain.patterns_at(64, 96, 3)
    by_instance = LabelInput(codes, SPACE, "pattern", regions=regions).with_styles(torch.randn(1, 4, 3))
    few, more = (len(found.patterns_at(64, 96, 3).windows) for found in (plain, by_instance))
    assert few < more < 1.5 * few < 0.1 * 64 * 96


def test_a_regions_style_belongs_to_the_seed_and_its_number() -> None:
    seeds = torch.tensor([5, 6])
    z = region_styles(seeds, 40, 16)
    assert z.shape == (2, 40, 16)
    assert torch.equal(region_styles(seeds[1:], 7, 16), z[1:, :7])
    assert abs(z.mean()) < 0.1 and abs(z.std() - 1) < 0.1
    assert (torch.corrcoef(z.flatten(0, 1)).fill_diagonal_(0)).abs().mean() < 0.3
