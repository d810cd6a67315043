"""What people look at during a run: losses and times, TensorBoard, `stats.jsonl`, grids of samples."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import Recipe
from pipeline.data.sources import as_sources
from pipeline.runtime.collectives import seconds_waited
from pipeline.segments.paste import SegmentPaster
from training.run_folder import RunFolder
from training.samples import SampleGrid
from training.state import TrainingState
from training.step import SCORE, Synthesis
from training.worker import Worker

Entry = dict[str, Any]
"""A line of `stats.jsonl`: the step, mean losses since the line before, and the like."""

SPEEDS = ("images_per_second", "data_wait", "communication")
"""What an `Entry` says of the pace; the last two are shares of the time, the last for several workers on CPUs only."""


class NotFinite(ArithmeticError):
    """A loss or gradient that is NaN or infinite, said in words."""


class MetricLogger:
    """Losses and times since they were last read."""

    def __init__(self, worker: Worker, step: int) -> None:
        self.worker = worker
        self._begin(step)

    def _begin(self, step: int) -> None:
        self.start, self.first, self.waited, self.paused = time.perf_counter(), step, 0.0, 0.0
        self.communicated = seconds_waited()
        self.names: list[str] = []
        self.values: list[Tensor] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in a step's terms, scalars that are still on the device."""
        self.names = list(terms)
        self.values.append(torch.stack([value.double() for value in terms.values()]))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A `with` block in which the step waits for its data."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    @contextmanager
    def pause(self) -> Iterator[None]:
        """A `with` block that does not belong to the steps: samples, scores, checkpoints."""
        start = time.perf_counter()
        yield
        self.paused += time.perf_counter() - start

    def read(self, step: int, state: TrainingState) -> Entry:
        """Mean losses over all workers and the times since the last reading; raises `NotFinite`."""
        values = self.worker.mean(torch.stack(self.values)).cpu()  # [steps, terms]
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            at, term = bad[0].tolist()
            raise NotFinite(f"the loss {self.names[term]} is {values[at, term].item()} at step {self.first + at + 1}")
        optimisers = state.step.optimisers
        norms = {name: _gradient_norm(optimiser.parameters) for name, optimiser in optimisers.items()}
        for name, norm in norms.items():
            # With fp16 such steps are to be expected: the scaler leaves them out.
            if not norm < float("inf") and state.recipe.training.precision != "fp16":
                raise NotFinite(f"the gradient of the {name} is {norm} at step {step}")
        seconds = time.perf_counter() - self.start - self.paused
        means = dict(zip(self.names, values.mean(dim=0).tolist(), strict=True))
        scores = {name.removeprefix(SCORE): means.pop(name) for name in self.names if name.startswith(SCORE)}
        if scores:
            scores["gap"] = scores["real"] - scores["fake"]
        entry = {
            "step": step,
            "losses": means,
            "scores": scores,
            "gradient_norm": {name: norm for name, norm in norms.items() if math.isfinite(norm)},
            "learning_rate": {name: optimiser.adam.param_groups[0]["lr"] for name, optimiser in optimisers.items()},
            "seconds": seconds,
            "images_per_second": len(self.values) * state.recipe.training.batch_size / seconds,
            "data_wait": self.waited / seconds,
            "failures": state.failures,
        }
        if self.worker.count > 1 and self.worker.device.type == "cpu":
            entry["communication"] = (seconds_waited() - self.communicated) / seconds
        self._begin(step)
        return entry


def _gradient_norm(parameters: list[nn.Parameter]) -> float:
    return float(torch.nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None]))


class Reporter:
    """What the leading worker writes: TensorBoard, `stats.jsonl`, and grids of samples."""

    def __init__(
        self, recipe: Recipe, folder: RunFolder, worker: Worker, base: Path, paster: SegmentPaster | None = None
    ) -> None:
        """`paster` for a generator that mends what it pasted."""
        self.folder = folder
        self.grid = SampleGrid(as_sources(recipe.data.validation, base), recipe, worker.device, paster)

    def begin(self, step: int) -> None:
        """Resume after a step: what was written of later ones is withdrawn."""
        from torch.utils.tensorboard import SummaryWriter

        self.folder.begin_stats(step)
        self.writer = SummaryWriter(str(self.folder.path / "tensorboard"), purge_step=step + 1 if step else None)

    def report(self, entry: Entry) -> None:
        """Log the reading of a `MetricLogger`."""
        self.folder.add_stats(entry)
        scalars = {f"loss/{name}": value for name, value in entry["losses"].items()}
        for group in ("scores", "gradient_norm", "learning_rate", "validation"):
            scalars |= {f"{group}/{name}": value for name, value in entry.get(group, {}).items()}
        scalars |= {f"speed/{name}": entry[name] for name in SPEEDS if name in entry}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, entry["step"])

    def is_best(self, scores: Mapping[str, float], by: str) -> bool:
        """Whether no validation so far has given a better score; of a distance, less is better."""
        before = [entry["validation"][by] for entry in self.folder.read_stats() if "validation" in entry]
        return (
            scores[by] < min(before, default=float("inf")) if by == "frechet" else scores[by] > max(before, default=-1)
        )

    def sample(self, step: int, synthesis: Synthesis) -> None:
        """Draw the grid and keep it."""
        picture = self.grid.draw(synthesis)
        self.writer.add_image("samples", picture, step, dataformats="HWC")
        self.grid.save(picture, self.folder.path / "samples" / f"step-{step:08d}.png")

    def close(self) -> None:
        """Flush TensorBoard's queue."""
        self.writer.close()
