"""The spatially-adaptive normalisation layer and the residual block made of it (Sec. 3 and Fig. 2, 4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.inference.onednn import matrix_product
from pipeline.networks.label_input import LabelInput, Styled
from pipeline.networks.noise import add_noise
from pipeline.networks.normalise import parameter_free_norm
from pipeline.networks.patterns.modulation import modulate
from pipeline.networks.patterns.patterns import Patterns
from pipeline.networks.spectral import spectral_norm

SLOPE = 0.2
"""Of every leaky ReLU in the generator."""


class SPADE(nn.Module):
    """Normalise without parameters, then scale and shift each pixel as the label map around it says (Eq. 1).

    gamma and beta are two convolutions of a hidden layer, itself a convolution (and ReLU) of the label map. They are
    computed at every pixel ("dense"), or once for each distinct window of the label map ("pattern"): the same numbers.
    """

    number = 0
    """Of the layer among those of its generator: each adds noise of its own."""
    noise_scale: nn.Parameter | None

    def __init__(self, channels: int, settings: GeneratorSettings, space: LabelSpace) -> None:
        super().__init__()
        kernel = settings.kernel_size
        self.space = space
        self.kernel_size = kernel
        self.register_parameter("noise_scale", nn.Parameter(torch.zeros(channels)) if settings.noise else None)
        self.norm = parameter_free_norm(channels, settings.statistics)
        self.shared = nn.Conv2d(space.channels + settings.style_channels, settings.hidden, kernel, padding=kernel // 2)
        self.gamma = nn.Conv2d(settings.hidden, channels, kernel, padding=kernel // 2)
        self.beta = nn.Conv2d(settings.hidden, channels, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor, label_input: LabelInput, slope: float = 1.0) -> torch.Tensor:
        """`x` `[N, C, H, W]` to the same shape; then a leaky ReLU of that slope (1: none)."""
        height, width = x.shape[2:]
        if self.noise_scale is not None and label_input.noise is not None:
            x = add_noise(x, label_input.noise[self.number], self.noise_scale)
        normalised = self.norm(x)
        patterns = label_input.patterns_at(height, width, self.kernel_size)
        if patterns is None:
            gamma, beta = self.dense(label_input.one_hot_at(height, width, self.shared.weight.dtype))
            return F.leaky_relu(normalised * (1 + gamma) + beta, slope)
        return modulate(normalised, self.table(patterns, label_input.styled).to(normalised.dtype), patterns, slope)

    def dense(self, label_input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """gamma and beta at every pixel, from the one-hot label map (and style) `[N, channels, H, W]`."""
        hidden = F.relu(self.shared(label_input))
        return self.gamma(hidden), self.beta(hidden)

    def table(self, patterns: Patterns, styled: Styled | None = None) -> torch.Tensor:
        """`[1 + gamma | beta]` for each distinct window: `[U, 2C]`."""
        weight = torch.cat([self.gamma.weight, self.beta.weight])  # [2C, hidden, k, k]
        assert self.shared.bias is not None and self.gamma.bias is not None and self.beta.bias is not None
        bias = torch.cat([self.gamma.bias + 1, self.beta.bias])
        taps = tap_products(weight)
        codes = code_table(self.shared.weight, self.space, styled)
        return pattern_table(patterns, codes, self.shared.bias, lambda hidden: matrix_product(hidden, taps), bias)


def code_table(weight: torch.Tensor, space: LabelSpace, styled: Styled | None = None) -> torch.Tensor:
    """What each code at each tap adds to the hidden layer: `[hidden, channels, k, k]` to `[k*k*codes, hidden]`.

    A convolution of a one-hot map is a sum of columns of its weight, one for each tap. A style vector that stands
    beside the label map adds the same to all pixels of its region, and nothing outside: with `styled`, of R regions,
    the rows are those of `LabelInput.numbers_at`, `[k*k*(1 + 2 * R), hidden]`.
    """
    columns = weight.flatten(2).permute(2, 1, 0)  # [k*k, channels, hidden]
    plain = columns[:, : space.class_channels]
    edged = plain + columns[:, space.channels - 1 : space.channels] if space.instance_edges else plain
    table = torch.stack([plain, edged], dim=2)  # [k*k, classes, 2, hidden]
    if styled is not None:
        added = styled.styles.to(columns.dtype) @ columns[:, space.channels :]  # [k*k, styles, hidden]
        table = table[:, styled.classes] + added[:, styled.numbers].unsqueeze(2)  # [k*k, R, 2, hidden]
    table = table.flatten(1, 2)  # codes 1, 2, 3, ...
    outside = torch.zeros_like(table[:, :1])  # code 0: nothing
    return torch.cat([outside, table], dim=1).flatten(0, 1)


def convolve_codes(
    codes: torch.Tensor, table: torch.Tensor, bias: torch.Tensor | None, kernel_size: int
) -> torch.Tensor:
    """A convolution of the one-hot map of `codes` `[N, H, W]` that never builds it: `[N, outputs, H, W]`.

    `table` `[k*k*codes, outputs]` is `code_table` of the weight. For small maps: every pixel's window is looked up.
    """
    taps, radius = kernel_size**2, kernel_size // 2
    windows = F.pad(codes, [radius] * 4).unfold(1, kernel_size, 1).unfold(2, kernel_size, 1)
    first = torch.arange(0, len(table), len(table) // taps, device=codes.device, dtype=codes.dtype)
    pixels = F.embedding_bag((windows.flatten(3) + first).flatten(0, 2), table, mode="sum")
    pixels = pixels if bias is None else pixels + bias
    return pixels.view(*codes.shape, -1).permute(0, 3, 1, 2)


def tap_products(weight: torch.Tensor) -> torch.Tensor:
    """A convolution's weight `[2C, hidden, k, k]` as the matrix `[k*k*2C, hidden]` of its taps, one below the other."""
    return weight.flatten(2).permute(2, 0, 1).flatten(0, 1)


