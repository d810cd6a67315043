"""pix2pixHD's global generator (Wang et al., CVPR 2018, Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.config import Pix2PixHDSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.instance_styles import InstanceStyles
from pipeline.networks.baselines.units import Hourglass, UnitFactory, check_size, last_layer
from pipeline.networks.initialise import pix2pixhd_normal
from pipeline.networks.label_input import LabelInput


class GlobalGenerator(nn.Module):
    """Label codes, and the planes of a feature encoder if it takes them, to pictures."""

    def __init__(self, settings: Pix2PixHDSettings, space: LabelSpace) -> None:
        super().__init__()
        assert not settings.enhancers, "with enhancers it is the LocalEnhancer"
        self.settings, self.space = settings, space
        self.body = global_body(settings, space)
        self.last = last_layer(settings.channels)
        self.styles = instance_styles(settings, space)
        pix2pixhd_normal(self)

    def forward(
        self,
        codes: torch.Tensor | LabelInput,
        z: torch.Tensor | None = None,
        seeds: torch.Tensor | None = None,
        *,
        features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pictures `[N, 3, H, W]` in (-1, 1) of codes int32 `[N, H, W]`, or of their `LabelInput`.

        Where the generator takes features: `features` `[N, settings.features, H, W]`, of photographs; or `z`
        `[N, regions, 1]`, by which each instance draws those of its class (`InstanceStyles`), also N for one label map.
        `seeds` change nothing. Raises `InputError` for sizes that it cannot halve so often, and for missing or
        superfluous features.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        if features is None and z is not None and self.styles is not None:
            features = self.styles(label_input, z)
        planes = input_planes(label_input, features, self.settings, self.last.weight.dtype)
        return torch.tanh(self.last(self.body(planes)))

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """The label maps in the form the layers want. Raises `InputError` for sizes that it cannot halve so often."""
        return plain_input(codes, self.settings, self.space)


def global_body(settings: Pix2PixHDSettings, space: LabelSpace) -> Hourglass:
    """The global generator without its last layer; its width is that of the outermost enhancer, doubled for each."""
    return Hourglass(
        UnitFactory(statistics=settings.statistics),
        inputs=space.channels + settings.features,
        channels=settings.channels * 2**settings.enhancers,
        downsamplings=settings.downsamplings,
        blocks=settings.blocks,
    )


def plain_input(codes: torch.Tensor, settings: Pix2PixHDSettings, space: LabelSpace) -> LabelInput:
    """The label maps of codes int32 `[N, H, W]`. Raises `InputError` for sizes that cannot be halved so often."""
    check_size(codes.shape[1], codes.shape[2], multiple=settings.multiple, least=settings.least)
    return LabelInput.of_recipe(codes, space, settings.region_styles, "dense")


def instance_styles(settings: Pix2PixHDSettings, space: LabelSpace) -> InstanceStyles | None:
    """Room for the centres of a generator that takes features; None for others."""
    if not settings.features:
        return None
    return InstanceStyles(space, features=settings.features, centres=settings.centres)


def input_planes(
    label_input: LabelInput, features: torch.Tensor | None, settings: Pix2PixHDSettings, dtype: torch.dtype
) -> torch.Tensor:
    """What the first layer takes: one-hot classes, instance edges, features; `[N, inputs, H, W]`.

    Raises `InputError` for missing or superfluous features.
    """
    height, width = label_input.codes.shape[1:]
    planes = label_input.one_hot_at(height, width, dtype)
    if not settings.features:
        if features is not None:
            raise InputError("this generator takes no features, and got some; generator.features is 0")
        return planes
    if features is None:
        raise InputError(
            f"this generator takes {settings.features} planes of features, or a number for each region to draw them, "
            "and got neither"
        )
    return torch.cat([planes.expand(len(features), -1, -1, -1), features.to(dtype)], dim=1)
