"""The benchmark of training steps: `spadework bench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.bench.runner import Entry, run_benchmark, table, write_json
from pipeline.bench.synthesis import PUBLIC, Load, describe
from pipeline.config import Recipe
from pipeline.config.generators import only_spade
from pipeline.errors import InputError
from pipeline.recipe_file import parse_recipe
from pipeline.runtime.device import default_device

CANDIDATES = ("dense-fp32", "pattern-fp32", "dense-bf16", "pattern-bf16")
"""How gamma and beta are computed, and the precision; the first is the one all are compared with."""
LOSSES = ("generator/gan", "generator/feature_matching", "discriminator/fake", "discriminator/real")
"""By which candidates are compared."""


def bench_train(
    recipe: Recipe,
    *,
    load: Load,
    candidates: tuple[str, ...] = (),
    repeats: int = 5,
    threads: int,
    json_path: Path | None,
    public: Path | None = None,
) -> str:
    """Time whole steps (generator and discriminator) of a recipe without its perceptual term; returns the table.

    A repeat is a step on `load.maps` label maps. `public` is a checkout of the public SPADE, which then takes part; one
    that cannot is in the table with the reason.

    Raises `InputError` for unknown candidates.
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
    entries = [Entry(name, Steps, {"name": name, **common}) for name in names]
    if public is not None:
        entries.insert(1, Entry(PUBLIC, public_steps, {"public": public, **common}))
    results = run_benchmark(entries, repeats=repeats)
    if json_path:
        write_json(json_path, results, describe(recipe.name, load, threads))
    return table(results, items=1, item="step")


class Steps:
    """Training steps on one batch of label maps and pictures of noise, from the same weights in every process."""

    def __init__(self, name: str, recipe: dict[str, Any], codes: np.ndarray, device: str, threads: int) -> None:
        """A candidate, in its own process; `codes` are int32 `[maps, height, width]`."""
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
        noise = torch.randn(2, len(codes), settings.generator.style_dim)
        seeds = torch.arange(len(codes))
        self.batch = Batch(torch.from_numpy(codes), random_pictures(codes), noise, seeds).to(torch.device(device))

    def repeat(self) -> np.ndarray:
        """One step; what is compared are its losses, float64 `[terms]`."""
        terms = self.step(self.batch)
        return np.asarray([float(terms[name]) for name in LOSSES if name in terms])


def random_pictures(codes: np.ndarray) -> torch.Tensor:
    """Pixels of noise for label maps `[maps, H, W]`: float32 `[maps, 3, H, W]` in [-1, 1), the same for all."""
    count, height, width = codes.shape
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def public_steps(public: Path, recipe: dict[str, Any], codes: np.ndarray, device: str, threads: int) -> Any:
    """The public program's candidate, in its own process."""
    from training.bench_public import PublicSteps

    return PublicSteps(recipe, codes, random_pictures(codes), device, threads, public)
