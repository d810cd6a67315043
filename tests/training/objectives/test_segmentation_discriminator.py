"""The discriminator of OASIS: its targets by hand and against a plain twin, LabelMix, and which way it pushes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.utils import parametrize

from pipeline.config import DiscriminatorSettings, LossSettings, Recipe
from pipeline.labels import LabelSpace
from training.data.dataset import BatchLoader, RecordDataset
from training.objectives.objectives import build_objectives
from training.objectives.segmentation_discriminator import (
    IGNORED,
    ResidualBlock,
    SegmentationDiscriminator,
    balanced_targets,
    label_mix_mask,
    realness,
)
from training.state import TrainingState
from training.worker import Worker

SPACE = LabelSpace(classes=("a", "b", "c"), dont_care=255, instance_edges=True)
Make = Callable[..., Recipe]


def random_codes(count: int = 3, side: int = 16) -> torch.Tensor:
    """Blocks of all classes and don't-care, with instance edges; and blank pixels (code 0)."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(1, SPACE.codes, (count, side // 4, side // 4), generator=generator, dtype=torch.int32)
    codes = codes.repeat_interleave(4, 1).repeat_interleave(4, 2).contiguous()
    codes[:, :2] = 0
    return codes


def test_balanced_cross_entropy_by_hand() -> None:
    # Three pixels of a (one on an instance edge), one of b, none of c, one of don't-care, one blank.
    codes = torch.tensor([[[1, 2, 1], [3, 7, 0]]], dtype=torch.int32)
    targets = balanced_targets([codes], SPACE)[0]
    assert targets.classes.tolist() == [[[0, 0, 0], [1, IGNORED, IGNORED]]]
    # Mean over the two classes of each one's mean; fake: mean over four known pixels.
    assert targets.weights.tolist() == pytest.approx([1 / 6, 1 / 2, 0, 1 / 4])
    logits = torch.zeros(1, 4, 2, 3)
    logits[0, :, 0, 0] = torch.tensor([math.log(3), 0, 0, 0])  # probabilities 1/2, 1/6, 1/6, 1/6
    a, b = (math.log(2) + 2 * math.log(4)) / 3, math.log(4)
    assert targets.real_loss(logits).item() == pytest.approx((a + b) / 2)
    assert targets.fake_loss(logits).item() == pytest.approx((math.log(6) + 3 * math.log(4)) / 4)


