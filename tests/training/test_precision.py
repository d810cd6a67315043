"""Half precision: what the log says of gradients, and that infinite ones change nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline.config import Recipe
from training.data.dataset import BatchLoader, RecordDataset
from training.metrics import MetricLogger
from training.state import TrainingState
from training.worker import Worker

Make = Callable[..., Recipe]


def first_step(recipe: Recipe, *, scale: float = 2.0**10) -> tuple[TrainingState, dict[str, float]]:
    """The state after one step, and the gradient norms that are logged; `scale` is that of fp16's losses."""
    state = TrainingState(recipe, Worker(), None)
    for optimiser in (state.step.optimiser, state.step.discriminator_optimiser):
        if optimiser.scaler.is_enabled():
            optimiser.scaler.load_state_dict(optimiser.scaler.state_dict() | {"scale": scale})
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    metrics = MetricLogger(Worker(), 0)
    metrics.add(state.step(next(batches), 0))
    batches.close()
    return state, metrics.read(1, state)["gradient_norm"]


@pytest.mark.parametrize("kind", ["patchgan", "segmentation"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_gradient_norms_are_those_of_the_losses_unscaled(tiny_recipe: Make, kind: str, precision: str) -> None:
    fields = {"size": 64, "discriminator": {"kind": kind}, "losses": {"feature_matching": 0}}
    _, expected = first_step(tiny_recipe(**fields))
    _, found = first_step(tiny_recipe(**fields, precision=precision))
    assert set(found) == {"generator", "discriminator"}
    for network, norm in found.items():
        assert norm == pytest.approx(expected[network], rel=0.05)


def test_a_step_with_infinite_gradients_changes_no_weight_and_logs_no_norm(tiny_recipe: Make) -> None:
    recipe = tiny_recipe(size=64, precision="fp16")
    before = TrainingState(recipe, Worker(), None)
    state, norms = first_step(recipe, scale=2.0**60)
    assert norms == {}
    for optimiser, untouched in (
        (state.step.optimiser, before.step.optimiser),
        (state.step.discriminator_optimiser, before.step.discriminator_optimiser),
    ):
        assert all(map(torch.equal, optimiser.parameters, untouched.parameters))
        assert optimiser.scaler.get_scale() == 2.0**59
