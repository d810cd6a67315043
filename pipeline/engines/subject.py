"""What is compiled, with the label maps and pictures that the engine is checked by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.checkpoints.file import load_checkpoint, resolve_checkpoint
from pipeline.config import Recipe
from pipeline.data.schema import Record
from pipeline.datasets.sample_maps import sample_codes, sample_records
from pipeline.engines.engine import adapted
from pipeline.engines.manifest import make_signature
from pipeline.engines.signature import Form, Signature
from pipeline.errors import InputError
from pipeline.labels import split_codes
from pipeline.networks.generators import AnyGenerator, DrawsPictures
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import region_styles
from pipeline.networks.normalise import InstanceNorm
from pipeline.runtime.device import default_device
from pipeline.runtime.seeding import record_seeds, style_noise
from pipeline.segments.paste import SegmentPaster
from pipeline.segments.pasting import open_paster, paste_record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What is compiled, and what the result is compared with."""

    weights: str
    recipe: Recipe
    generator: AnyGenerator
    signature: Signature
    device: torch.device
    codes: torch.Tensor
    """int32 `[maps, H, W]`, of regions where instances have styles."""
    canvases: torch.Tensor | None
    """Of SIMS, what was pasted on each: float32 `[maps, 4, H, W]`."""
    styles: torch.Tensor | None
    """float32 `[maps, style_dim]`, or `[maps, regions, style_dim]` for as many regions as any map has."""
    seeds: torch.Tensor | None
    """Of noise, or of which picture, int64 `[maps]`."""
    reference: torch.Tensor
    """Pictures of the float32 eager generator, on the CPU."""

    def repeat(self, generator: DrawsPictures, copies: int = 1) -> torch.Tensor:
        """All pictures, one label map after the other, from codes on: `[maps * copies, 3, H, W]` on the CPU."""
        made = []
        for index in range(len(self.codes)):
            seeds = None if self.seeds is None else self.seeds[index : index + 1].repeat(copies)
            drawn = self.styles is not None or seeds is not None
            label_input = self.label_input(generator, index, copies=1 if drawn else copies)
            z = own_styles(self.styles, index, label_input)
            z = None if z is None else z.repeat_interleave(copies, 0)
            made.append(generator(label_input, z, seeds).float().cpu())
        return torch.cat(made)

    def label_input(self, generator: DrawsPictures | Signature, index: int, *, copies: int = 1) -> LabelInput:
        """Label map `index` in the form that a generator or engine wants, with its canvas, so many times."""
        label_input = generator.label_input(self.codes[index : index + 1].repeat(copies, 1, 1))
        if self.canvases is None:
            return label_input
        return label_input.with_canvas(self.canvases[index : index + 1].repeat(copies, 1, 1, 1))


