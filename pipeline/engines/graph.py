"""The folded generator as compilers want it: plain operators, all of which every backend knows.

`FoldedGenerator` lives on oneDNN's packed weights, scratch memory and look-ups by chunk, none of which can be exported.
Here the same folded weights (folded in float32, then cast) meet in expressions that a compiler fuses by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import Enlargement
from pipeline.engines.fake_int8 import FakeInt8Convolution
from pipeline.engines.plain import plane_table
from pipeline.engines.signature import SHORTEST_TABLE, Form, Input, Signature
from pipeline.networks.generator import Generator, doubled_before
from pipeline.networks.inference.folded import FoldedTable
from pipeline.networks.inference.int8 import Int8Convolution, Span, by_block, describe_packing
from pipeline.networks.inference.winograd import is_wide, transform_kernels
from pipeline.networks.label_input import Styled
from pipeline.networks.noise import add_noise, split_noise
from pipeline.networks.resampling import enlarge
from pipeline.networks.spade import SLOPE, SPADE, SPADEBlock, code_table, tap_products
from pipeline.networks.spectral import fold_spectral_norm

WIDE = 40
"""What `winograd.WORTHWHILE` is without a compiler: fused, the transforms cost less."""


class Given(NamedTuple):
    """What all layers are given beside the feature map."""

    maps: dict[int, tuple[torch.Tensor, ...]]
    """What depends on the label map, by the height of the feature map."""
    noise: list[torch.Tensor] | None
    """`[N, 1, H, W]` for each SPADE layer; None: no noise is added."""
    styles: torch.Tensor | None
    """`[N, classes, style_dim]`, where styles enter everywhere."""


class GeneratorGraph(nn.Module):
    """A generator in one form and precision, for a fixed batch and size. Equal to `FoldedGenerator` up to rounding."""

    def __init__(
        self,
        generator: Generator,
        signature: Signature,
        dtype: torch.dtype,
        *,
        on_cpu: bool,
        spans: Sequence[Span] = (),
    ) -> None:
        """`spans`: as for `FoldedGenerator`. `on_cpu`: in the forms that are fastest when Inductor compiles for a CPU.

        Those are sums of looked-up rows by one operator of PyTorch's library (`embedding_bag`), several times faster
        there than a gather and a sum, and Winograd's form of wide convolutions. TensorRT does not know the former and
        chooses the latter by itself. int8 is oneDNN's there, TensorRT's (`FakeInt8Convolution`) otherwise.
        """
        super().__init__()
        assert generator.size == signature.size
        self.signature, self.dtype = signature, dtype
        frozen = fold_spectral_norm(copy.deepcopy(generator).eval())
        self.first, self.to_rgb = frozen.first, frozen.to_rgb
        doubles = doubled_before(generator.settings)
        height, width = signature.resolutions[0]
        blocks = []
        pairs = by_block(spans, len(frozen.blocks))
        for block, doubled, pair in zip(frozen.blocks, doubles, pairs, strict=True):
            height, width = (2 * height, 2 * width) if doubled else (height, width)
            winograd = on_cpu and height % 2 == width % 2 == 0
            enlargement = generator.settings.enlargement if doubled else None
            made = BlockGraph(cast(SPADEBlock, block), enlargement, signature.form, bags=on_cpu, winograd=winograd)
            for name, span in zip(("conv_0", "conv_1"), pair, strict=True):
                if span is not None:
                    convolution = cast(nn.Conv2d, getattr(block, name))
                    weight, bias = convolution.weight, convolution.bias
                    assert bias is not None
                    int8 = (
                        Int8Convolution(weight, bias, span, (height, width))
                        if on_cpu
                        else FakeInt8Convolution(weight, bias, span)
                    )
                    setattr(made, name, int8)
            blocks.append(made)
        self.blocks = nn.ModuleList(blocks)
        self.planes = nn.Parameter(plane_table(signature.space).to(frozen.to_rgb.weight.device))
        self.requires_grad_(False).eval().to(dtype=dtype).to(memory_format=torch.channels_last)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The tensors of `Signature.inputs` to pictures, float32 `[batch, 3, H, W]` in (-1, 1)."""
        given = {entry.name: tensor for entry, tensor in zip(self.signature.inputs, inputs, strict=True)}
        z = given["z"].to(self.dtype) if "z" in given else None
        everywhere = z if self.signature.settings.style_channels else None
        maps: dict[int, tuple[torch.Tensor, ...]] = {}
        for halvings, (height, _) in enumerate(reversed(self.signature.resolutions)):
            if self.signature.form == "pattern":
                maps[height] = tuple(given[f"{name}_{height}"] for name in ("hidden_windows", "windows", "rows"))
            else:  # the pixels that nearest-neighbour interpolation takes
                maps[height] = (self._planes(given["codes"][:, :: 2**halvings, :: 2**halvings], everywhere),)
        first = self.signature.resolutions[0]
        if isinstance(self.first, nn.Conv2d):
            dense = self.signature.form == "dense"
            x = self.first(maps[first[0]][0] if dense else self._planes(given["codes"], everywhere))
        else:
            x = self.first(z).view(self.signature.batch, -1, *first)
        x = x.contiguous(memory_format=torch.channels_last)  # [N, 16 channels, H / 2^d, W / 2^d]
        noise = split_noise(given["noise"], self.signature.noise_sizes) if "noise" in given else None
        for block in self.blocks:
            x = block(x, Given(maps, noise, everywhere))
        return torch.tanh(self.to_rgb(F.leaky_relu(x, SLOPE)).float())

    def _planes(self, codes: torch.Tensor, styles: torch.Tensor | None) -> torch.Tensor:
        """Codes `[N, H, W]` to the semantic input of the paper, `[N, channels, H, W]`, looked up, not scattered; and
        the style of each pixel's class beside it.
        """
        planes = F.embedding(codes, self.planes)  # [N, H, W, channels]
        if styles is not None:
            classes = planes[..., : self.signature.space.class_channels].flatten(1, 2)
            planes = torch.cat([planes, torch.bmm(classes, styles).unflatten(1, codes.shape[1:])], dim=3)
        return planes.permute(0, 3, 1, 2)

    def export(self, tensors: list[torch.Tensor]) -> torch.export.ExportedProgram:
        """The graph with dynamic table lengths; `tensors` are an example of its inputs."""
        if any(isinstance(module, Int8Convolution) for module in self.modules()):
            describe_packing()
        shapes = tuple(_dynamic(entry) for entry in self.signature.inputs)
        with torch.no_grad():
            return torch.export.export(self, tuple(tensors), dynamic_shapes={"inputs": shapes})