def test_losses_are_the_plain_twin_and_leave_ignored_pixels_alone() -> None:
    codes = random_codes()
    logits = torch.randn(3, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    by_class: dict[int, list[torch.Tensor]] = {}
    fake = []
    probabilities = logits.log_softmax(1)
    for n, y, x in torch.cartesian_prod(torch.arange(3), torch.arange(16), torch.arange(16)).tolist():
        class_ = (int(codes[n, y, x]) - 1) // 2
        if 0 <= class_ < 3:
            by_class.setdefault(class_, []).append(-probabilities[n, class_, y, x])
            fake.append(-probabilities[n, 3, y, x])
    targets = balanced_targets([codes], SPACE)[0]
    real = torch.stack([torch.stack(values).mean() for values in by_class.values()]).mean()
    torch.testing.assert_close(targets.real_loss(logits), real, rtol=0, atol=1e-12)
    torch.testing.assert_close(targets.fake_loss(logits), torch.stack(fake).mean(), rtol=0, atol=1e-12)
    (targets.real_loss(logits) + targets.fake_loss(logits)).backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(1) > 0
    assert torch.equal(touched, targets.classes != IGNORED) and not touched.all()


def test_maps_without_a_known_pixel_cost_nothing() -> None:
    targets = balanced_targets([torch.tensor([[[0, 7]]], dtype=torch.int32)], SPACE)[0]
    logits = torch.randn(1, 4, 1, 2)
    assert targets.real_loss(logits) == targets.fake_loss(logits) == 0


def test_label_mix_follows_class_borders_and_the_seed() -> None:
    codes = random_codes(200)
    seeds = torch.arange(200)
    mask = label_mix_mask(codes, seeds, SPACE)
    assert mask.shape == (200, 1, 16, 16)
    classes = ((codes.long() - 1) // 2).clamp(min=0)
    for index in range(20):
        for class_ in classes[index].unique():
            assert len(mask[index, 0][classes[index] == class_].unique()) == 1
    assert 0.45 < mask.float().mean() < 0.55
    assert torch.equal(label_mix_mask(codes[50:], seeds[50:], SPACE), mask[50:])
    assert not torch.equal(label_mix_mask(codes, seeds + 1, SPACE), mask)


def test_blocks_resample_as_the_recipe_says() -> None:
    """With convolutions that pass on their input what is left is the resampling, twice: along the shortcut too."""
    picture = torch.tensor([0.0, 16, 48, 48]).view(1, 1, 1, 4).expand(1, 1, 4, 4).contiguous()
    expected = {
        ("up", "nearest"): [0, 0, 16, 16, 48, 48, 48, 48],
        ("up", "bilinear"): [0, 4, 12, 24, 40, 48, 48, 48],
        ("down", False): [8, 48],
        ("down", True): [12, 44],  # [1, 3, 3, 1] / 8, borders repeated
    }
    for (direction, how), row in expected.items():
        options = {"enlargement": how} if direction == "up" else {"blurs": how}
        block = ResidualBlock(1, 1, **options)
        for name in ("conv_0", "conv_1", "shortcut"):
            convolution = torch.nn.Conv2d(1, 1, 1, bias=False)
            torch.nn.init.ones_(convolution.weight)
            setattr(block, name, convolution)
        assert block(picture)[0, 0, 0].tolist() == [2 * value for value in row]


@pytest.mark.parametrize("layers", [2, 4])
def test_the_network_is_a_u_net(layers: int) -> None:
    """A logit for every class and fake at full size, from both far context and the very pixel."""
    torch.manual_seed(0)
    settings = DiscriminatorSettings(kind="segmentation", channels=8, layers=layers)
    network = SegmentationDiscriminator(settings, SPACE)
    pictures = torch.rand(2, 3, 32, 48, requires_grad=True)
    logits = network(pictures)
    assert logits.shape == (2, 4, 32, 48)
    (gradient,) = torch.autograd.grad(logits[0, :, 16, 20].square().sum(), pictures)
    assert gradient[1].abs().max() == 0  # pictures do not see one another
    reach = gradient[0].abs().sum(0)
    assert reach[16, 20] > 0
    assert (reach > 0).sum() >= (32 * 48 if layers == 4 else 20**2)
    normal = [name for name, module in network.named_modules() if parametrize.is_parametrized(module, "weight")]
    assert len(normal) == 2 * layers * 3  # all but the last, which makes logits


def test_realness_is_the_log_odds_of_not_fake() -> None:
    logits = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    fake = logits.softmax(1)[:, 3:]
    torch.testing.assert_close(realness(logits), torch.log((1 - fake) / fake))


def test_label_mix_is_no_cost_for_a_discriminator_that_scores_pixels_by_themselves() -> None:
    """Consistency by hand: a per-pixel network mixes as its inputs do; one that looks around does not."""
    codes = random_codes()
    network = SegmentationDiscriminator(DiscriminatorSettings(kind="segmentation", channels=4, layers=2), SPACE)
    weights = LossSettings(feature_matching=0, label_mix=3)
    (round_,) = build_objectives(network, [codes], [torch.arange(3)], weights)
    fake, real = torch.rand(2, 3, 3, 16, 16)
    pixelwise = torch.nn.Conv2d(3, 4, 1)
    terms, _ = round_.discriminator_terms(pixelwise, fake, real)
    assert terms["discriminator/label_mix"].item() == pytest.approx(0, abs=1e-12)
    around = torch.nn.Conv2d(3, 4, 3, padding=1)
    terms, scores = round_.discriminator_terms(around, fake, real)
    mask = label_mix_mask(codes, torch.arange(3), SPACE)
    consistent = torch.where(mask, around(real), around(fake))
    mixed = around(torch.where(mask, real, fake))
    torch.testing.assert_close(terms["discriminator/label_mix"], 3 * (mixed - consistent).square().mean())
    assert set(terms) == {"discriminator/fake", "discriminator/real", "discriminator/label_mix"}
    torch.testing.assert_close(scores.fake[0], realness(around(fake)))
    torch.testing.assert_close(scores.real[0], realness(around(real)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_step_teaches_both_players(tiny_recipe: Make, precision: str) -> None:
    """Played against photographs alone, the discriminator learns to tell classes and fakes within a few steps."""
    recipe = tiny_recipe(
        discriminator={"kind": "segmentation", "channels": 8},
        losses={"feature_matching": 0},
        precision=precision,
        learning_rate=1e-3,
    )
    state = TrainingState(recipe, Worker(), None)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    terms = [state.step(next(batches), step) for step in range(25)]
    batches.close()
    costs = [float(entry["discriminator/real"] + entry["discriminator/fake"]) for entry in terms]
    assert all(math.isfinite(cost) for cost in costs)
    assert sum(costs[-3:]) / 3 < 0.7 * costs[0]
    assert {name for name in terms[0] if not name.startswith("score/")} == {
        "generator/gan",
        *(f"discriminator/{name}" for name in ("fake", "real", "label_mix")),
    }
