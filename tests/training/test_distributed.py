"""Two workers are one worker with the doubled batch: losses, gradients, running statistics and weights.

So are parts of a batch that go through one after the other, where each image has its own statistics.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import Recipe
from pipeline.networks.normalise import SynchronisedBatchNorm2d
from pipeline.runtime.collectives import average_gradients, seconds_waited
from training.data.batch import Batch
from training.data.dataset import BatchLoader, RecordDataset
from training.loop import TrainingState, Worker
from training.objectives.perceptual_regression import PerceptualRegression
from training.objectives.trunk import Trunk

pytestmark = pytest.mark.slow

Make = Callable[..., Recipe]

STEPS = 10
NORM_ERRORS = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 6e-3, torch.float16: 1e-3}
"""Of the largest value: a rounding of the type."""


def steps(recipe: Recipe, worker: Worker) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Ten steps in float64: the losses (means over the workers), and all that training changes."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        regression = PerceptualRegression(Trunk([]), [1.0]) if recipe.generator.kind == "crn" else None
        buckets: dict[int, int] = {}

        def counted(workers, bucket):  # type: ignore[no-untyped-def] # DDP reads annotations, and not as strings
            network = min(map(id, bucket.parameters()))  # their order changes
            buckets[network] = buckets.get(network, 0) + 1
            return average_gradients(workers, bucket)

        with mock.patch("training.worker.average_gradients", counted):
            state = TrainingState(recipe, worker, regression)
        waited = seconds_waited()
        data = BatchLoader(RecordDataset(recipe.data.train, recipe), rank=worker.rank, workers=worker.count)
        batches = data.batches()
        for optimiser in state.step.optimisers.values():
            # Adam moves a weight by the learning rate even where its gradient is only rounding error; not with this.
            optimiser.adam.param_groups[0]["eps"] = 1e-6
        losses = []
        for step in range(STEPS):
            batch = next(batches)
            terms = state.step(Batch(batch.codes, batch.pictures.double(), batch.noise.double(), batch.seeds), step)
            losses.append(worker.mean(torch.stack(list(terms.values()))))
        batches.close()
    finally:
        torch.set_default_dtype(torch.float32)
    # One bucket of gradients a step for each network, however many parts the batch has.
    assert list(buckets.values()) == ([STEPS] * len(state.step.optimisers) if worker.count > 1 else [])
    assert (seconds_waited() > waited) == (worker.count > 1)
    networks = {"synthesis": state.step.bare_synthesis, **state.step.networks}
    found = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    for name, net in networks.items():
        # Of the global generator's own last layer, which the last stage does not use, there are none.
        parameters = {key: value for key, value in net.named_parameters() if "coarse_last" not in key}
        found |= {f"{name}.{key}.grad": value.grad for key, value in parameters.items()}
    return losses, found


def one_of_two(rank: int, recipes: list[Recipe], port: int, out: Path) -> None:
    """A worker process; the leading one saves what it found for each recipe."""
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    found = [steps(recipe, Worker(rank, 2)) for recipe in recipes]
    if rank == 0:
        torch.save(found, out)
    torch.save(normalised(rank), out.with_suffix(f".norms{rank}"))
    torch.save(gradients_with_and_without_the_hook(rank), out.with_suffix(f".hook{rank}"))
    dist.destroy_process_group()


def batches_to_normalise(dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Pictures of two workers, one of the first and three of the second, and gradients with a mean of their own."""
    random = torch.Generator().manual_seed(0)
    x, gradient = torch.randn(2, 4, 3, 6, 5, generator=random, dtype=torch.float64)
    scale = torch.tensor([1.0, 0.5, 30.0], dtype=torch.float64).view(3, 1, 1)
    x, gradient = (x * scale + 3 * scale).to(dtype), (gradient + 4).to(dtype)
    return [x[:1], x[1:]], [gradient[:1], gradient[1:]]


def normalised(rank: int) -> list[tuple[torch.Tensor, ...]]:
    """Output, gradients and running statistics of a norm over two workers, for each type and layout."""
    found = []
    for dtype in NORM_ERRORS:
        for layout in (torch.contiguous_format, torch.channels_last):
            xs, gradients = batches_to_normalise(dtype)
            norm = SynchronisedBatchNorm2d(3).to(torch.float64 if dtype == torch.float64 else torch.float32)
            x = xs[rank].to(memory_format=layout).requires_grad_()
            output = norm(x)
            output.backward(gradients[rank])  # its layout is another one
            assert (output.dtype, x.grad.dtype) == (dtype, dtype)
            found.append(
                (output.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var)
            )
    return found


def gradients_with_and_without_the_hook(rank: int) -> list[torch.Tensor]:
    """Those of a small network in several buckets, after a step that reduces and one that only adds up."""
    found = []
    for hook in (False, True):
        torch.manual_seed(0)
        network = DistributedDataParallel(
            nn.Sequential(*(nn.Conv2d(8, 8, 3) for _ in range(6))), bucket_cap_mb=0.002, gradient_as_bucket_view=True
        )
        if hook:
            network.register_comm_hook(2, average_gradients)
        random = torch.Generator().manual_seed(rank)
        with network.no_sync():
            network(torch.randn(2, 8, 16, 16, generator=random)).square().mean().backward()
        network(torch.randn(2, 8, 16, 16, generator=random)).square().mean().backward()
        found.append(torch.cat([value.grad.flatten() for value in network.parameters()]))
    return found