def _dynamic(entry: Input) -> dict[int, torch.export.Dim]:
    """The dimension that varies, if there is one."""
    if not entry.varies:
        return {}
    return {0: torch.export.Dim(entry.name, min=SHORTEST_TABLE, max=entry.shape[0])}


class BlockGraph(nn.Module):
    """`FoldedBlock` in plain operators."""

    def __init__(
        self, block: SPADEBlock, enlargement: Enlargement | None, form: Form, *, bags: bool, winograd: bool
    ) -> None:
        super().__init__()
        self.enlargement = enlargement
        self.norm_0, self.norm_1 = ModulationGraph(block.norm_0, form, bags), ModulationGraph(block.norm_1, form, bags)
        self.conv_0, self.conv_1 = (
            WinogradGraph(conv) if winograd and is_wide(conv.weight, WIDE) else conv
            for conv in (block.conv_0, block.conv_1)
        )
        self.learned_shortcut = block.learned_shortcut
        if self.learned_shortcut:
            # No activation is between the shortcut's normalisation and its 1x1 convolution, which goes into the shifts.
            self.conv_shortcut = block.conv_shortcut
            projection = block.conv_shortcut.weight.flatten(1)
            self.norm_shortcut = ModulationGraph(block.norm_shortcut, form, bags, projection)

    def forward(self, x: torch.Tensor, given: Given) -> torch.Tensor:
        """`x` `[N, inputs, H, W]`, before the doubling if there is one, to `[N, outputs, H or 2H, W or 2W]`."""
        if self.enlargement:
            x = enlarge(x, self.enlargement)
        shortcut = x
        if self.learned_shortcut:
            scaled, shift = self.norm_shortcut(x, given)
            shortcut = self.conv_shortcut(scaled) + shift
        y = self.conv_0(F.leaky_relu(torch.add(*self.norm_0(x, given)), SLOPE))
        return shortcut + self.conv_1(F.leaky_relu(torch.add(*self.norm_1(y, given)), SLOPE))


