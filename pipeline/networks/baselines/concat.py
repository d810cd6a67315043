"""The SPADE decoder with concatenation in the place of SPADE: the row "decoder w/ Concat" of the paper's Table 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import ConcatSettings
from pipeline.labels import LabelSpace
from pipeline.networks.generator import Generator
from pipeline.networks.label_input import LabelInput
from pipeline.networks.normalise import learned_norm
from pipeline.networks.spade import SLOPE
from pipeline.networks.spectral import spectral_norm


class ConcatBlock(nn.Module):
    """SPADE's residual block with ordinary normalisation, and the label map beside what each convolution takes."""

    def __init__(self, inputs: int, outputs: int, settings: ConcatSettings, space: LabelSpace) -> None:
        super().__init__()
        middle, labels = min(inputs, outputs), space.channels + settings.style_channels
        self.norm_0 = learned_norm(inputs, settings.statistics)
        self.conv_0 = spectral_norm(nn.Conv2d(inputs + labels, middle, 3, padding=1))
        self.norm_1 = learned_norm(middle, settings.statistics)
        self.conv_1 = spectral_norm(nn.Conv2d(middle + labels, outputs, 3, padding=1))
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.norm_shortcut = learned_norm(inputs, settings.statistics)
            self.conv_shortcut = spectral_norm(nn.Conv2d(inputs + labels, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor, label_input: LabelInput) -> torch.Tensor:
        """`x` `[N, inputs, H, W]` to `[N, outputs, H, W]`."""
        labels = label_input.one_hot_at(x.shape[2], x.shape[3], x.dtype)

        def beside(features: torch.Tensor) -> torch.Tensor:
            return torch.cat([features, labels.expand(len(features), -1, -1, -1)], dim=1)

        shortcut = self.conv_shortcut(beside(self.norm_shortcut(x))) if self.learned_shortcut else x
        x = self.conv_0(beside(F.leaky_relu(self.norm_0(x), SLOPE)))
        x = self.conv_1(beside(F.leaky_relu(self.norm_1(x), SLOPE)))
        return shortcut + x


class ConcatGenerator(Generator):
    """SPADE's generator with these blocks, which has no modulation, and nothing that adds noise."""

    block = ConcatBlock
