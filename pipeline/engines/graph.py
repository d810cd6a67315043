"""The folded generator as compilers want it: plain operators, all of which every backend knows.

`FoldedGenerator` lives on oneDNN's packed weights, scratch memory and look-ups by chunk, none of which can be exported.
Here the same folded weights (folded in float32, then cast) meet in expressions that a compiler fuses by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import Enlargement
from pipeline.engines.signature import SHORTEST_TABLE, Form, Input, Signature
from pipeline.labels import one_hot
from pipeline.networks.generator import Generator, doubled_before
from pipeline.networks.inference.folded import FoldedTable
from pipeline.networks.inference.winograd import is_wide, transform_kernels
from pipeline.networks.noise import add_noise
from pipeline.networks.resampling import enlarge
from pipeline.networks.spade import SLOPE, SPADE, SPADEBlock, tap_products
from pipeline.networks.spectral import fold_spectral_norm

WIDE = 40
"""What `winograd.WORTHWHILE` is without a compiler: fused, the transforms cost less."""
Maps = dict[int, tuple[torch.Tensor, ...]]
"""What depends on the label map, by the height of the feature map."""
Noises = list[torch.Tensor] | None
"""`[N, 1, H, W]` for each SPADE layer; None: no noise is added."""


class GeneratorGraph(nn.Module):
    """A generator in one form and precision, for a fixed batch and size. Equal to `FoldedGenerator` up to rounding."""

    def __init__(self, generator: Generator, signature: Signature, dtype: torch.dtype, *, on_cpu: bool) -> None:
        """`on_cpu`: in the forms that are fastest when Inductor compiles for a CPU.

        Those are sums of looked-up rows by one operator of PyTorch's library (`embedding_bag`), several times faster
        there than a gather and a sum, and Winograd's form of wide convolutions. TensorRT does not know the former and
        chooses the latter by itself.
        """
        super().__init__()
        assert generator.size == signature.size
        self.signature, self.dtype = signature, dtype
        frozen = fold_spectral_norm(copy.deepcopy(generator).eval())
        self.first, self.to_rgb = frozen.first, frozen.to_rgb
        doubles = doubled_before(signature.settings)
        height, width = signature.resolutions[0]
        blocks = []
        for block, doubled in zip(frozen.blocks, doubles, strict=True):
            height, width = (2 * height, 2 * width) if doubled else (height, width)
            winograd = on_cpu and height % 2 == width % 2 == 0
            enlargement = signature.settings.enlargement if doubled else None
            blocks.append(
                BlockGraph(cast(SPADEBlock, block), enlargement, signature.form, bags=on_cpu, winograd=winograd)
            )
        self.blocks = nn.ModuleList(blocks)
        every = torch.arange(1, signature.space.codes, device=frozen.to_rgb.weight.device)
        planes = one_hot(every[None, None], signature.space)[0, :, 0].t()  # [codes - 1, channels]
        self.planes = nn.Parameter(F.pad(planes, (0, 0, 1, 0)))  # code 0: outside, nothing
        self.requires_grad_(False).eval().to(dtype=dtype).to(memory_format=torch.channels_last)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The tensors of `Signature.inputs` to pictures, float32 `[batch, 3, H, W]` in (-1, 1)."""
        given = {entry.name: tensor for entry, tensor in zip(self.signature.inputs, inputs, strict=True)}
        maps: Maps = {}
        for halvings, (height, _) in enumerate(reversed(self.signature.resolutions)):
            if self.signature.form == "pattern":
                maps[height] = tuple(given[f"{name}_{height}"] for name in ("hidden_windows", "windows", "rows"))
            else:  # the pixels that nearest-neighbour interpolation takes
                maps[height] = (self._one_hot(given["codes"][:, :: 2**halvings, :: 2**halvings]),)
        first = self.signature.resolutions[0]
        if "z" in given:
            x = self.first(given["z"].to(self.dtype)).view(self.signature.batch, -1, *first)
        else:
            x = self.first(maps[first[0]][0] if self.signature.form == "dense" else self._one_hot(given["codes"]))
        x = x.contiguous(memory_format=torch.channels_last)  # [N, 16 channels, H / 2^d, W / 2^d]
        noises = self._noises(given["noise"].to(self.dtype)) if "noise" in given else None
        for block in self.blocks:
            x = block(x, maps, noises)
        return torch.tanh(self.to_rgb(F.leaky_relu(x, SLOPE)).float())

    def _noises(self, noise: torch.Tensor) -> Noises:
        """`[N, pixels]`, cut up."""
        sizes = self.signature.noise_sizes
        parts = noise.split([height * width for height, width in sizes], dim=1)
        return [part.view(-1, 1, *size) for part, size in zip(parts, sizes, strict=True)]

    def _one_hot(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes `[N, H, W]` to the semantic input of the paper, `[N, channels, H, W]`: looked up, not scattered."""
        return F.embedding(codes, self.planes).permute(0, 3, 1, 2)

    def export(self, tensors: list[torch.Tensor]) -> torch.export.ExportedProgram:
        """The graph with dynamic table lengths; `tensors` are an example of its inputs."""
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

    def forward(self, x: torch.Tensor, maps: Maps, noises: Noises) -> torch.Tensor:
        """`x` `[N, inputs, H, W]`, before the doubling if there is one, to `[N, outputs, H or 2H, W or 2W]`."""
        if self.enlargement:
            x = enlarge(x, self.enlargement)
        at = maps[x.shape[2]]
        shortcut = x
        if self.learned_shortcut:
            scaled, shift = self.norm_shortcut(x, at, noises)
            shortcut = self.conv_shortcut(scaled) + shift
        y = self.conv_0(F.leaky_relu(torch.add(*self.norm_0(x, at, noises)), SLOPE))
        return shortcut + self.conv_1(F.leaky_relu(torch.add(*self.norm_1(y, at, noises)), SLOPE))


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
        if form == "pattern":
            self.codes = table.codes  # [k*k*codes, hidden]
            self.taps = nn.Parameter(tap_products(table.weight).contiguous())  # [k*k*(C + S), hidden]
        else:
            self.hidden_weight, self.weight = (
                table.shared_weight,
                table.weight,
            )  # [hidden, channels, k, k], [C + S, ...]

    def forward(
        self, x: torch.Tensor, at: tuple[torch.Tensor, ...], noises: Noises
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`x` `[N, C, H, W]`, scaled, and the shift `[N, S, H, W]`, S being C or the projection's outputs."""
        modulation = self._pattern(*at) if self.form == "pattern" else self._dense(*at)
        if noises is not None and self.noise_scale is not None:
            x = add_noise(x, noises[self.number], self.noise_scale)
        x = F.instance_norm(x) if self.instance else x
        return x * modulation[:, : self.channels], modulation[:, self.channels :]

    def _pattern(self, hidden_windows: torch.Tensor, windows: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """`pattern_table`, looked up: `[V, k*k]`, `[U, k*k]` and `[N, H, W]` to `[N, C + S, H, W]`."""
        hidden = F.relu(self._sum(hidden_windows, self.codes) + self.hidden_bias)  # [V, hidden]
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
