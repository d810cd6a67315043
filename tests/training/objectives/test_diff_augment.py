"""DiffAugment against plain loops: pictures and label maps move together, by the record's seed, with gradients."""

from __future__ import annotations

import pytest
import torch

from pipeline.config import DiscriminatorSettings
from pipeline.labels import LabelSpace
from pipeline.runtime.counter_based import uniforms
from training.objectives.diff_augment import Augmentation
from training.objectives.patch_discriminator import Discriminator

SEEDS = torch.arange(40) * 17
HEIGHT, WIDTH = 16, 24


def pictures(count: int = len(SEEDS)) -> torch.Tensor:
    return torch.rand(count, 3, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1


def test_nothing_asked_for_changes_nothing() -> None:
    x = pictures()
    assert torch.equal(Augmentation((), SEEDS).pictures(x), x)


def test_translation_and_cutout_are_the_plain_ones() -> None:
    x = pictures()
    codes = torch.randint(1, 9, (len(SEEDS), HEIGHT, WIDTH), dtype=torch.int32)
    draws = uniforms(SEEDS, "augment", 7).tolist()
    both = Augmentation(("translation", "cutout"), SEEDS)
    moved, moved_codes = both.pictures(x), both.codes(codes)
    shifts = set()
    for n, (*_, down, right, middle_y, middle_x) in enumerate(draws):
        dy, dx = int(down * 5) - 2, int(right * 7) - 3  # an eighth of 16 is 2, of 24 is 3
        shifts.add((dy, dx))
        top, left = int(middle_y * HEIGHT) - 4, int(middle_x * WIDTH) - 6
        for y in range(HEIGHT):
            for x_ in range(WIDTH):
                inside = 0 <= y - dy < HEIGHT and 0 <= x_ - dx < WIDTH
                if not inside or (top <= y < top + 8 and left <= x_ < left + 12):
                    assert not moved[n, :, y, x_].any() and moved_codes[n, y, x_] == 0
                else:
                    assert torch.equal(moved[n, :, y, x_], x[n, :, y - dy, x_ - dx])
                    assert moved_codes[n, y, x_] == codes[n, y - dy, x_ - dx]
    assert len({dy for dy, _ in shifts}) == 5 and len({dx for _, dx in shifts}) == 7


def test_colours_by_hand() -> None:
    x = pictures(1)
    brightness, saturation, contrast = uniforms(SEEDS[:1], "augment", 7)[0, :3].double()
    expected = x + brightness - 0.5
    grey = (expected[:, 0] + expected[:, 1] + expected[:, 2]) / 3
    expected = grey[:, None] + (expected - grey[:, None]) * 2 * saturation
    expected = expected.mean() + (expected - expected.mean()) * (0.5 + contrast)
    augmentation = Augmentation(("colour",), SEEDS[:1])
    torch.testing.assert_close(augmentation.pictures(x), expected)
    codes = torch.ones(1, HEIGHT, WIDTH, dtype=torch.int32)
    assert torch.equal(augmentation.codes(codes), codes)


def test_a_record_is_changed_alike_in_any_batch_and_by_itself() -> None:
    kinds = ("colour", "translation", "cutout")
    x = pictures()
    whole = Augmentation(kinds, SEEDS).pictures(x)
    torch.testing.assert_close(Augmentation(kinds, SEEDS[30:]).pictures(x[30:]), whole[30:])
    assert not torch.allclose(Augmentation(kinds, SEEDS + 1).pictures(x), whole)


def test_gradients_go_through() -> None:
    augmentation = Augmentation(("colour", "translation", "cutout"), SEEDS[:2])
    x = pictures(2)[:, :, :8, :8].clone().requires_grad_()
    assert torch.autograd.gradcheck(augmentation.pictures, x)


@pytest.mark.parametrize("dense", [True, False])
def test_blank_label_maps_are_no_label_at_all(dense: bool) -> None:
    """Where augmentation has blanked everything the patch discriminator sees zeros for labels, at every scale."""
    space = LabelSpace(classes=("a", "b"), instance_edges=True)
    network = Discriminator(DiscriminatorSettings(channels=4, scales=3, layers=2), space).double().eval()
    blank = network(torch.zeros(1, 32, 32, dtype=torch.int32), torch.zeros(1, 3, 32, 32).double(), dense=dense)
    for layers, discriminator in zip(blank, network.scales, strict=True):
        bias = torch.nn.functional.leaky_relu(discriminator.first.bias, 0.2).view(1, -1, 1, 1)
        torch.testing.assert_close(layers[0], bias.expand_as(layers[0]))
