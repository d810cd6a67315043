"""The benchmark of training steps: `spadework bench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.runner import Entry, run_benchmark, table, write_json
from pipeline.bench.synthesis import Load, describe
from pipeline.config import Recipe
from pipeline.config.generators import only_spade
from pipeline.errors import InputError
from pipeline.recipe_file import parse_recipe
from pipeline.runtime.device import default_device

CANDIDATES = ("dense-fp32", "pattern-fp32", "dense-bf16", "pattern-bf16")
"""How gamma and beta are computed, and the precision; the first is the one all are compared with."""


def bench_train(
    recipe: Recipe,
    *,
    load: Load,
    candidates: tuple[str, ...] = (),
    repeats: int = 5,
    threads: int,
    json_path: Path | None,
) -> str:
    """Time whole steps (generator and discriminator) of a recipe without its perceptual term; returns the table.

    A repeat is a step on `load.maps` label maps. Raises `InputError` for unknown candidates.
    """

    only_spade(recipe.generator, "benchmarks are")
    unknown = [name for name in candidates if name not in CANDIDATES]
    if unknown:
        raise InputError(f"unknown candidate '{unknown[0]}'; there are {', '.join(CANDIDATES)}")
    names = (CANDIDATES[0], *(name for name in candidates or CANDIDATES if name != CANDIDATES[0]))
    if load.size:
        height, width = load.size
        fields = recipe.model_dump(mode="json")
        fields["data"] |= {"height": height, "width": width}
        recipe = parse_recipe(fields, source="--size")
    common = {
        "recipe": recipe.model_dump(mode="json"),
        "codes": load.codes(recipe),
        "device": default_device(),
        "threads": threads,
    }
    results = run_benchmark([Entry(name, Steps, {"name": name, **common}) for name in names], repeats=repeats)
    if json_path:
        write_json(json_path, results, describe(recipe.name, load, threads))
    return table(results, items=1, item="step")


class Steps:
    """Training steps on one batch of label maps and pictures of noise, from the same weights in every process."""

    def __init__(self, name: str, recipe: dict[str, Any], codes: np.ndarray, device: str, threads: int) -> None:
        """A candidate, in its own process; `codes` are int32 `[maps, height, width]`."""
        import torch

        from pipeline.checkpoints.file import build_encoder, build_generator
        from pipeline.runtime.memory import keep_freed_memory
        from training.data.batch import Batch
        from training.objectives.objectives import build_discriminator
        from training.step import GanStep, Synthesis

        recipe["generator"]["modulation"], recipe["training"]["precision"] = name.split("-")
        recipe["losses"]["perceptual"] = 0
        settings = parse_recipe(recipe, source="bench")
        torch.set_num_threads(threads)
        keep_freed_memory()
        torch.manual_seed(0)
        synthesis = Synthesis(build_generator(settings), build_encoder(settings)).to(device).train()
        discriminator = build_discriminator(settings).to(device).train()
        self.step = GanStep(
            synthesis,
            discriminator,
            weights=settings.losses,
            settings=settings.training,
            augment=settings.discriminator.augment,
        )
        count, height, width = codes.shape
        pictures, noise = (
            torch.rand(count, 3, height, width) * 2 - 1,
            torch.randn(2, count, settings.generator.style_dim),
        )
        self.batch = Batch(torch.from_numpy(codes), pictures, noise, torch.arange(count)).to(torch.device(device))

    def repeat(self) -> np.ndarray:
        """One step; what is compared are its losses, float64 `[terms]`."""
        return np.asarray([float(value) for value in self.step(self.batch).values()])
