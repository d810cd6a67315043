"""pix2pixHD++ (SPADE, Sec. 4): pix2pixHD's global generator with all that SPADE's training has, and its variants."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.config import GeneratorSettings, Pix2PixHDPlusSettings
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.units import Hourglass, UnitFactory, check_size, last_layer
from pipeline.networks.initialise import glorot_normal
from pipeline.networks.label_input import LabelInput


class Pix2PixHDPlusGenerator(nn.Module):
    """Label codes to pictures; no convolution before a norm has a bias."""

    def __init__(self, settings: Pix2PixHDPlusSettings, space: LabelSpace) -> None:
        super().__init__()
        self.settings, self.space = settings, space
        units = UnitFactory(
            statistics=settings.statistics,
            spectral=settings.spectral,
            bias=settings.statistics == "none",
            spade=_spade(settings),
            space=space,
        )
        self.body = Hourglass(
            units,
            inputs=space.channels,
            channels=settings.channels,
            downsamplings=settings.downsamplings,
            blocks=settings.blocks,
            first_kernel=settings.first_kernel_size,
            block_kernel=settings.block_kernel_size,
            label_channels=space.channels if settings.labels == "concat" else 0,
        )
        self.last = last_layer(settings.channels)
        glorot_normal(self)

    def forward(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pictures `[N, 3, H, W]` in (-1, 1) of codes int32 `[N, H, W]`, or of their `LabelInput`.

        There is nothing else that they depend on. Raises `InputError` as `label_input` does.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        height, width = label_input.codes.shape[1:]
        planes = label_input.one_hot_at(height, width, self.last.weight.dtype)
        return torch.tanh(self.last(self.body(planes, label_input)))

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """The label maps in the form the layers want, with this generator's choice of modulation.

        Raises `InputError` for sizes that it cannot halve so often.
        """
        check_size(codes.shape[1], codes.shape[2], multiple=self.settings.multiple, least=self.settings.least)
        return LabelInput(codes, self.space, self.settings.modulation, self.settings.downsamplings)


def _spade(settings: Pix2PixHDPlusSettings) -> GeneratorSettings | None:
    if settings.labels != "spade":
        return None
    assert settings.statistics != "none"
    return GeneratorSettings(kernel_size=settings.kernel_size, hidden=settings.hidden, statistics=settings.statistics)
