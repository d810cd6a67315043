"""pix2pixHD's local enhancers: generators of twice the resolution around the global one (Sec. 3.1)."""

from __future__ import annotations

import itertools
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import Pix2PixHDSettings
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.pix2pixhd import global_body, input_planes, instance_styles, plain_input
from pipeline.networks.baselines.units import ResidualBlock, UnitFactory, last_layer
from pipeline.networks.initialise import pix2pixhd_normal
from pipeline.networks.label_input import LabelInput

Stage: TypeAlias = Literal["global", "enhancers", "all"]
"""What is trained: the global generator by itself, the enhancers around it, or everything."""


class LocalEnhancer(nn.Module):
    """The global generator without its last layer, at the lowest resolution, and `settings.enhancers` around it.

    Trained in stages, where the settings say so: the global generator by itself, with a last layer of its own, the
    enhancers alone, then everything.
    """

    stage: Stage = "all"
    """Which part of the training it is in; in "global" only the global generator makes the pictures."""

    def __init__(self, settings: Pix2PixHDSettings, space: LabelSpace) -> None:
        super().__init__()
        assert settings.enhancers, "without enhancers it is the GlobalGenerator"
        self.settings, self.space = settings, space
        units = UnitFactory(statistics=settings.statistics)
        inputs = space.channels + settings.features
        self.body = global_body(settings, space)
        self.enhancers = nn.ModuleList(
            Enhancer(units, inputs=inputs, channels=settings.channels * 2**inside, blocks=settings.enhancer_blocks)
            for inside in reversed(range(settings.enhancers))
        )
        self.last = last_layer(settings.channels)
        self.coarse_last: nn.Conv2d | None = None
        """Of the global generator by itself; None where it is not trained by itself."""
        if settings.global_steps:
            self.coarse_last = last_layer(settings.channels * 2**settings.enhancers)
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
        """Pictures `[N, 3, H, W]` in (-1, 1), as `GlobalGenerator` makes them.

        In the stage "global" those of that generator alone: in training of label maps at its own resolution, in
        evaluation enlarged to the label map's.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        if features is None and z is not None and self.styles is not None:
            features = self.styles(label_input, z)
        planes = input_planes(label_input, features, self.settings, self.last.weight.dtype)
        if self.stage == "global":
            return self._coarse(planes)
        pyramid = [*itertools.accumulate(self.enhancers, lambda x, _: halve(x), initial=planes)]
        x = self.body(pyramid.pop())  # [N, channels * 2^n, H / 2^n, W / 2^n] for n enhancers
        for enhancer in self.enhancers:
            x = enhancer(pyramid.pop(), x)
        return torch.tanh(self.last(x))

    def _coarse(self, planes: torch.Tensor) -> torch.Tensor:
        assert self.coarse_last is not None
        height, width = planes.shape[2:]
        if not self.training:
            for _ in range(self.settings.enhancers):
                planes = halve(planes)
        pictures = torch.tanh(self.coarse_last(self.body(planes)))
        return pictures if self.training else F.interpolate(pictures, size=(height, width), mode="bilinear")

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """The label maps in the form the layers want. Raises `InputError` for sizes that it cannot halve so often."""
        alone = self.stage == "global" and self.training
        settings = self.settings.model_copy(update={"enhancers": 0}) if alone else self.settings
        return plain_input(codes, settings, self.space)


class Enhancer(nn.Module):
    """Halves the resolution, adds the features from inside, and doubles it again."""

    def __init__(self, units: UnitFactory, *, inputs: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = units.conv(inputs, channels, 7, reflect=True)
        self.down = units.conv(channels, 2 * channels, stride=2)
        self.blocks = nn.ModuleList(ResidualBlock(units, 2 * channels) for _ in range(blocks))
        self.up = units.doubling(2 * channels, channels)

    def forward(self, planes: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Planes `[N, inputs, H, W]` and features `[N, 2 channels, H / 2, W / 2]` to `[N, channels, H, W]`."""
        x = F.relu(self.first(planes))
        x = F.relu(self.down(x)) + inside
        for block in self.blocks:
            x = block(x)
        return F.relu(self.up(x))


def halve(planes: torch.Tensor) -> torch.Tensor:
    """The mean of 3x3 pixels, those outside left out: `[N, C, H, W]` to half the resolution, rounded up."""
    return F.avg_pool2d(planes, 3, stride=2, padding=1, count_include_pad=False)
