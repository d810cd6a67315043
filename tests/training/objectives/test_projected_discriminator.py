"""The discriminator on a frozen encoder: its shape, who learns in a step, and what it asks for."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.config import DiscriminatorSettings, Recipe
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from training.data.dataset import BatchLoader, RecordDataset
from training.objectives.objectives import build_discriminator
from training.objectives.projected_discriminator import ProjectedDiscriminator
from training.objectives.trunk import Trunk
from training.state import TrainingState
from training.worker import Worker

SPACE = LabelSpace(classes=("a", "b", "c"), dont_care=255, instance_edges=True)
PROJECTED = {"discriminator": {"kind": "projected"}, "losses": {"feature_matching": 0, "r1": 1, "lecam": 0.1}}
Make = Callable[..., Recipe]


def small_trunk(*, enlarge: int = 1) -> Trunk:
    """Halves the resolution three times, and has two stages at a quarter, as dilated backbones do."""
    torch.manual_seed(1)
    stages = [
        nn.Sequential(nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.BatchNorm2d(after), nn.Hardswish(True))
        for before, after, stride in ((3, 4, 2), (4, 6, 2), (6, 8, 1), (8, 10, 2))
    ]
    return Trunk(stages, enlarge=enlarge)


@pytest.mark.parametrize(
    ("enlarge", "stages", "up"),
    [(1, {2: 0, 4: 2, 8: 3}, ["4", "2", "1"]), (2, {1: 0, 2: 2, 4: 3}, ["2", "1"]), (4, {1: 2, 2: 3}, ["1"])],
)
def test_it_is_a_decoder_of_the_last_map_of_each_resolution(enlarge: int, stages: dict, up: list[str]) -> None:
    torch.manual_seed(0)
    network = ProjectedDiscriminator(DiscriminatorSettings(channels=4), SPACE, small_trunk(enlarge=enlarge)).eval()
    assert network.stages == stages and list(network.up) == up and network.multiple == max(stages)
    pictures = torch.rand(2, 3, 32, 48, requires_grad=True)
    logits = network(pictures)
    assert logits.shape == (2, 4, 32, 48)
    (gradient,) = torch.autograd.grad(logits[0, :, 16, 20].square().sum(), pictures)
    assert gradient[1].abs().max() == 0 and gradient[0, :, 16, 20].abs().max() > 0
    # Every map that it names, and no other, has a say.
    for stage in range(4):
        changed = copy.deepcopy(network)
        hook = changed.trunk.stages[stage].register_forward_hook(lambda *given: given[2] * 1.5)
        maps = changed.trunk(pictures)
        hook.remove()
        mixed = network.trunk(pictures)
        mixed[stage] = maps[stage]
        changed.trunk.forward = lambda _, mixed=mixed: mixed  # type: ignore[method-assign]
        assert torch.equal(changed(pictures), logits) is (stage not in stages.values())


def test_a_step_leaves_the_encoder_alone_and_teaches_the_rest(tiny_recipe: Make) -> None:
    trunk = small_trunk()
    state = TrainingState(tiny_recipe(**PROJECTED, accumulate=2, statistics="instance", size=64), Worker(), None, trunk)
    network = state.step.bare_discriminator
    before = {name: value.clone() for name, value in network.state_dict().items()}
    terms = state.step(next(BatchLoader(RecordDataset(state.recipe.data.train, state.recipe)).batches()))
    assert terms["discriminator/r1"] > 0 and all(value.isfinite() for value in terms.values())
    frozen = {name for name in before if name.startswith("trunk.")}
    assert frozen and all(torch.equal(network.state_dict()[name], before[name]) for name in frozen)
    for name, parameter in network.named_parameters():
        assert (parameter.requires_grad, torch.equal(parameter, before[name])) == (name not in frozen, name in frozen)
    generator = state.step.bare_synthesis.generator
    assert generator.to_rgb.weight.grad.abs().max() > 0


def test_what_it_needs_is_said(tiny_recipe: Make) -> None:
    recipe = tiny_recipe(**PROJECTED)
    with pytest.raises(InputError, match="frozen backbone; give one with --trunk-weights"):
        build_discriminator(recipe)
    trunk = Trunk([nn.Conv2d(3, 4, 64, stride=64)])
    with pytest.raises(InputError, match="64 times smaller than pictures, which 32x32 is no multiple of"):
        build_discriminator(recipe, trunk)
    for field, message in (
        ({"losses": {}}, "a projected discriminator has no patch features to match; set it to 0"),
        ({"discriminator": {"kind": "projected", "downsampling": "blur"}}, "stays as it is; leave it out"),
    ):
        with pytest.raises(InputError, match=message):
            tiny_recipe(**(PROJECTED | field))
