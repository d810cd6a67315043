"""The generator for inference: everything that does not depend on the label map is computed beforehand, in float32.

Spectral norm goes into the convolutions; the "1 +" of SPADE and, for batch statistics, the mean and variance too, go
into the weights that gamma and beta come from:

    scale = (1 + gamma) / sigma,    shift = beta - mean * scale,    out = leaky_relu(x * scale + shift)

so that a SPADE layer is one look-up and one fused multiply-add. Only then are the weights cast.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import Enlargement
from pipeline.networks.generator import Generator, doubled_before, first_map, make_label_input, with_draws
from pipeline.networks.inference.int8 import Int8Convolution, Span, by_block
from pipeline.networks.inference.onednn import PackedConvolution, matrix_product
from pipeline.networks.inference.winograd import WinogradConvolution, frozen_convolution
from pipeline.networks.label_input import LabelInput, Styled
from pipeline.networks.patterns.modulation import (
    Noise,
    look_up,
    map_to_pixels,
    modulate_pixels,
    repeated,
    with_noise,
)
from pipeline.networks.patterns.patterns import Patterns
from pipeline.networks.resampling import enlarge
from pipeline.networks.spade import SLOPE, SPADE, SPADEBlock, code_table, pattern_table, tap_products
from pipeline.networks.spectral import fold_spectral_norm


class FoldedGenerator(nn.Module):
    """A generator frozen for inference, in one precision. Equal to `Generator` in evaluation mode up to rounding.

    It owns its scratch memory, so one pass runs at a time: threads wait for each other.
    """

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32, *, spans: Sequence[Span] = ()) -> None:
        """With `spans` of `observe_spans`, the blocks' 3x3 convolutions are in int8, and `dtype` must be bfloat16."""
        super().__init__()
        assert not spans or dtype == torch.bfloat16
        self.settings, self.space, self.size = generator.settings, generator.space, generator.size
        self.dtype = dtype
        frozen = fold_spectral_norm(copy.deepcopy(generator).eval())
        height, width = (length // 2**self.settings.doublings for length in self.size)
        blocks = []
        pairs = by_block(spans, len(frozen.blocks))
        for block, doubled, pair in zip(frozen.blocks, doubled_before(self.settings), pairs, strict=True):
            height, width = (2 * height, 2 * width) if doubled else (height, width)
            enlargement = self.settings.enlargement if doubled else None
            blocks.append(FoldedBlock(cast(SPADEBlock, block), enlargement, (height, width), pair))
        self.blocks = nn.ModuleList(blocks)
        self.to_rgb = PackedConvolution(frozen.to_rgb.weight, frozen.to_rgb.bias, self.size)
        self.first = frozen.first
        self.requires_grad_(False).to(dtype=dtype)
        self._scratch = Scratch(dtype, next(self.parameters()).device)
        self._lock = threading.Lock()

    @torch.inference_mode()
    def forward(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `Generator.forward`; pictures are float32 `[N, 3, H, W]`.

        Given a `LabelInput` that was here before, gamma and beta are not computed again: more samples of a label map
        are cheaper than the first, except where the style enters everywhere.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        label_input = with_draws(label_input, z, seeds, self.settings)
        with self._lock:
            x = first_map(
                self.first,
                label_input,
                None if z is None else z.to(self.dtype),
                settings=self.settings,
                size=self.size,
                table=self._first_codes,
            )
            x = x.contiguous(memory_format=torch.channels_last)
            for block in self.blocks:
                x = block(x, label_input, self._scratch)
            return torch.tanh(self.to_rgb(F.leaky_relu_(x, SLOPE)).float())

    @property
    def convolutions(self) -> list[nn.Module]:
        """The blocks' 3x3 convolutions, in the order of `spans`."""
        return [block.get_submodule(name) for block in self.blocks for name in ("conv_0", "conv_1")]

    @cached_property
    def _first_codes(self) -> torch.Tensor | None:
        if not isinstance(self.first, nn.Conv2d) or self.settings.style_channels:
            return None
        return code_table(self.first.weight, self.space).contiguous()

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """As `Generator.label_input`."""
        return make_label_input(codes, self.space, self.settings)


class FoldedBlock(nn.Module):
    """A residual block, and the doubling before it, None for none.

    A map doubled by nearest neighbour is never written, only read where it is used.
    """

    def __init__(
        self,
        block: SPADEBlock,
        enlargement: Enlargement | None,
        size: tuple[int, int],
        spans: tuple[Span | None, Span | None] = (None, None),
    ) -> None:
        super().__init__()
        self.factor = 2 if enlargement == "nearest" else 1
        self.enlargement: Enlargement | None = None if enlargement == "nearest" else enlargement
        self.norm_0 = FoldedSPADE(block.norm_0, size)
        self.conv_0 = _convolution(block.conv_0, size, spans[0])
        self.norm_1 = FoldedSPADE(block.norm_1, size)
        self.conv_1 = _convolution(block.conv_1, size, spans[1])
        self.learned_shortcut = block.learned_shortcut
        if self.learned_shortcut:
            self.shortcut = FoldedShortcut(block.norm_shortcut, block.conv_shortcut.weight, size)

    def forward(self, x: torch.Tensor, label_input: LabelInput, scratch: Scratch) -> torch.Tensor:
        """`x` `[N, inputs, H, W]`, before the doubling if there is one, to `[N, outputs, H or 2H, W or 2W]`."""
        x = enlarge(x, self.enlargement) if self.enlargement else x
        batch, channels, height, width = x.shape
        wide = scratch.take((batch, channels, self.factor * height, self.factor * width))
        y = self.conv_0(self.norm_0(x, label_input, out=wide))
        y = self.conv_1(self.norm_1(y, label_input, out=y))
        if self.learned_shortcut:
            return self.shortcut(x, label_input, scratch=wide, onto=y)
        small, cells = laid_over(x, y)
        cells += small
        return y


def _convolution(convolution: nn.Conv2d, size: tuple[int, int], span: Span | None) -> nn.Module:
    """In int8 where it has a span, else in the type that the generator is cast to."""
    weight, bias = convolution.weight, convolution.bias
    if span is None:
        return frozen_convolution(weight, bias, size)
    assert bias is not None
    return Int8Convolution(weight, bias, span, size)


class FoldedSPADE(nn.Module):
    """A SPADE layer."""

    def __init__(self, layer: SPADE, size: tuple[int, int]) -> None:
        super().__init__()
        self.table = FoldedTable(layer, size)
        self.input = FoldedInput(layer)

    def forward(self, x: torch.Tensor, label_input: LabelInput, *, out: torch.Tensor) -> torch.Tensor:
        """`x` `[N, C, H, W]`, doubled if `out` is of twice the size, into `out`, with the activation.

        Without doubling, `out` may be `x` itself.
        """
        (table,), rows = self.table(label_input, out)
        pixels, cells, noise = self.input(x, label_input, out=out)
        modulate_pixels(pixels, table, rows, SLOPE, out=cells, noise=noise)
        return out


class FoldedShortcut(nn.Module):
    """A SPADE layer and the 1x1 convolution after it, with no activation between: it goes into the shifts.

        W (x * scale + shift) = W (x * scale) + W shift

    `W shift` has as many channels as the block's output, half of its input: fewer products and look-ups.
    """

    def __init__(self, layer: SPADE, weight: torch.Tensor, size: tuple[int, int]) -> None:
        super().__init__()
        self.table = FoldedTable(layer, size, projection=weight.flatten(1))
        self.input = FoldedInput(layer)
        self.convolution = PackedConvolution(weight, None, size)

    def forward(
        self, x: torch.Tensor, label_input: LabelInput, *, scratch: torch.Tensor, onto: torch.Tensor
    ) -> torch.Tensor:
        """Add the shortcut of `x` `[N, inputs, h, w]` to `onto` `[N, outputs, H, W]`; `scratch` `[N, inputs, H, W]`."""
        (scale, shift), rows = self.table(label_input, scratch)
        pixels, cells, noise = self.input(x, label_input, out=scratch)
        for part, found in look_up(scale, rows, cells.shape[:-1]):
            torch.mul(with_noise(pixels, noise, part, out=cells), found, out=cells[part])
        shortcut, out = map_to_pixels(self.convolution(scratch)), map_to_pixels(onto)
        for part, found in look_up(shift, rows, out.shape[:-1]):
            out[part].add_(shortcut[part]).add_(found)
        return onto


class FoldedInput(nn.Module):
    """What a SPADE layer scales and shifts: a feature map with noise, normalised if its statistics are its own."""

    def __init__(self, layer: SPADE) -> None:
        super().__init__()
        self.number, self.noise_scale = layer.number, layer.noise_scale
        self.instance = isinstance(layer.norm, nn.InstanceNorm2d)

    def forward(
        self, x: torch.Tensor, label_input: LabelInput, *, out: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Noise]:
        """Views as `laid_over(x, out)` gives them, and the noise that is still to be added to the pixels.

        It costs least where they are read. Statistics of an image are of its noise too, which therefore passes through
        `out` beforehand.
        """
        pixels, cells = laid_over(x, out)
        noise: Noise = None
        if self.noise_scale is not None and label_input.noise is not None:
            drawn = label_input.noise[self.number].to(out.dtype)
            noise = drawn.reshape(*cells.shape[:-1], 1), self.noise_scale
        if not self.instance:
            return pixels, cells, noise
        if noise is not None:
            torch.addcmul(pixels, *noise, out=cells)
            x = out
        return *laid_over(F.instance_norm(x), out), None


def laid_over(small: torch.Tensor, big: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Views of a channels-last map `[N, C, H, W]` and of one that is f times its size, whose pixels broadcast:
    `[N*H, 1, W, 1, C]` and `[N*H, f, W, f, C]`.
    """
    batch, channels, height, width = small.shape
    factor = big.shape[2] // height
    lines = batch * height
    return (
        small.permute(0, 2, 3, 1).reshape(lines, 1, width, 1, channels),
        big.permute(0, 2, 3, 1).view(lines, factor, width, factor, channels),
    )


class FoldedTable(nn.Module):
    """The convolutions behind a SPADE layer's gamma and beta, its statistics folded into them.

    With a `projection` `[outputs, C]`, that is applied to the shifts, and the two come apart.
    """

    def __init__(self, layer: SPADE, size: tuple[int, int], projection: torch.Tensor | None = None) -> None:
        super().__init__()
        self.kernel_size = layer.kernel_size
        self.space = layer.space
        self.size = size
        gamma, beta = layer.gamma, layer.beta
        assert gamma.bias is not None and beta.bias is not None and layer.shared.bias is not None
        scale_weight, scale_bias = gamma.weight.double(), gamma.bias.double() + 1
        shift_weight, shift_bias = beta.weight.double(), beta.bias.double()
        if not isinstance(layer.norm, nn.InstanceNorm2d):
            norm = cast(nn.BatchNorm2d, layer.norm)
            assert norm.running_mean is not None and norm.running_var is not None
            mean, rate = norm.running_mean.double(), torch.rsqrt(norm.running_var.double() + norm.eps)
            scale_weight, scale_bias = scale_weight * rate.view(-1, 1, 1, 1), scale_bias * rate
            shift_weight = shift_weight - mean.view(-1, 1, 1, 1) * scale_weight
            shift_bias = shift_bias - mean * scale_bias
        self.parts = [2 * len(scale_bias)]
        if projection is not None:
            shift_weight = torch.einsum("oc,chij->ohij", projection.double(), shift_weight)
            shift_bias = projection.double() @ shift_bias
            self.parts = [len(scale_bias), len(shift_bias)]
        dtype = gamma.weight.dtype
        self.shared_weight = nn.Parameter(layer.shared.weight.detach().clone())  # [hidden, channels, k, k]
        self.shared_bias = nn.Parameter(layer.shared.bias.detach().clone())
        self.codes = nn.Parameter(code_table(self.shared_weight, layer.space).contiguous())
        self.weight = nn.Parameter(torch.cat([scale_weight, shift_weight]).to(dtype))  # [C + C, hidden, k, k]
        self.bias = nn.Parameter(torch.cat([scale_bias, shift_bias]).to(dtype))

    def forward(self, label_input: LabelInput, out: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """For the pixels of `out` `[N, C, H, W]`: `[scale | shift]` in one table `[U, 2C]` or, with a projection, two,
        and the row that each pixel takes; None: they are in the order of the pixels.

        What depends on the label map alone is computed once for it.
        """
        batch, _, height, width = out.shape
        patterns = label_input.patterns_at(height, width, self.kernel_size)
        if patterns is not None:
            tables = label_input.remember(self, lambda: self._apart(self._pattern(patterns, label_input.styled)))
            return tables, repeated(patterns.rows.flatten(), batch, len(label_input.codes))
        one_hot = label_input.one_hot_at
        tables = label_input.remember(self, lambda: self._apart(self._dense(one_hot(height, width, out.dtype))))
        if batch == len(label_input.codes):
            return tables, None
        return tables, repeated(torch.arange(len(tables[0]), device=out.device), batch, len(label_input.codes))

    def _apart(self, table: torch.Tensor) -> list[torch.Tensor]:
        return [part.contiguous() for part in table.split(self.parts, dim=1)]

    def _pattern(self, patterns: Patterns, styled: Styled | None) -> torch.Tensor:
        """`[scale | shift]` for each distinct window: `[U, C + C]`."""
        codes = self.codes if styled is None else code_table(self.shared_weight, self.space, styled)
        return pattern_table(
            patterns, codes, self.shared_bias, lambda hidden: matrix_product(hidden, self._taps), self.bias
        )

    def _dense(self, one_hot: torch.Tensor) -> torch.Tensor:
        """`[scale | shift]` at every pixel: `[N*H*W, 2C]`."""
        hidden = F.relu_(F.conv2d(one_hot, self.shared_weight, self.shared_bias, padding=self.kernel_size // 2))
        return map_to_pixels(self._convolution(hidden))

    # Either form of the weights is made when it is first needed: most layers only ever need one.

    @cached_property
    def _taps(self) -> torch.Tensor:
        return tap_products(self.weight).contiguous()  # [k*k*2C, hidden]

    @cached_property
    def _convolution(self) -> PackedConvolution | WinogradConvolution:
        return frozen_convolution(self.weight, self.bias, self.size)


class Scratch:
    """Memory for the widest feature maps, kept between passes: fresh pages cost more than the work done in them."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._memory = torch.empty(0, dtype=dtype, device=device)

    def take(self, shape: tuple[int, int, int, int]) -> torch.Tensor:
        """A feature map `[N, C, H, W]` in channels-last memory, undefined, and valid until the next one is taken."""
        batch, channels, height, width = shape
        numbers = batch * channels * height * width
        if numbers > len(self._memory):
            self._memory = self._memory.new_empty(numbers)
        return self._memory[:numbers].view(batch, height, width, channels).permute(0, 3, 1, 2)
