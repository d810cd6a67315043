"""Public SPADE checkpoints (`latest_net_G.pth`, `latest_net_E.pth`) to ours."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.checkpoints.file import build_encoder, build_generator, save_generator
from pipeline.checkpoints.public_names import ENCODER, GENERATOR, from_public
from pipeline.config import Recipe
from pipeline.data.tensors import refuse_nonfinite
from pipeline.errors import InputError
from pipeline.labels import LabelSpace


def import_weights(
    generator_file: Path, recipe: Recipe, out: Path, *, encoder_file: Path | None = None, dont_care_first: bool = False
) -> None:
    """Convert public weights of the network that `recipe` describes, and write a checkpoint of ours to `out`.

    `dont_care_first`: the public network has its don't-care channel before the classes, not after them. The released
    ADE20K weights do, since their label ids were never shifted by one.

    Raises `InputError` where a file is unreadable, is of another network, or the recipe has no style for the encoder.
    """
    generator, encoder = build_generator(recipe), build_encoder(recipe)
    state = from_public(_read(generator_file), GENERATOR)
    if dont_care_first:
        state = dont_care_last(state, recipe.labels)
    _fill(generator, state, generator_file, recipe)
    if encoder_file is not None:
        if encoder is None:
            raise InputError(f"recipe '{recipe.name}' has generator.style_dim 0, so there is no encoder to fill")
        _fill(encoder, from_public(_read(encoder_file), ENCODER), encoder_file, recipe)
    save_generator(out, generator, recipe, step=0, encoder=encoder if encoder_file else None)


def dont_care_last(state: dict[str, torch.Tensor], space: LabelSpace) -> dict[str, torch.Tensor]:
    """Move the first input channel of every layer that sees the label map behind the other classes."""
    if space.dont_care is None:
        raise InputError("the recipe has no labels.dont_care, so there is no such channel to move")
    count = space.class_channels
    order = [*range(1, count), 0, *range(count, space.channels)]
    seen = [key for key in state if key.endswith("shared.weight") or (key == "first.weight" and state[key].dim() == 4)]
    return state | {key: state[key][:, order] for key in seen}


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"weights file {path} does not exist") from None
    except Exception as error:  # noqa: BLE001 (whatever a file that is none makes the reader raise)
        raise InputError(f"weights file {path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"weights file {path} is not a state dict (names to tensors)")
    refuse_nonfinite(state, source=f"weights file {path}")
    return state


def _fill(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, recipe: Recipe) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not of the network in recipe '{recipe.name}': {reason}") from None
