"""The race of training steps: `spadework bench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.runner import Entry, run_benchmark, table, write_json
from pipeline.bench.synthesis import Load, describe
from pipeline.config import Recipe
from pipeline.errors import InputError
from pipeline.recipe_file import parse_recipe

CANDIDATES = ("dense-fp32", "pattern-fp32", "dense-bf16", "pattern-bf16")
"""How gamma and beta are computed, and the precision; the first is the one all are compared with."""
LADDER = ("plain", "patterns", "kept-memory", "channels-last", "fused-adam", "reused-fakes", "bf16")
"""Other candidates: a plain eager float32 loop of the same networks, and what each change adds to those before it."""
EVERYTHING = frozenset(LADDER) - {"patterns", "reused-fakes", "bf16"}
"""What `CANDIDATES` have of the ladder."""


def bench_train(
    recipe: Recipe,
    *,
    load: Load,
    candidates: tuple[str, ...] = (),
    repeats: int = 5,
    threads: int,
    json_path: Path | None,
) -> str:
    """Race whole steps (generator and discriminator) of a recipe without its perceptual term; returns the table.

    A repeat is a step on `load.maps` label maps. Raises `InputError` for unknown candidates.
    """
    import torch

    known = (*CANDIDATES, *LADDER)
    unknown = [name for name in candidates if name not in known]
    if unknown:
        raise InputError(f"unknown candidate '{unknown[0]}'; there are {', '.join(known)}")
    first = LADDER[0] if candidates and set(candidates) <= set(LADDER) else CANDIDATES[0]
    names = (first, *(name for name in candidates or CANDIDATES if name != first))
    if load.size:
        height, width = load.size
        fields = recipe.model_dump(mode="json")
        fields["data"] |= {"height": height, "width": width}
        recipe = parse_recipe(fields, source="--size")
    common = {
        "recipe": recipe.model_dump(mode="json"),
        "codes": load.codes(recipe),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": threads,
    }
    results = run_benchmark([Entry(name, build, {"name": name, **common}) for name in names], repeats=repeats)
    if json_path:
        write_json(json_path, results, describe(recipe.name, load, threads))
    return table(results, items=1, item="step")


def build(name: str, recipe: dict[str, Any], codes: np.ndarray, device: str, threads: int) -> Steps:
    """Make a candidate, in its own process."""
    if name in LADDER:
        changes = frozenset(LADDER[: LADDER.index(name) + 1])
        modulation, precision = "pattern" if "patterns" in changes else "dense", "bf16" if "bf16" in changes else "fp32"
        recipe["training"]["reuse_fake"] = "reused-fakes" in changes
    else:
        changes = EVERYTHING
        modulation, precision = name.split("-")
    recipe["generator"]["modulation"] = modulation
    recipe["training"]["precision"] = precision
    recipe["losses"]["perceptual"] = 0
    return Steps(parse_recipe(recipe, source="bench"), codes, device, threads, changes)


class Steps:
    """Training steps on one batch of label maps and pictures of noise, from the same weights in every process."""

    def __init__(
        self, recipe: Recipe, codes: np.ndarray, device: str, threads: int, changes: frozenset[str] = EVERYTHING
    ) -> None:
        import torch

        from pipeline.checkpoints.file import build_encoder, build_generator
        from pipeline.runtime.memory import keep_freed_memory
        from training.data.batch import Batch
        from training.objectives.objectives import build_discriminator
        from training.step import GanStep, Synthesis

        torch.set_num_threads(threads)
        if "kept-memory" in changes:
            keep_freed_memory()
        layout = torch.channels_last if "channels-last" in changes else torch.contiguous_format
        torch.manual_seed(0)
        self.device = torch.device(device)
        synthesis = Synthesis(build_generator(recipe), build_encoder(recipe))
        discriminator = build_discriminator(recipe)
        for network in (synthesis, discriminator):
            network.to(self.device).to(memory_format=layout).train()
        self.step = GanStep(
            synthesis,
            discriminator,
            weights=recipe.losses,
            settings=recipe.training,
            augment=recipe.discriminator.augment,
        )
        if "fused-adam" not in changes:
            for optimiser in (self.step.optimiser, self.step.discriminator_optimiser):
                group = optimiser.adam.param_groups[0]
                optimiser.adam = torch.optim.Adam(optimiser.parameters, lr=group["lr"], betas=group["betas"])
        count, height, width = codes.shape
        pictures = (torch.rand(count, 3, height, width) * 2 - 1).contiguous(memory_format=layout)
        noise = torch.randn(2, count, recipe.generator.style_dim)
        self.batch = Batch(torch.from_numpy(codes), pictures, noise, torch.arange(count)).to(self.device)

    def repeat(self) -> np.ndarray:
        """One step; what is compared are its losses."""
        terms = self.step(self.batch)
        return np.asarray([float(value) for value in terms.values()])
