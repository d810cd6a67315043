"""The SPADE generator (Appendix A, Fig. 11): no encoder of the label map, only SPADE blocks and doublings."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import ConcatSettings, DecoderSettings, GeneratorSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.initialise import glorot_normal
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import draw_noise, split_noise
from pipeline.networks.resampling import enlarge
from pipeline.networks.spade import SLOPE, SPADE, SPADEBlock, code_table, convolve_codes

AnyDecoder: TypeAlias = GeneratorSettings | ConcatSettings
"""Settings of this generator, and of the one with concatenation in the place of SPADE."""


class Generator(nn.Module):
    """Label codes, and a style vector if it takes one, to pictures.

    `height` and `width` are those of the pictures. With a style vector that enters first, the first feature map is a
    linear layer of fixed size; otherwise it is a convolution of the shrunk label map, and other sizes work too.
    """

    memory_format = torch.channels_last
    """Of the feature maps: pixels one after the other, each with all its channels, as look-ups by pixel want them."""
    block: type[nn.Module] = SPADEBlock
    """What it is made of, after the first layer."""

    def __init__(self, settings: AnyDecoder, space: LabelSpace, *, height: int, width: int) -> None:
        super().__init__()
        self.settings: AnyDecoder = settings
        self.space = space
        self.size = (height, width)
        first = _first_size(settings, height, width)
        wide = 16 * settings.channels
        if settings.style_dim and not settings.style_channels:
            self.first: nn.Module = nn.Linear(settings.style_dim, wide * first[0] * first[1])
        else:
            self.first = nn.Conv2d(space.channels + settings.style_channels, wide, 3, padding=1)
        widths = _block_widths(settings)
        self.blocks = nn.ModuleList(
            self.block(inputs, outputs, settings, space) for inputs, outputs in pairwise(widths)
        )
        self.to_rgb = nn.Conv2d(widths[-1], 3, 3, padding=1)
        for number, layer in enumerate(module for module in self.modules() if isinstance(module, SPADE)):
            layer.number = number
        glorot_normal(self)

    def forward(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pictures `[N, 3, H, W]` in (-1, 1) of codes int32 `[N, H, W]`, or of their `LabelInput`.

        `z` `[N, style_dim]` for a generator with style, or `[N, regions, style_dim]` where it enters everywhere;
        `seeds` int64 `[N]` for one with noise. With the input of one label map and N of either: N pictures of that map.
        Raises `InputError` where what is needed is missing.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        label_input = with_draws(label_input, z, seeds, self.settings)
        doubles = doubled_before(self.settings)
        x = first_map(self.first, label_input, z, settings=self.settings, size=self.size)
        x = x.contiguous(memory_format=self.memory_format)  # [N, 16 channels, H / 2^d, W / 2^d]
        for block, double in zip(self.blocks, doubles, strict=True):
            if double:
                x = enlarge(x, self.settings.enlargement)
            x = block(x, label_input)
        return torch.tanh(self.to_rgb(F.leaky_relu(x, SLOPE)))  # [N, 3, H, W]

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """Codes int32 `[N, H, W]` in the form the layers want, with this generator's modulation and regions."""
        return make_label_input(codes, self.space, self.settings)


def make_label_input(codes: torch.Tensor, space: LabelSpace, settings: AnyDecoder) -> LabelInput:
    """Codes int32 `[N, H, W]`, of `Recipe.encode`, as a generator of some settings takes them."""
    return LabelInput.of_recipe(codes, space, settings.region_styles, settings.modulation, settings.doublings)