@pytest.fixture(scope="module")
def recipes(tiny_recipe: Make) -> list[Recipe]:
    """One of each kind. Not 32x32, where first feature maps have one pixel and may have no variance."""
    in_parts = {"size": 64, "style_dim": 3, "statistics": "instance", "accumulate": 2}
    regularised = {"lecam": 0.1, "r1": 1.0, "r1_every": 3, "feature_matching": 0}
    augment = ["colour", "translation", "cutout"]
    judged = {"kind": "segmentation", "augment": augment, "detail": True}
    segmentation = {"losses": regularised, "discriminator": judged}
    noise = {"noise": True, "enlargement": "bilinear"}
    hourglass = {"channels": 2, "downsamplings": 2, "blocks": 1}
    crn = {"kind": "crn", "widths": [4, 4, 4, 4], "first_height": 8}
    stages = {"enhancers": 1, "global_steps": 3, "enhancer_steps": 3}
    whole = {**stages, "features": 2, "encoder_channels": 2, "encoder_downsamplings": 2}
    own = {"two_time_scale": False, "reuse_fake": True, "losses": {"gan": "least_squares"}}
    own["discriminator"] = {"spectral": False}
    regions = {"style_input": "everywhere", "style_encoder": False, "region_styles": "class", "noise": True}
    return [
        tiny_recipe(size=64),
        tiny_recipe(size=64, style_dim=3, generator=noise, discriminator={"downsampling": "blur"}),
        tiny_recipe(**in_parts),
        tiny_recipe(size=64, losses=regularised, discriminator={"augment": augment}),
        tiny_recipe(size=64, **segmentation),
        tiny_recipe(**in_parts, **segmentation, generator=regions),
        tiny_recipe(size=64, generator={"kind": "concat", "channels": 2}),
        tiny_recipe(size=64, generator={"kind": "pix2pixhd_plus", **hourglass, "labels": "concat"}),
        tiny_recipe(size=64, accumulate=2, generator={**crn, "pictures": 2}, losses={"balance_at": 4}, steps=STEPS),
        tiny_recipe(size=64, steps=STEPS, generator={"kind": "pix2pixhd", **hourglass, **whole}, **own),
    ]


KINDS = ["plain", "with style and noise", "in parts", "regularised", "segmentation", "segmentation with noise in parts"]
KINDS += ["concat", "pix2pixhd_plus", "crn in parts", "pix2pixhd in stages"]


@pytest.fixture(scope="module")
def two(recipes: list[Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two workers put what they find."""
    out = tmp_path_factory.mktemp("two") / "found.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(one_of_two, (recipes, port, out), nprocs=2)
    return out


@pytest.fixture(scope="module")
def of_two(two: Path) -> list[Any]:
    """What two workers find."""
    return torch.load(two)


@pytest.mark.parametrize("index", range(8))
def test_a_norm_over_workers_is_that_of_the_joined_batch(two: Path, index: int) -> None:
    dtype = list(NORM_ERRORS)[index // 2]
    first, second = (torch.load(two.with_suffix(f".norms{rank}"))[index] for rank in (0, 1))
    xs, gradients = batches_to_normalise(dtype)
    norm = nn.BatchNorm2d(3).double()
    x = torch.cat(xs).double().requires_grad_()
    output = norm(x)
    output.backward(torch.cat(gradients).double())
    assert norm.weight.grad is not None and norm.bias.grad is not None and x.grad is not None

    def close(found: torch.Tensor, expected: torch.Tensor) -> None:
        assert (found.double() - expected).abs().max() <= NORM_ERRORS[dtype] * expected.abs().max()

    close(torch.cat([first[0], second[0]]), output.detach())
    close(torch.cat([first[1], second[1]]), x.grad)
    close(first[2] + second[2], norm.weight.grad)
    close(first[3] + second[3], norm.bias.grad)
    for found in (first, second):
        close(found[4], norm.running_mean)
        close(found[5], norm.running_var)


def test_the_hook_changes_no_bit(two: Path) -> None:
    for rank in (0, 1):
        without, found = torch.load(two.with_suffix(f".hook{rank}"))
        assert torch.equal(without, found)
        assert without.abs().sum() > 0


@pytest.mark.parametrize("index", range(len(KINDS)), ids=KINDS)
def test_two_workers_are_one_with_the_doubled_batch(recipes: list[Recipe], of_two: list[Any], index: int) -> None:
    losses, found = of_two[index]
    training = recipes[index].training.model_copy(update={"accumulate": 1})
    expected_losses, expected = steps(recipes[index].model_copy(update={"training": training}), Worker())
    torch.testing.assert_close(losses[0], expected_losses[0], rtol=1e-13, atol=1e-13)
    for two, one in zip(losses, expected_losses, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-8)  # rounding errors grow from step to step
    assert set(found) == set(expected)
    for name, value in expected.items():
        # The norms of concatenation, which learn, and the gain before a judge of detail (of segmentation here) let
        # rounding errors grow a little further in ten steps.
        further = KINDS[index] in ("concat", "segmentation", "segmentation with noise in parts")
        close = {"rtol": 1e-6, "atol": 1e-7} if further else {"rtol": 1e-7, "atol": 1e-8}
        torch.testing.assert_close(found[name], value, **close, msg=lambda text, at=name: f"{at}: {text}")
