"""The training loop of one worker: build, resume, then step, report, sample, save. No Ray in it."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.checkpoints import build_encoder, build_generator, save_generator
from pipeline.config import Recipe
from pipeline.errors import InputError
from training.average import MovingAverage
from training.data import Examples, TrainingData
from training.discriminator import Discriminator
from training.perceptual import PerceptualLoss, load_perceptual_loss
from training.run_folder import RunFolder, restore_optimiser, snapshot_optimiser
from training.samples import SampleGrid
from training.step import SCORE, GanStep, Synthesis

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """This process among those that train together; more than one need an initialised `torch.distributed`."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """For gradients averaged over the workers. Buffers need no broadcasts: they are the same functions of the
        same weights and, synchronised, of the same statistics."""
        if self.count == 1:
            return network
        # Before torch 2.14 the option had another name.
        names = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        options: dict[str, Any] = {"gradient_as_bucket_view": True, buffers: False}
        return DistributedDataParallel(network, **options)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the workers."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def agree(self, flag: bool) -> bool:
        """Whether any worker says so; all of them must ask at the same step."""
        if self.count == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)


Progress = Callable[[int, float], None]
"""Called after a step by the leading worker: steps done, images per second of late."""


def train_worker(
    recipe: Recipe,
    folder: RunFolder,
    worker: Worker,
    *,
    base: Path,
    vgg_weights: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress = lambda step, rate: None,
) -> int:
    """Train until the recipe's steps are done or `should_stop` says so on any worker; returns the steps done.

    `base` is the folder that the recipe's relative paths start from. The worker leaves a checkpoint behind when it
    stops early, and goes on from the newest one when it starts. Raises `InputError` for data that do not fit, and
    where a loss is no longer a number.
    """
    settings = recipe.training
    with folder.locked() if worker.leads else nullcontext():
        # Build: the same initial weights on every worker, because they have the same seed.
        data = TrainingData(Examples(base / recipe.data.train, recipe), rank=worker.rank, workers=worker.count)
        perceptual = load_perceptual_loss(vgg_weights) if recipe.losses.perceptual else None
        state = TrainingState(recipe, worker, perceptual.to(worker.device) if perceptual else None)

        # Resume, with what is written for people cut back to the same step.
        first = state.resume(folder)
        if first:
            log.info("going on from step %d of %d", first, settings.steps)
        writer = Reporter(recipe, folder, worker, first, base) if worker.leads else None

        step, stopped = first, False
        meter = Meter(worker, first)
        batches = data.batches(first, pin=worker.device.type == "cuda")
        while step < settings.steps and not stopped:
            # Step: on the records that belong to it, at the rate that belongs to it.
            waited = time.perf_counter()
            batch = next(batches).to(worker.device)
            meter.waited += time.perf_counter() - waited
            state.set_rates(step)
            meter.add(state.step(batch))
            state.average.update(state.step.bare_synthesis, step)
            step += 1
            # On GPUs not after every step: asking the other workers makes the device wait.
            if worker.device.type == "cpu" or step % settings.log_every == 0:
                stopped = worker.agree(should_stop())
            last = stopped or step == settings.steps

            # Report: losses are looked at only now and then, as looking makes the device wait.
            if last or step % settings.log_every == 0 or step % settings.checkpoint_every == 0:
                entry = meter.read(step, settings.batch_size, state, folder)
                if writer:
                    writer.report(entry)
            if writer:
                progress(step, meter.images_per_second)

            # Sample: the same label maps each time, with the averaged weights.
            if writer and (last or step % settings.sample_every == 0):
                writer.sample(step, state.average.network)

            # Save.
            if writer and (last or step % settings.checkpoint_every == 0):
                state.save(folder, step)
        batches.close()
        if writer:
            writer.close()
    return step


class TrainingState:
    """Everything that changes during training. There is no random state: all draws are functions of the step."""

    def __init__(self, recipe: Recipe, worker: Worker, perceptual: PerceptualLoss | None) -> None:
        self.recipe = recipe
        self.worker = worker
        torch.manual_seed(recipe.training.seed)
        synthesis = Synthesis(build_generator(recipe), build_encoder(recipe)).to(worker.device)
        discriminator = Discriminator(recipe.discriminator, recipe.labels).to(worker.device)
        self.average = MovingAverage(synthesis, recipe.training.ema_decay)
        self.step = GanStep(
            worker.wrap(synthesis),
            worker.wrap(discriminator),
            weights=recipe.losses,
            settings=recipe.training,
            perceptual=perceptual,
            workers=worker.count,
        )
        self._networks: dict[str, nn.Module] = {
            "synthesis.": synthesis,
            "discriminator.": discriminator,
            "average.": self.average.network,
        }
        self._optimisers = {
            "optimiser.": self.step.optimiser,
            "discriminator_optimiser.": self.step.discriminator_optimiser,
        }

    def set_rates(self, step: int) -> None:
        """Both learning rates for a step, counted from 0: constant, then linearly to 0 at the end (Sec. 4)."""
        settings = self.recipe.training
        left = settings.steps - step
        for optimiser in self._optimisers.values():
            optimiser.set_rate(min(1.0, left / settings.decay_steps) if settings.decay_steps else 1.0)

    def save(self, folder: RunFolder, step: int) -> None:
        """Write a snapshot, and publish the averaged weights."""
        tensors: dict[str, Tensor] = {}
        for prefix, network in self._networks.items():
            tensors |= {prefix + key: value for key, value in network.state_dict().items()}
        for prefix, optimiser in self._optimisers.items():
            tensors |= snapshot_optimiser(optimiser.adam, prefix)
        scalers = {prefix: optimiser.scaler.state_dict() for prefix, optimiser in self._optimisers.items()}
        folder.save_snapshot(step, tensors, {"scalers": scalers})
        average = self.average.network
        save_generator(folder.weights, average.generator, self.recipe, step=step, encoder=average.encoder)

    def resume(self, folder: RunFolder) -> int:
        """Load the newest snapshot; returns the steps that it has seen, 0 where there is none."""
        snapshot = folder.load_snapshot()
        if snapshot is None:
            return 0
        tensors, values = snapshot
        for prefix, network in self._networks.items():
            network.load_state_dict(
                {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            )
        for prefix, optimiser in self._optimisers.items():
            restore_optimiser(optimiser.adam, prefix, tensors)
            optimiser.scaler.load_state_dict(values["scalers"][prefix])
        return int(values["step"])


class Meter:
    """Losses and times since they were last read."""

    def __init__(self, worker: Worker, step: int) -> None:
        self.worker = worker
        self.images_per_second = 0.0
        self._begin(step)

    def _begin(self, step: int) -> None:
        self.start, self.first, self.waited = time.perf_counter(), step, 0.0
        self.names: list[str] = []
        self.values: list[Tensor] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in a step's terms, still on the device."""
        self.names = list(terms)
        self.values.append(torch.stack([value.double() for value in terms.values()]))

    def read(self, step: int, batch_size: int, state: TrainingState, folder: RunFolder) -> dict[str, Any]:
        """Mean losses over all workers and the time since the last reading; `InputError` if one is not a number."""
        losses = self.worker.mean(torch.stack(self.values)).cpu()  # [steps, terms]
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            at, term = bad[0].tolist()
            saved = folder.snapshots()
            raise InputError(
                f"the loss {self.names[term]} is {losses[at, term].item()} at step {self.first + at + 1}; "
                + (f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet")
                + "; lower training.learning_rate or use training.precision=fp32 in a new run"
            )
        seconds = time.perf_counter() - self.start
        steps = len(self.values)
        self.images_per_second = steps * batch_size / seconds
        means = dict(zip(self.names, losses.mean(dim=0).tolist(), strict=True))
        scores = {name.removeprefix(SCORE): means.pop(name) for name in self.names if name.startswith(SCORE)}
        entry = {
            "step": step,
            "losses": means,
            "scores": {**scores, "gap": scores["real"] - scores["fake"]},
            "learning_rate": {
                "generator": state.step.optimiser.adam.param_groups[0]["lr"],
                "discriminator": state.step.discriminator_optimiser.adam.param_groups[0]["lr"],
            },
            "gradient_norm": {
                "generator": _gradient_norm(state.step.optimiser.parameters),
                "discriminator": _gradient_norm(state.step.discriminator_optimiser.parameters),
            },
            "images_per_second": self.images_per_second,
            "data_wait": self.waited / seconds,
        }
        self._begin(step)
        return entry


def _gradient_norm(parameters: list[nn.Parameter]) -> float:
    return float(torch.nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None]))


class Reporter:
    """What people look at: TensorBoard, `stats.jsonl`, and grids of samples."""

    def __init__(self, recipe: Recipe, folder: RunFolder, worker: Worker, step: int, base: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.begin_stats(step)
        self.folder = folder
        self.grid = SampleGrid(base / recipe.data.validation, recipe, worker.device)
        self.writer = SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1 if step else None)

    def report(self, entry: dict[str, Any]) -> None:
        """Log the reading of a `Meter`."""
        self.folder.add_stats(entry)
        scalars = {f"loss/{name}": value for name, value in entry["losses"].items()}
        for group in ("scores", "gradient_norm", "learning_rate"):
            scalars |= {f"{group}/{name}": value for name, value in entry[group].items()}
        scalars |= {f"speed/{name}": entry[name] for name in ("images_per_second", "data_wait")}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, entry["step"])

    def sample(self, step: int, synthesis: Synthesis) -> None:
        """Draw the grid and keep it."""
        picture = self.grid.draw(synthesis)
        self.writer.add_image("samples", picture, step, dataformats="HWC")
        self.grid.save(picture, self.folder.path / "samples" / f"step-{step:08d}.png")

    def close(self) -> None:
        """Flush TensorBoard's queue."""
        self.writer.close()