class WinogradGraph(nn.Module):
    """`WinogradConvolution` in plain operators, whose sums a compiler fuses; for maps of even sides."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        assert convolution.bias is not None
        kernels, bias = transform_kernels(convolution.weight, convolution.bias)
        self.kernels, self.bias = nn.Parameter(kernels), nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H, W]`."""
        batch, inputs, height, width = x.shape
        # Strided views are of memory: Inductor would otherwise not write the padded map but compute it, with all that
        # comes before it, anew at each of the 16 places.
        padded = F.pad(x, [1] * 4).contiguous(memory_format=torch.channels_last)
        shape = (batch, inputs, height // 2, width // 2)
        strides = (padded.stride(0), 1, 2 * padded.stride(2), 2 * padded.stride(3))
        places = [
            [padded.as_strided(shape, strides, row * padded.stride(2) + column * inputs) for row in range(4)]
            for column in range(4)
        ]
        rows = zip(*(_spread(column) for column in places), strict=True)
        tiles = torch.cat([place for row in rows for place in _spread(row)], 1)  # [N, 16 inputs, H/2, W/2]
        products = F.conv2d(tiles.contiguous(memory_format=torch.channels_last), self.kernels, self.bias, groups=16)
        lines = _gather(products.unflatten(1, (4, 4, -1)).unbind(1))
        pixels = [torch.stack(_gather(line.unbind(1)), -1) for line in lines]  # [N, outputs, H/2, W/2, 2]
        return torch.stack(pixels, 3).reshape(batch, -1, height, width).contiguous(memory_format=torch.channels_last)


def _spread(tile: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """`B' tile` along one axis."""
    first, second, third, fourth = tile
    return [first - third, second + third, third - second, second - fourth]


def _gather(products: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """`A' products` along one axis."""
    first, second, third, fourth = products
    return [first + second + third, second - third - fourth]


class ModulationGraph(nn.Module):
    """`FoldedTable` in plain operators, and the normalised feature map times its scale."""

    def __init__(self, layer: SPADE, form: Form, bags: bool, projection: torch.Tensor | None = None) -> None:
        super().__init__()
        table = FoldedTable(layer, (0, 0), projection)
        self.instance, self.form, self.bags = isinstance(layer.norm, nn.InstanceNorm2d), form, bags
        self.number, self.noise_scale = layer.number, layer.noise_scale
        self.padding = layer.kernel_size // 2
        self.channels = layer.gamma.out_channels
        self.hidden_bias, self.bias = table.shared_bias, table.bias
        self.space = layer.space
        if form == "pattern":
            if layer.shared.in_channels > layer.space.channels:
                self.hidden_weight = table.shared_weight  # the code table depends on the styles
            else:
                self.codes = table.codes  # [k*k*codes, hidden]
            self.taps = nn.Parameter(tap_products(table.weight).contiguous())  # [k*k*(C + S), hidden]
        else:
            self.hidden_weight, self.weight = (
                table.shared_weight,
                table.weight,
            )  # [hidden, channels, k, k], [C + S, ...]

    def forward(self, x: torch.Tensor, given: Given) -> tuple[torch.Tensor, torch.Tensor]:
        """`x` `[N, C, H, W]`, scaled, and the shift `[N, S, H, W]`, S being C or the projection's outputs."""
        at = given.maps[x.shape[2]]
        modulation = self._pattern(at, self._codes(given.styles)) if self.form == "pattern" else self._dense(*at)
        if given.noise is not None and self.noise_scale is not None:
            x = add_noise(x, given.noise[self.number], self.noise_scale)
        x = F.instance_norm(x) if self.instance else x
        return x * modulation[:, : self.channels], modulation[:, self.channels :]

    def _codes(self, styles: torch.Tensor | None) -> torch.Tensor:
        """`code_table`, `[k*k*codes, hidden]`, for styles `[N, classes, style_dim]` if they enter everywhere."""
        if styles is None:
            return self.codes
        numbers = torch.arange(styles.shape[0] * styles.shape[1], device=styles.device)
        return code_table(
            self.hidden_weight, self.space, Styled(numbers % styles.shape[1], styles.flatten(0, 1), numbers)
        )

    def _pattern(self, at: tuple[torch.Tensor, ...], codes: torch.Tensor) -> torch.Tensor:
        """`pattern_table`, looked up: `[V, k*k]`, `[U, k*k]` and `[N, H, W]` to `[N, C + S, H, W]`."""
        hidden_windows, windows, rows = at
        hidden = F.relu(self._sum(hidden_windows, codes) + self.hidden_bias)  # [V, hidden]
        hidden = torch.cat([torch.zeros_like(hidden[:1]), hidden])  # row 0: outside the image
        taps = F.linear(hidden, self.taps).view(-1, len(self.bias))  # [(1 + V)*k*k, C + S]
        table = self._sum(windows, taps) + self.bias  # [U, C + S]
        return F.embedding(rows, table).permute(0, 3, 1, 2)

    def _sum(self, rows: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return F.embedding_bag(rows, table, mode="sum") if self.bags else F.embedding(rows, table).sum(1)

    def _dense(self, planes: torch.Tensor) -> torch.Tensor:
        """One-hot `[N, channels, H, W]` to `[N, C + S, H, W]`."""
        hidden = F.relu(F.conv2d(planes, self.hidden_weight, self.hidden_bias, padding=self.padding))
        return F.conv2d(hidden, self.weight, self.bias, padding=self.padding)
