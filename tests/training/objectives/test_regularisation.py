"""LeCam and R1 by hand, and R1's gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline.config import DiscriminatorSettings, LossSettings, Recipe
from pipeline.labels import LabelSpace
from training.data.dataset import BatchLoader, RecordDataset
from training.objectives.objectives import build_objectives
from training.objectives.patch_discriminator import Discriminator
from training.objectives.regularisation import LeCam, r1_penalty
from training.objectives.segmentation_discriminator import SegmentationDiscriminator
from training.state import TrainingState
from training.worker import Worker

Make = Callable[..., Recipe]


def test_lecam_by_hand() -> None:
    lecam = LeCam(scales=2)
    of_fake = [torch.tensor([[[[-1.0, -3.0]]]]), torch.tensor([[[[1.0]]]])]
    of_real = [torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[5.0]]]])]
    # The anchors begin at 0: ((4 + 0) / 2 + (1 + 9) / 2 + 25 + 1) / 2
    assert lecam(of_fake, of_real).item() == pytest.approx((2 + 5 + 26) / 2)
    lecam.update(torch.tensor([-2.0, 1.0]), torch.tensor([1.0, 5.0]))  # their means
    assert lecam.fake.tolist() == pytest.approx([-0.02, 0.01])
    assert lecam.real.tolist() == pytest.approx([0.01, 0.05])
    # Photographs are pulled to the fakes' anchor, fakes to the photographs'.
    first = ((2 + 0.02) ** 2 + 0.02**2) / 2 + ((-1 - 0.01) ** 2 + (-3 - 0.01) ** 2) / 2
    second = (5 - 0.01) ** 2 + (1 - 0.05) ** 2
    assert lecam(of_fake, of_real).item() == pytest.approx((first + second) / 2)
    assert set(lecam.state_dict()) == {"fake", "real"}


def test_r1_of_a_score_that_is_known() -> None:
    """Scores a * x at each of two pixels, and at another scale b * x at one of them, squared."""
    x = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]], requires_grad=True)
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0)
    penalty = r1_penalty([a * x, b * x[..., :1] ** 2], x)
    # A picture's score is (a (x0 + x1) / 2 + b x0^2) / 2, its gradient (a / 4 + b x0, a / 4).
    expected = sum((0.5 + 3 * x0) ** 2 + 0.5**2 for x0 in (1, 3)) / 2 / 2
    assert penalty.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(penalty, a)
    assert gradient.item() == pytest.approx(sum((0.5 + 3 * x0) / 4 + 0.5 / 4 for x0 in (1, 3)) / 2)


@pytest.mark.parametrize("kind", ["patchgan", "segmentation"])
def test_r1_is_differentiable_in_the_weights(kind: str) -> None:
    space = LabelSpace(classes=("a", "b"))
    settings = DiscriminatorSettings(kind=kind, channels=2, layers=2, scales=1)
    torch.manual_seed(0)
    network = (SegmentationDiscriminator if kind == "segmentation" else Discriminator)(settings, space).double().eval()
    codes = torch.randint(1, space.codes, (2, 8, 8), dtype=torch.int32)
    weights = LossSettings(feature_matching=0)
    real = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def penalty() -> torch.Tensor:
        (round_,) = build_objectives(network, [codes], [torch.arange(2)], weights)
        _, scores = round_.discriminator_terms(network, torch.zeros_like(real), real)
        return r1_penalty(scores.real, real)

    penalty().backward()
    checked = 0
    for parameter in network.parameters():
        if parameter.dim() < 4:
            continue
        index = int(parameter.grad.abs().argmax())
        # So small a step that no leaky ReLU changes sides, where the penalty jumps.
        flat, step = parameter.data.view(-1), 1e-8 * parameter.data.std()
        before = flat[index].item()
        values = []
        for sign in (1, -1):
            flat[index] = before + sign * step
            values.append(penalty().item())
        flat[index] = before
        slope = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close(parameter.grad.view(-1)[index], slope, rtol=1e-4, atol=1e-12)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("kind", ["patchgan", "segmentation"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_r1_has_its_turn_every_so_many_steps(tiny_recipe: Make, kind: str, precision: str) -> None:
    losses = {"r1": 2.0, "r1_every": 3, "feature_matching": 0}
    discriminator = {"kind": kind, "augment": ["colour", "translation"]}
    recipe = tiny_recipe(losses=losses, discriminator=discriminator, precision=precision)
    state = TrainingState(recipe, Worker(), None)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    values = [float(state.step(next(batches), step)["discriminator/r1"]) for step in range(6)]
    batches.close()
    assert [value > 0 for value in values] == [True, False, False, True, False, False]


@pytest.mark.parametrize("every", [1, 3])
def test_r1_weighs_what_was_left_out_in_between(tiny_recipe: Make, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """A term is weight times period times penalty, so that its mean over steps is weight times penalty."""
    recipe = tiny_recipe(losses={"r1": 2.0, "r1_every": every, "feature_matching": 0})
    state = TrainingState(recipe, Worker(), None)
    photographs = []

    def penalty(of_real: list[torch.Tensor], real: torch.Tensor) -> torch.Tensor:
        photographs.append(real)
        value = r1_penalty(of_real, real)
        return value - value.detach() + 0.25

    monkeypatch.setattr("training.step.r1_penalty", penalty)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    values = [float(state.step(next(batches), step)["discriminator/r1"]) for step in range(5)]
    batches.close()
    due = [step % every == 0 for step in range(5)]
    assert values == [2.0 * every * 0.25 if turn else 0 for turn in due]
    assert len(photographs) == sum(due)
    assert all(real.requires_grad for real in photographs)


def test_r1_sharpens_the_loss_by_its_term(tiny_recipe: Make) -> None:
    """The gradients with R1, less those without it, are those of weight times period times penalty."""
    gradients = []
    for losses in ({"r1": 0.0}, {"r1": 0.5, "r1_every": 4}, {"r1": 2.0, "r1_every": 1}, {"r1": 1.0, "r1_every": 4}):
        recipe = tiny_recipe(losses={"feature_matching": 0, **losses})
        state = TrainingState(recipe, Worker(), None)
        batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
        state.step(next(batches), 0)
        batches.close()
        gradients.append(torch.cat([value.grad.flatten() for value in state.step.bare_discriminator.parameters()]))
    plain, quarter, one, double = gradients
    assert (quarter - plain).norm() > 1e-6
    torch.testing.assert_close(quarter, one)  # 0.5 * 4 is 2 * 1
    torch.testing.assert_close(double - plain, 2 * (quarter - plain), rtol=1e-3, atol=1e-6)


def test_lecam_follows_the_scores_of_training(tiny_recipe: Make) -> None:
    recipe = tiny_recipe(losses={"lecam": 0.1})
    state = TrainingState(recipe, Worker(), None)
    assert state.step.lecam is not None and len(state.step.lecam.fake) == recipe.discriminator.scales
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    terms = [state.step(next(batches), step) for step in range(3)]
    batches.close()
    assert all(entry["discriminator/lecam"] > 0 for entry in terms)
    assert (state.step.lecam.real != 0).all() and (state.step.lecam.fake != 0).all()