def with_draws(
    label_input: LabelInput, z: torch.Tensor | None, seeds: torch.Tensor | None, settings: AnyDecoder
) -> LabelInput:
    """The label maps as the layers see them: with the style where it enters everywhere, and with noise.

    Raises `InputError` where a generator that takes a style or seeds got none.
    """
    if settings.style_dim and z is None:
        raise InputError(f"this generator takes a style vector of length {settings.style_dim}, and got none")
    if settings.style_channels and z is not None:
        label_input = label_input.with_styles(z)
    if not settings.noise:
        return label_input
    if seeds is None:
        raise InputError("this generator adds noise and takes a seed for each picture, and got none")
    height, width = label_input.codes.shape[1:]
    sizes = layer_sizes(settings, (height, width))
    return label_input.with_noise(split_noise(draw_noise(seeds, sizes), sizes))


def first_map(
    layer: nn.Module,
    label_input: LabelInput,
    z: torch.Tensor | None,
    *,
    settings: AnyDecoder,
    size: tuple[int, int],
    table: torch.Tensor | None = None,
) -> torch.Tensor:
    """The feature map that the blocks start from: `[N, 16 channels, H / 2^d, W / 2^d]` for N pictures.

    `table` may hold `code_table` of the layer's weight, where that does not change any more. Raises `InputError` for
    label maps of a size that the layer cannot take.
    """
    height, width = label_input.codes.shape[1:]
    first = _first_size(settings, height, width)
    if isinstance(layer, nn.Conv2d):
        if label_input.modulation == "dense":
            x = layer(label_input.one_hot_at(*first, layer.weight.dtype))
        else:
            table = code_table(layer.weight, label_input.space, label_input.styled) if table is None else table
            x = convolve_codes(label_input.numbers_at(*first), table, layer.bias, layer.kernel_size[0])
        return x if label_input.noise is None else x.expand(len(label_input.noise[0]), -1, -1, -1)
    assert z is not None
    if (height, width) != size:
        raise InputError(
            f"a generator with style makes pictures of one size, {size[1]}x{size[0]}; the label map is {width}x{height}"
        )
    return layer(z).view(len(z), -1, *first)


def doubled_before(settings: DecoderSettings) -> list[bool]:
    """For each block in turn, whether the resolution doubles before it."""
    if settings.upsampling == "normal":
        return [False, True, False, True, True, True, True]
    return [False, True, True, True, True, True, True] + ([True] if settings.upsampling == "most" else [])


def layer_sizes(settings: DecoderSettings, size: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) of the feature map in each SPADE layer, by `SPADE.number`, for pictures of a `size`."""
    height, width = _first_size(settings, *size)
    sizes = []
    for double, (inputs, outputs) in zip(doubled_before(settings), pairwise(_block_widths(settings)), strict=True):
        height, width = (2 * height, 2 * width) if double else (height, width)
        sizes += [(height, width)] * (2 if inputs == outputs else 3)
    return sizes


def least_weights(settings: AnyDecoder, space: LabelSpace, *, height: int, width: int) -> int:
    """A lower bound of how many weights such a generator has, without building it: those of its large layers."""
    pixels = (height * width) // 4**settings.doublings
    widths = _block_widths(settings)
    modulation = 2 * settings.hidden * settings.kernel_size**2 if settings.kind == "spade" else 0
    if settings.style_dim and not settings.style_channels:
        first = settings.style_dim * widths[0] * pixels
    else:
        first = (space.channels + settings.style_channels) * widths[0] * 9
    return first + sum(
        9 * min(inputs, outputs) * (inputs + outputs) + inputs * modulation for inputs, outputs in pairwise(widths)
    )


def _block_widths(settings: DecoderSettings) -> list[int]:
    """Channels before the first block, and after each one."""
    widths = [16, 16, 16, 16, 8, 4, 2, 1]
    channels = [settings.channels * width for width in widths]
    return [*channels, max(1, settings.channels // 2)] if settings.upsampling == "most" else channels


def _first_size(settings: DecoderSettings, height: int, width: int) -> tuple[int, int]:
    multiple = settings.multiple
    if height % multiple or width % multiple:
        raise InputError(f"label map is {width}x{height}, but this generator needs multiples of {multiple}")
    return height // multiple, width // multiple
