"""Checkpoints: one safetensors file with the generator's weights and, in its metadata, the whole recipe.

Whatever `--checkpoint` names, a file, a run directory or a recipe with fresh weights, becomes a `Checkpoint`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from pipeline.config import Recipe
from pipeline.data.safetensors_file import write_tensors
from pipeline.data.storage import first_line
from pipeline.errors import InputError
from pipeline.networks.baselines.local_enhancer import LocalEnhancer
from pipeline.networks.encoder import StyleEncoder
from pipeline.networks.generators import AnyGenerator, count_weights, make_generator
from pipeline.networks.initialise import filled_later
from pipeline.recipe_file import dump_recipe, load_recipe, parse_recipe
from pipeline.runtime.json_text import read_json
from pipeline.shipped_recipes import find_recipe

FILE_NAME = "generator.safetensors"
"""Of the newest weights in a run directory."""
LANDSCAPE = Path(__file__).resolve().parents[2] / "weights" / "landscape.safetensors"
"""The generator that comes with spadework: procedural landscapes at 128x128. How it was made: `weights/README.md`."""
UNTRAINED = "untrained:"
"""Before a recipe's path: its generator with fresh weights, as a baseline. Before a checkpoint's: of its recipe."""
_RECIPES = (".yaml", ".yml")
_METADATA_KEY = "spadework"


@dataclass(frozen=True)
class Checkpoint:
    """A generator that is ready to use, and what it was made from."""

    recipe: Recipe
    step: int
    """Optimiser steps that the weights have seen."""
    sha256: str
    """Of the file; for fresh weights `untrained-` and that of the recipe. Outputs carry it to say what made them."""
    generator: AnyGenerator
    encoder: StyleEncoder | None
    """For generators with style: a photograph to its style."""
    learned_by: Mapping[str, str] | None = None
    """`content_sha256` of the frozen networks that the generator learned by, by what they were for; None: the file is
    from before this was kept, or of other people's weights."""
    regression: tuple[float, ...] | None = None
    """The weights of CRN's terms that were measured in training (`losses.balance_at`)."""


def build_generator(recipe: Recipe) -> AnyGenerator:
    """The generator that a recipe describes, with fresh weights from the global random state."""
    return make_generator(recipe.generator, recipe.labels, height=recipe.data.height, width=recipe.data.width)


def build_encoder(recipe: Recipe) -> StyleEncoder | None:
    """The style encoder that goes with it, or None where the generator takes no style, or noise only."""
    settings = recipe.generator
    if settings.kind not in ("spade", "concat") or not (settings.style_dim and settings.style_encoder):
        return None
    return StyleEncoder(settings.channels, settings.style_dim)


