"""What `--checkpoint` means: a file, a run directory, or a recipe with fresh weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.checkpoints.file import build_encoder, build_generator, find_checkpoint, load_checkpoint
from pipeline.config import Recipe
from pipeline.networks.encoder import StyleEncoder
from pipeline.networks.generator import Generator
from pipeline.recipe_file import dump_recipe, load_recipe

if TYPE_CHECKING:
    pass


UNTRAINED = "untrained:"
"""Before a recipe's path: its generator with fresh weights, as a baseline. Before a checkpoint's: of its recipe."""


RECIPES = (".yaml", ".yml")


@dataclass(frozen=True)
class Weights:
    """A generator ready to use and its name."""

    recipe: Recipe
    name: str
    """sha256 of the checkpoint; for fresh weights `untrained-` and the sha256 of the recipe."""
    generator: Generator
    encoder: StyleEncoder | None


def resolve_source(source: str | Path) -> str:
    """`--checkpoint` with an absolute path, which means the same in every process; `InputError` if there is none."""
    text = str(source)
    prefix = UNTRAINED if text.startswith(UNTRAINED) else ""
    path = Path(text.removeprefix(UNTRAINED))
    if not (prefix and path.suffix in RECIPES):
        path = find_checkpoint(path)
    return prefix + str(path.absolute())


def load_weights(source: str | Path, device: str | torch.device = "cpu") -> Weights:
    """The weights that `--checkpoint` names: a checkpoint, a run directory, or `untrained:RECIPE`."""
    text = str(source)
    if not text.startswith(UNTRAINED):
        checkpoint = load_checkpoint(Path(text), device=device)
        return Weights(checkpoint.recipe, checkpoint.sha256, checkpoint.generator, checkpoint.encoder)
    path = Path(text.removeprefix(UNTRAINED))
    recipe = load_recipe(path) if path.suffix in RECIPES else load_checkpoint(find_checkpoint(path)).recipe
    digest = hashlib.sha256(dump_recipe(recipe).encode()).hexdigest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        generator, encoder = build_generator(recipe).eval(), build_encoder(recipe)
    return Weights(recipe, f"untrained-{digest}", generator.to(device), encoder.eval().to(device) if encoder else None)
