"""What pix2pixHD's generators are made of: normalised convolutions, residual blocks, and the hourglass of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import GeneratorSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.label_input import LabelInput
from pipeline.networks.normalise import Statistics, learned_norm
from pipeline.networks.spade import SPADE
from pipeline.networks.spectral import spectral_norm


class Unit(nn.Module):
    """A convolution and what normalises its output; with SPADE, by the label map."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: torch.Tensor, label_input: LabelInput | None = None) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, h, w]`, before any activation."""
        x = self.conv(x)
        return self.norm(x, label_input) if isinstance(self.norm, SPADE) else self.norm(x)


@dataclass(frozen=True, kw_only=True)
class UnitFactory:
    """Makes all normalised convolutions of a network."""

    statistics: Statistics | Literal["none"]
    spectral: bool = False
    bias: bool = True
    """pix2pixHD keeps the biases that a normalisation takes away again."""
    spade: GeneratorSettings | None = None
    """Normalise by SPADE layers of these settings."""
    space: LabelSpace | None = None
    """Of their label maps."""

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, reflect: bool = False) -> Unit:
        """A convolution that keeps the size, but for its stride; what lies outside is 0 or reflected."""
        mode: Literal["reflect", "zeros"] = "reflect" if reflect else "zeros"
        padding = kernel // 2
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=self.bias, padding_mode=mode)
        return Unit(spectral_norm(conv) if self.spectral else conv, self._norm(outputs))

    def doubling(self, inputs: int, outputs: int) -> Unit:
        """A transposed convolution to twice the resolution."""
        conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=self.bias)
        return Unit(spectral_norm(conv) if self.spectral else conv, self._norm(outputs))

    def _norm(self, channels: int) -> nn.Module:
        if self.spade is not None:
            assert self.space is not None
            return SPADE(channels, self.spade, self.space)
        return nn.Identity() if self.statistics == "none" else learned_norm(channels, self.statistics)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, with nothing after the sum (He et al. 2016)."""

    def __init__(self, units: UnitFactory, channels: int, *, kernel: int = 3, label_channels: int = 0) -> None:
        """`label_channels`: of the label map, put beside what the first convolution takes; 0: it is not."""
        super().__init__()
        self.label_channels = label_channels
        self.conv_0 = units.conv(channels + label_channels, channels, kernel, reflect=True)
        self.conv_1 = units.conv(channels, channels, kernel, reflect=True)

    def forward(self, x: torch.Tensor, label_input: LabelInput | None = None) -> torch.Tensor:
        """`[N, C, H, W]` to the same shape."""
        y = x
        if self.label_channels:
            assert label_input is not None
            y = torch.cat([x, label_input.one_hot_at(x.shape[2], x.shape[3], x.dtype)], dim=1)
        return x + self.conv_1(F.relu(self.conv_0(y, label_input)), label_input)


class Hourglass(nn.Module):
    """pix2pixHD's encoder, residual blocks and decoder (Sec. 3.1), all but the layer that makes pictures."""

    def __init__(
        self,
        units: UnitFactory,
        *,
        inputs: int,
        channels: int,
        downsamplings: int,
        blocks: int,
        first_kernel: int = 7,
        block_kernel: int = 3,
        label_channels: int = 0,
    ) -> None:
        super().__init__()
        widths = [channels * 2**halvings for halvings in range(downsamplings + 1)]
        self.first = units.conv(inputs, channels, first_kernel, reflect=True)
        self.down = nn.ModuleList(units.conv(width, 2 * width, stride=2) for width in widths[:-1])
        self.blocks = nn.ModuleList(
            ResidualBlock(units, widths[-1], kernel=block_kernel, label_channels=label_channels) for _ in range(blocks)
        )
        self.up = nn.ModuleList(units.doubling(2 * width, width) for width in reversed(widths[:-1]))

    def forward(self, planes: torch.Tensor, label_input: LabelInput | None = None) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, channels, H, W]`, after the activation."""
        x = F.relu(self.first(planes, label_input))
        for unit in self.down:
            x = F.relu(unit(x, label_input))  # [N, channels * 2^i, H / 2^i, W / 2^i]
        for block in self.blocks:
            x = block(x, label_input)
        for unit in self.up:
            x = F.relu(unit(x, label_input))
        return x


def last_layer(channels: int, outputs: int = 3) -> nn.Conv2d:
    """The 7x7 convolution that makes pictures of features; tanh comes after."""
    return nn.Conv2d(channels, outputs, 7, padding=3, padding_mode="reflect")


def check_size(height: int, width: int, *, multiple: int, least: int) -> None:
    """Raises `InputError` for label maps that do not come out even, or too small for what is reflected around them."""
    if height % multiple or width % multiple:
        raise InputError(f"label map is {width}x{height}, but this generator needs multiples of {multiple}")
    if min(height, width) < least:
        raise InputError(
            f"label map is {width}x{height}, but this generator reflects more pixels around its features; "
            f"take {least} or more on each side"
        )