def pattern_table(
    patterns: Patterns,
    codes: torch.Tensor,
    hidden_bias: torch.Tensor,
    products: Callable[[torch.Tensor], torch.Tensor],
    bias: torch.Tensor,
) -> torch.Tensor:
    """Both convolutions of a SPADE layer, once for each distinct window: `[U, 2C]`.

    `codes` from `code_table`, `hidden_bias` `[hidden]`, `products` multiplies by `tap_products`, `bias` `[2C]`.

    Either convolution is a product for each distinct thing at a tap, then a sum over the taps of look-ups in the
    products. There are fewer distinct hidden windows (V) than windows of them (U), so products come first.
    """
    hidden = F.relu(F.embedding_bag(patterns.code_index(len(codes)), codes, mode="sum") + hidden_bias)  # [V, hidden]
    hidden = F.pad(hidden, (0, 0, 1, 0))  # row 0: outside the image, where hidden is 0
    taps = products(hidden).view(-1, len(bias))  # [(1 + V)*k*k, 2C]
    return F.embedding_bag(patterns.window_index, taps.to(bias.dtype), mode="sum") + bias


class SPADEBlock(nn.Module):
    """A residual block with SPADE before each convolution, and on its shortcut where the width changes (Fig. 4)."""

    def __init__(self, inputs: int, outputs: int, settings: GeneratorSettings, space: LabelSpace) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norm_0 = SPADE(inputs, settings, space)
        self.conv_0 = spectral_norm(nn.Conv2d(inputs, middle, 3, padding=1))
        self.norm_1 = SPADE(middle, settings, space)
        self.conv_1 = spectral_norm(nn.Conv2d(middle, outputs, 3, padding=1))
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.norm_shortcut = SPADE(inputs, settings, space)
            self.conv_shortcut = spectral_norm(nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor, label_input: LabelInput) -> torch.Tensor:
        """`x` `[N, inputs, H, W]` to `[N, outputs, H, W]`."""
        shortcut = self.conv_shortcut(self.norm_shortcut(x, label_input)) if self.learned_shortcut else x
        x = self.conv_0(self.norm_0(x, label_input, SLOPE))
        x = self.conv_1(self.norm_1(x, label_input, SLOPE))
        return shortcut + x