def prepare_subject(
    checkpoint: str | Path,
    size: tuple[int, int] | None,
    modulation: Form | None,
    batch: int,
    source: Path | None,
    maps: int,
    *,
    bank: str | Path | None = None,
) -> Subject:
    """The generator of a checkpoint at a `size` (height, width), with `maps` label maps of `source` or landscapes.

    On those of SIMS pieces of `bank` are pasted (None: of its recipe's). Raises `InputError` for a generator that there
    are no engines for, for a size, maps or a bank that do not fit it, and where there is no bank.
    """
    loaded = load_checkpoint(resolve_checkpoint(checkpoint))
    recipe = loaded.recipe
    if recipe.generator.region_styles == "instance" and recipe.generator.kind != "pix2pixhd":
        raise InputError(
            "the generator has a style for each instance, of which every label map has another number; there are no "
            "engines for it, draw without --engine"
        )
    if size:
        recipe = recipe.model_copy(
            update={"data": recipe.data.model_copy(update={"height": size[0], "width": size[1]})}
        )
    if modulation and recipe.generator.kind != "spade" and modulation != "dense":
        raise InputError(
            f"generators of kind {recipe.generator.kind} are compiled as they are, without tables of windows; "
            f"leave out --modulation {modulation}"
        )
    if modulation and "modulation" in type(recipe.generator).model_fields:
        recipe = recipe.model_copy(update={"generator": recipe.generator.model_copy(update={"modulation": modulation})})
    device = torch.device(default_device())
    if recipe.generator.kind != "spade":  # which tells by itself
        recipe.generator.check_size(recipe.data.height, recipe.data.width, 1)
    generator = adapted(loaded.generator, recipe).to(device)
    canvases = None
    if (paster := open_paster(recipe, generator, bank, "exclude")) is not None:
        maps_to_check, canvases = _pasted(
            recipe, paster, sample_records(recipe, source, count=maps, share_classes=True)
        )
        canvases = canvases.to(device)
    else:
        maps_to_check = sample_codes(recipe, source, count=maps, share_classes=True)
    if any(isinstance(module, InstanceNorm) for module in generator.modules()):
        # Of a map of one class, instance norm leaves rounding noise, two hundred times as much after every layer.
        alone, _ = split_codes(maps_to_check, recipe.labels)
        maps_to_check = maps_to_check[[codes.min() != codes.max() for codes in alone]]
        if not len(maps_to_check):
            raise InputError("all label maps are of one class, which instance normalisation washes away; give others")
        maps = len(maps_to_check)
    codes = torch.from_numpy(maps_to_check).to(device)
    regions = 0
    if recipe.generator.region_styles == "instance":
        regions = 1 + int(split_codes(maps_to_check, recipe.labels)[1].max())
    styles, seeds = draws(recipe, "parity", maps, device, regions=regions)
    reference = _reference(generator, codes, canvases, styles, seeds)
    if (contrast := float(reference.std())) < 0.02:
        log.warning("pictures of these weights are flat (deviation %.2g), so the comparison says little", contrast)
    return Subject(
        weights=loaded.sha256,
        recipe=recipe,
        generator=generator,
        signature=make_signature(recipe, batch),
        device=device,
        codes=codes,
        canvases=canvases,
        styles=styles,
        seeds=seeds,
        reference=reference,
    )


def draws(
    recipe: Recipe, name: str, count: int, device: torch.device, *, regions: int = 0
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Styles float32 `[count, style_dim]`, or `[count, classes, style_dim]`, and seeds int64 `[count]`, those of a
    `name` always the same; None for what the generator takes none of. `regions`: how many, where these are instances.
    """
    settings, dim = recipe.generator, recipe.generator.style_dim
    styles = torch.stack([style_noise(0, name, index, dim) for index in range(count)]).to(device) if dim else None
    drawn = record_seeds(0, [f"{name} {index}" for index in range(count)]).to(device)
    if settings.region_styles != "none":
        styles = region_styles(drawn, regions or recipe.labels.class_channels, dim)
    return styles, drawn if settings.takes_seeds else None


def own_styles(styles: torch.Tensor | None, index: int, label_input: LabelInput) -> torch.Tensor | None:
    """Of all maps' styles those of map `index`, `[1, style_dim]` or `[1, regions, style_dim]` for its own regions."""
    if styles is None:
        return None
    own = styles[index : index + 1]
    return own if label_input.regions is None else own[:, : label_input.region_count]


def _pasted(recipe: Recipe, paster: SegmentPaster, records: Sequence[Record]) -> tuple[np.ndarray, torch.Tensor]:
    """Codes int32 `[maps, H, W]`, rewritten, and canvases float32 `[maps, 4, H, W]` of label maps."""
    found = [paste_record(paster, each.label, each.instance, record=each.id, seed=0) for each in records]
    codes = np.stack([recipe.encode(each.label, each.instance) for each in found])
    canvases = torch.from_numpy(np.stack([each.canvas for each in found]))
    return codes, canvases.permute(0, 3, 1, 2).contiguous().float() / 255


@torch.inference_mode()
def _reference(
    generator: AnyGenerator,
    codes: torch.Tensor,
    canvases: torch.Tensor | None,
    styles: torch.Tensor | None,
    seeds: torch.Tensor | None,
) -> torch.Tensor:
    """Pictures as published: dense, in float32, with nothing rounded to fewer bits on a GPU."""
    made = []
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        for index, one in enumerate(codes.split(1)):
            label_input = LabelInput.of_recipe(one, generator.space, generator.settings.region_styles, "dense")
            if canvases is not None:
                label_input = label_input.with_canvas(canvases[index : index + 1])
            seed = None if seeds is None else seeds[index : index + 1]
            made.append(generator(label_input, own_styles(styles, index, label_input), seed).cpu())
    return torch.cat(made)
