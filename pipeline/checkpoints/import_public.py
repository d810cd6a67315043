"""Public SPADE checkpoints (`latest_net_G.pth`, `latest_net_E.pth`) to ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.checkpoints.file import build_encoder, build_generator, save_generator
from pipeline.checkpoints.public_names import ENCODER, GENERATOR, from_public
from pipeline.config import Recipe
from pipeline.config.generators import only_spade
from pipeline.datasets.ade20k import SPACE as ADE20K
from pipeline.datasets.coco_stuff import SPACE as COCO_STUFF
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.pretrained.state_dicts import fill, read_state_dict, refuse_nonfinite


def import_weights(
    generator_file: Path,
    recipe: Recipe,
    out: Path,
    *,
    encoder_file: Path | None = None,
    dont_care_first: bool | None = None,
) -> str:
    """Convert public weights of the network that `recipe` describes, and write a checkpoint of ours to `out`.

    `dont_care_first`: whether the public network has its don't-care channel before the classes, or after them. The
    file does not say. The released ADE20K weights have it first, since their label ids were never shifted by one, those
    of COCO-Stuff last; None takes this for their classes. Returns what was assumed, a line.

    Raises `InputError` where a file is unreadable, is of another network (naming the recipe's field to change), the
    recipe has no style for the encoder, or the place of don't-care is unknown.
    """
    settings = only_spade(recipe.generator, "public weights are imported")
    first, assumed = _place_of_dont_care(recipe, dont_care_first)
    generator, encoder = build_generator(recipe), build_encoder(recipe)
    state = _read(generator_file, GENERATOR)
    _refuse_other_generator(state, generator_file, recipe)
    if first:
        state = dont_care_last(state, recipe.labels)
    fill(generator, state, source=f"{generator_file}, by recipe '{recipe.name}',")
    if encoder_file is not None:
        if encoder is None:
            field = "style_encoder false" if recipe.generator.style_dim else "style_dim 0"
            raise InputError(
                f"recipe '{recipe.name}' has generator.{field}, so there is no encoder to fill; leave out --encoder, "
                "or take the recipe of a network with style"
            )
        encoded = _read(encoder_file, ENCODER)
        _refuse_other_encoder(encoded, encoder_file, recipe)
        fill(encoder, encoded, source=f"{encoder_file}, by recipe '{recipe.name}',")
    save_generator(out, generator, recipe, step=0, encoder=encoder if encoder_file else None)
    if settings.upsampling != "most":
        assumed += f"; upsampling is '{settings.upsampling}', as the recipe says (files do not)"
    return assumed


def _place_of_dont_care(recipe: Recipe, given: bool | None) -> tuple[bool, str]:
    """Whether it is the first channel, and how that is known."""
    space = recipe.labels
    if space.dont_care is None:
        if given:
            raise InputError("the recipe has no labels.dont_care, so there is no such channel to move")
        return False, "no don't-care channel, as the recipe has no labels.dont_care"
    if given is not None:
        return given, f"channel {0 if given else len(space.classes)} is don't-care, as the options say"
    if space.classes == ADE20K.classes:
        return True, (
            "channel 0 is don't-care, as in the released ADE20K weights; for weights trained with ids shifted by one, "
            "give --dont-care-last"
        )
    if space.classes == COCO_STUFF.classes:
        return False, f"channel {len(space.classes)} is don't-care, as in the released COCO-Stuff weights"
    raise InputError(
        f"recipe '{recipe.name}' has labels.dont_care, and no weights say where their channel of it is; give "
        "--dont-care-last (the public program's own place) or --dont-care-first"
    )


def _refuse_other_generator(state: dict[str, torch.Tensor], path: Path, recipe: Recipe) -> None:
    """Raise `InputError` that names the recipe's fields which the shapes of public weights contradict."""
    settings, space, wrong = only_spade(recipe.generator, "public weights are imported"), recipe.labels, []
    hidden, middle, first = (
        state.get(key) for key in ("blocks.0.norm_0.shared.weight", "blocks.0.norm_0.gamma.weight", "first.weight")
    )
    if hidden is None or middle is None or first is None or hidden.dim() != 4 or middle.dim() != 4:
        _refuse(path, recipe, ["it has no SPADE blocks as latest_net_G.pth has"])
        return
    if settings.style_channels:
        wrong.append("generator.style_input is 'everywhere', which the public program does not have; make it 'first'")
    if settings.noise:
        wrong.append("generator.noise is on, which the public program does not have; leave it out")
    if settings.enlargement != "nearest":
        wrong.append(f"generator.enlargement is '{settings.enlargement}', the public program enlarges by 'nearest'")
    if not any(key.startswith("blocks.0.conv_0.parametrizations") for key in state):
        wrong.append("its convolutions have no spectral normalisation (--norm_G without 'spectral'), ours always do")
    channels = len(middle) // 16
    _differs(wrong, "generator.channels", settings.channels, channels)
    upsampling = "most" if any(key.startswith("blocks.7.") for key in state) else "normal or more"
    if (settings.upsampling == "most") != (upsampling == "most"):
        wrong.append(f"generator.upsampling is '{settings.upsampling}', the weights' is {upsampling}")
    _differs(wrong, "generator.hidden", settings.hidden, len(hidden))
    _differs(wrong, "generator.kernel_size", settings.kernel_size, hidden.shape[-1])
    running = any(key.endswith("norm.running_mean") for key in state)
    if running != (settings.statistics != "instance"):
        wanted = "sync_batch' or 'batch" if running else "instance"
        wrong.append(f"generator.statistics is '{settings.statistics}', the weights are of '{wanted}'")
    style_dim = first.shape[1] if first.dim() == 2 else 0
    _differs(wrong, "generator.style_dim", settings.style_dim, style_dim)
    if not settings.style_channels and hidden.shape[1] != space.channels:
        parts = f"{len(space.classes)} labels.classes, {int(space.dont_care is not None)} for labels.dont_care, "
        wrong.append(
            f"the label map has {space.channels} channels ({parts}{int(space.instance_edges)} for "
            f"labels.instance_edges), the weights' {hidden.shape[1]}"
        )
    if style_dim and not wrong:
        pixels = len(first) // (16 * channels)
        ours = recipe.data.height * recipe.data.width // 4**settings.doublings
        if pixels != ours:
            wrong.append(
                f"the first feature map of data.width x data.height {recipe.data.width}x{recipe.data.height} with "
                f"generator.upsampling '{settings.upsampling}' has {ours} pixels, the weights' {pixels}"
            )
    _refuse(path, recipe, wrong)


def _refuse_other_encoder(state: dict[str, torch.Tensor], path: Path, recipe: Recipe) -> None:
    """The same for the encoder."""
    settings = only_spade(recipe.generator, "public weights are imported")
    wrong: list[str] = []
    mean, layer = state.get("mu.weight"), state.get("layers.0.parametrizations.weight.original")
    if mean is None or layer is None:
        wrong.append("it has no layers as latest_net_E.pth has")
    elif not any(key.startswith("layers.5.") for key in state):
        wrong.append("its encoder has five layers (--crop_size below 256), ours six")
    else:
        _differs(wrong, "generator.channels", settings.channels, len(layer), "its encoder's --ngf")
        _differs(wrong, "generator.style_dim", settings.style_dim, len(mean))
    _refuse(path, recipe, wrong)


def _differs(wrong: list[str], field: str, ours: int, theirs: int, what: str = "the weights'") -> None:
    if ours != theirs:
        wrong.append(f"{field} is {ours}, {what} is {theirs}")


def _refuse(path: Path, recipe: Recipe, wrong: list[str]) -> None:
    if wrong:
        raise InputError(
            f"{path} is not of the network in recipe '{recipe.name}': {'; '.join(wrong)} "
            "(docs/weights.md: from the public program's options to fields)"
        )


def dont_care_last(state: dict[str, torch.Tensor], space: LabelSpace) -> dict[str, torch.Tensor]:
    """The state dict with the first input channel of every layer that sees the label map behind the other classes.

    Weights are `[outputs, channels, k, k]` before and after. Raises `InputError` for a label space without don't-care.
    """
    if space.dont_care is None:
        raise InputError("the recipe has no labels.dont_care, so there is no such channel to move")
    count = space.class_channels
    order = [*range(1, count), 0, *range(count, space.channels)]
    seen = [key for key in state if key.endswith("shared.weight") or (key == "first.weight" and state[key].dim() == 4)]
    return state | {key: state[key][:, order] for key in seen}


def _read(path: Path, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """A public state dict under our keys; NaN is refused under the public one."""
    state = read_state_dict(path)
    refuse_nonfinite(state, source=f"weights file {path}")
    return from_public(state, names)
