"""What a generator costs: parameters, and multiplications and additions for one label map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.checkpoints.file import build_generator
from pipeline.config import Recipe
from pipeline.data.records import check_dataset, decode_record, iter_rows, resize_record


@dataclass(frozen=True)
class Cost:
    """Of a recipe's generator, in inference."""

    parameters: int
    gmac: float
    """Billions of multiply-accumulate operations for one picture in the dense form, as papers count them: in matrix
    products and convolutions alone, without what pattern modulation saves. Half of `torch.utils.flop_counter`'s."""


def measure_cost(recipe: Recipe) -> Cost:
    """Of the generator with fresh weights, on the first validation record; `InputError` where there is none."""
    check_dataset(recipe.data.validation, ("id", "label", "image"))
    record = decode_record(next(iter_rows(recipe.data.validation)), need_image=True)
    record = resize_record(record, recipe.data.height, recipe.data.width, resample=recipe.data.resample)
    if "modulation" in type(recipe.generator).model_fields:
        recipe = recipe.model_copy(update={"generator": recipe.generator.model_copy(update={"modulation": "dense"})})
    with torch.random.fork_rng(devices=[]):
        generator = build_generator(recipe).eval()
    codes = torch.from_numpy(recipe.encode(record.label, record.instance))[None]
    label_input = generator.label_input(codes)
    settings, z = recipe.generator, None
    if (
        settings.kind == "sims"
    ):  # Whatever was pasted, the cost is the same; that of finding and moving it is not counted.
        label_input = label_input.with_canvas(torch.zeros(1, 4, *codes.shape[1:]))
    if settings.style_dim:
        regions = (label_input.region_count,) if settings.region_styles != "none" else ()
        z = torch.zeros(1, *regions, settings.style_dim)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(label_input, z, torch.zeros(1, dtype=torch.int64))
    parameters = sum(each.numel() for each in generator.parameters())
    return Cost(parameters, counter.get_total_flops() / 2e9)