def save_generator(
    path: Path,
    generator: nn.Module,
    recipe: Recipe,
    *,
    step: int,
    encoder: nn.Module | None = None,
    learned_by: Mapping[str, str] | None = None,
    regression: Sequence[float] | None = None,
) -> None:
    """Write a checkpoint atomically; `learned_by` and `regression` as `Checkpoint` has them."""
    tensors = {f"generator.{key}": value for key, value in generator.state_dict().items()}
    if encoder is not None:
        tensors |= {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    write_tensors(path, tensors, _metadata(recipe, step, learned_by, regression))


def halve(source: Path, target: Path) -> None:
    """Write a checkpoint in half the bytes: matrices and kernels in float16, the rest and the recipe as they are.

    Loading brings everything back to float32. Raises `InputError` where `source` is no checkpoint of ours.
    """
    source = find_checkpoint(source)
    read = _read(source)
    halves = {key: value.half() if value.dim() > 1 else value for key, value in read.tensors.items()}
    write_tensors(target, halves, _metadata(read.recipe, read.step, read.learned_by, read.regression))


def find_checkpoint(path: Path) -> Path:
    """The weights file that `path` means: itself, or the newest in a run directory. `InputError` if there is none."""
    if path.is_file():
        return path
    if not path.exists():
        raise InputError(f"checkpoint {path} does not exist; give a .safetensors file or a run directory of `train`")
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    raise InputError(f"run directory {path} has no {FILE_NAME} yet; `train` writes it with the first checkpoint")


def resolve_checkpoint(source: str | Path) -> str:
    """`--checkpoint` with an absolute path, which means the same in every process; `InputError` if there is none."""
    prefix, path = _split(source)
    if not (prefix and path.suffix in _RECIPES):
        path = find_checkpoint(path)
    return prefix + str(path.absolute())


def load_checkpoint(source: str | Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """What `--checkpoint` names: a weights file, the newest of a run directory, or `untrained:` and a recipe.

    Networks come in evaluation mode, on `device`. Raises `InputError` where a file is missing, is not a checkpoint of
    ours, does not fit its own recipe, or has weights that are NaN or infinite.
    """
    prefix, path = _split(source)
    if prefix:
        recipe = load_recipe(path) if path.suffix in _RECIPES else _read(find_checkpoint(path)).recipe
        return _untrained(recipe, device)
    path = find_checkpoint(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    read = _read(path)
    recipe, tensors = read.recipe, read.tensors
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(
                f"checkpoint {path} holds NaN or infinite weights in {name}, which draw nothing; take an earlier one"
            )
    size = {"height": recipe.data.height, "width": recipe.data.width}
    stored, needed = (
        sum(value.numel() for value in tensors.values()),
        count_weights(recipe.generator, recipe.labels, **size),
    )
    if stored < needed:  # Told before memory is taken for them.
        raise InputError(
            f"checkpoint {path} does not fit the recipe that it carries: it has {stored} weights, where its generator "
            f"of kind {recipe.generator.kind} has {needed} or more"
        )
    with filled_later():
        generator, encoder = build_generator(recipe), build_encoder(recipe)
    _fill(generator, "generator.", tensors, path)
    if encoder is not None and any(key.startswith("encoder.") for key in tensors):
        _fill(encoder, "encoder.", tensors, path)
    else:
        encoder = None
    if isinstance(generator, LocalEnhancer) and 0 < read.step <= generator.settings.global_steps:
        generator.stage = "global"  # whose enhancers have learned nothing yet
    return Checkpoint(
        recipe=recipe,
        step=read.step,
        sha256=sha256,
        generator=generator.eval().to(device),
        encoder=encoder.eval().to(device) if encoder else None,
        learned_by=read.learned_by,
        regression=read.regression,
    )


def _split(source: str | Path) -> tuple[str, Path]:
    """`untrained:` or nothing, and the path; of a recipe also by its name."""
    text = str(source)
    prefix = UNTRAINED if text.startswith(UNTRAINED) else ""
    path = Path(text.removeprefix(prefix))
    return prefix, find_recipe(path) if prefix else path


def _untrained(recipe: Recipe, device: torch.device | str) -> Checkpoint:
    """Fresh weights, of the recipe's own seed."""
    sha256 = hashlib.sha256(dump_recipe(recipe).encode()).hexdigest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        generator, encoder = build_generator(recipe).eval().to(device), build_encoder(recipe)
    encoder = encoder.eval().to(device) if encoder else None
    return Checkpoint(recipe, 0, f"untrained-{sha256}", generator, encoder, learned_by={})


@dataclass(frozen=True)
class _Read:
    """What a file holds."""

    recipe: Recipe
    step: int
    tensors: dict[str, torch.Tensor]
    learned_by: dict[str, str] | None
    regression: tuple[float, ...] | None


def _metadata(
    recipe: Recipe, step: int, learned_by: Mapping[str, str] | None, regression: Sequence[float] | None
) -> dict[str, str]:
    fields: dict[str, Any] = {"step": step, "recipe": recipe.model_dump(mode="json")}
    if learned_by is not None:
        fields["learned_by"] = dict(learned_by)
    if regression is not None:
        fields["regression"] = list(regression)
    return {_METADATA_KEY: json.dumps(fields)}


def _read(path: Path) -> _Read:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_METADATA_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError) as error:
        raise InputError(f"checkpoint {path} is not a readable safetensors file: {error}") from None
    if metadata is None:
        raise InputError(
            f"checkpoint {path} carries no recipe, so it is not one of ours; "
            "public SPADE weights are converted with `spadework import-weights`"
        )
    try:
        fields = read_json(metadata)
        recipe, step = fields["recipe"], int(fields["step"])
        stored = fields.get("learned_by")
        learned_by = None if stored is None else {str(name): str(value) for name, value in stored.items()}
        weights = fields.get("regression")
        regression = None if weights is None else tuple(float(weight) for weight in weights)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"checkpoint {path} has damaged metadata: no JSON with a recipe and a step "
            f"({type(error).__name__}: {first_line(error)}); copy it again"
        ) from None
    return _Read(parse_recipe(recipe, source=f"recipe in {path}"), step, tensors, learned_by, regression)


def _fill(network: nn.Module, prefix: str, tensors: dict[str, torch.Tensor], path: Path) -> None:
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"checkpoint {path} does not fit the recipe that it carries: {reason[:400]}") from None
