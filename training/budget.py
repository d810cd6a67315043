"""One training of a study: `train` in this process, for a number of minutes in all, however often it is stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from training.run_folder import RunFolder
from training.train import train


@dataclass(frozen=True)
class Spent:
    """What a training has come to, over all calls."""

    steps: int
    seconds: float
    """In steps: without starting up, samples and checkpoints."""
    images_per_second: float
    """While it stepped."""
    finished: bool
    """Whether the steps or the minutes are over; if not, it was stopped, and the same call resumes it."""


def train_within(
    recipe: Recipe,
    out: Path,
    *,
    minutes: float | None,
    vgg_weights: Path | None = None,
    trunk_weights: Path | None = None,
) -> Spent:
    """Train a recipe into the folder `out` until its steps are done, or it has taken so many `minutes` of steps.

    Raises `InputError` as `train` does.
    """
    folder = RunFolder(out)
    # After the newest snapshot nothing counts: it will be done again.
    left = None if minutes is None else max(0.0, 60 * minutes - _seconds(folder, folder.step()))
    begin = time.monotonic()
    result = train(
        recipe,
        out,
        workers=0,
        vgg_weights=vgg_weights,
        trunk_weights=trunk_weights,
        max_minutes=None if left is None else left / 60,
    )
    over = left is not None and time.monotonic() - begin >= left
    seconds = _seconds(folder, result.step)
    images = result.step * recipe.training.batch_size
    return Spent(result.step, seconds, images / seconds if seconds else 0.0, result.finished or over)


def _seconds(folder: RunFolder, step: int) -> float:
    """Of all steps up to this one."""
    entries: list[dict[str, Any]] = folder.read_stats()
    return float(sum(entry["seconds"] for entry in entries if entry["step"] <= step))
