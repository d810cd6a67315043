"""A small generator whose pictures are not saturated, and label maps for it."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter

from pipeline.bench.generators import rescale_untrained
from pipeline.config import AnyGeneratorSettings, GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.generator import Generator
from pipeline.networks.generators import AnyGenerator, make_generator
from pipeline.networks.spectral import settle_spectral_norm
from tests.pipeline.networks.patterns.test_patterns import blobs

SPACE = LabelSpace(classes=tuple("abcde"), dont_care=9, instance_edges=True)


SIZE = (32, 64)


def lively_generator(size: tuple[int, int] = SIZE, **settings: object) -> Generator:
    """In evaluation mode, with statistics that are neither 0 nor 1, and noise, if any, that shows."""
    torch.manual_seed(0)
    made = Generator(GeneratorSettings(channels=2, hidden=8, **settings), SPACE, height=size[0], width=size[1])
    rescale_untrained(made)
    for name, parameter in made.named_parameters():
        if name.endswith("noise_scale"):
            torch.nn.init.normal_(parameter, 0, 0.5)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return made.eval()


KINDS: dict[str, dict[str, Any]] = {
    "concat": {"kind": "concat", "channels": 2, "style_dim": 5},
    "regions": {
        "kind": "concat", "channels": 2, "style_dim": 5, "style_input": "everywhere", "style_encoder": False,
        "region_styles": "class",
    },
    "plus": {"kind": "pix2pixhd_plus", "channels": 4, "downsamplings": 2, "blocks": 2, "labels": "concat"},
    "plus_spade": {
        "kind": "pix2pixhd_plus", "channels": 4, "downsamplings": 2, "blocks": 1, "labels": "spade", "hidden": 8,
        "statistics": "instance",
    },
    "pix2pixhd": {"kind": "pix2pixhd", "channels": 4, "downsamplings": 2, "blocks": 2},
    "enhanced": {"kind": "pix2pixhd", "channels": 4, "downsamplings": 1, "blocks": 1, "enhancers": 1},
    "featured": {
        "kind": "pix2pixhd", "channels": 4, "downsamplings": 2, "blocks": 2, "features": 3, "encoder_downsamplings": 2,
    },
    "featured_classes": {
        "kind": "pix2pixhd", "channels": 4, "downsamplings": 1, "blocks": 1, "enhancers": 1, "features": 2,
        "encoder_downsamplings": 2, "feature_regions": "class",
    },
    "sims": {"kind": "sims", "widths": (4, 4, 4, 4), "transform": True, "segment_widths": (2, 2, 2, 2)},
    "sims_outer": {"kind": "sims", "widths": (4, 4, 4, 4), "outer": True},
    "crn": {"kind": "crn", "widths": (8, 8, 8, 8)},
    "crn_three": {"kind": "crn", "widths": (8, 8, 8, 8), "pictures": 3},
}  # fmt: skip
"""Generators of the other kinds, by a name for each variant."""


def lively(name: str) -> AnyGenerator:
    """One of `KINDS`, in evaluation mode, whose pictures are neither grey nor black and white."""
    torch.manual_seed(0)
    settings = TypeAdapter(AnyGeneratorSettings).validate_python(KINDS[name])
    made = make_generator(settings, SPACE, height=SIZE[0], width=SIZE[1])
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.1)
        for buffer_name, buffer in made.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        settle_spectral_norm(made.eval())
        last = next(getattr(made, name) for name in ("to_rgb", "to_picture", "last") if hasattr(made, name))
        given: list[torch.Tensor] = []
        hook = last.register_forward_hook(lambda _, inputs, output: given.append(output))
        label_input = made.label_input(label_maps(1))
        if settings.kind == "sims":
            label_input = label_input.with_canvas(canvases(1))
        z = torch.randn(1, settings.style_dim) if settings.style_dim else None
        if settings.region_styles != "none":
            z = torch.randn(1, label_input.region_count, settings.style_dim)
        if settings.kind == "pix2pixhd" and settings.features:
            # Of class number n, n + 1 looks that are far apart.
            made.styles.set([5 * torch.randn(n + 1, settings.features) for n in range(SPACE.class_channels)])
        made(label_input, z, torch.tensor([0]))
        hook.remove()
        last.weight /= 2 * given[0].std()
    return made


def label_maps(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Codes int32 `[count, *size]` of a few flat areas and some single pixels."""
    return blobs(count, *size, space=SPACE).int()


def canvases(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """What was pasted, float32 `[count, 4, *size]`: blocks of random pixels, black where there are none."""
    random = torch.Generator().manual_seed(2)
    known = torch.rand(count, 1, size[0] // 4, size[1] // 4, generator=random).round().repeat_interleave(4, 2)
    known = known.repeat_interleave(4, 3)
    return torch.cat([known * torch.rand(count, 3, *size, generator=random), known], dim=1)


def with_regions(codes: torch.Tensor) -> torch.Tensor:
    """Codes `[N, H, W]` in which the classes of the right half are other instances than those of the left one."""
    right = torch.arange(codes.shape[2]) >= codes.shape[2] // 2
    numbers = (codes - 1) // 2 + SPACE.class_channels * right.int()
    return codes + (SPACE.codes - 1) * numbers
