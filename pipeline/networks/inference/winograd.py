"""3x3 convolutions with 4 instead of 9 multiplications an output pixel, for frozen weights on a CPU.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), F(2x2, 3x3): 4x4 tiles of the input,
two pixels apart, and the kernels are transformed by additions alone; a product of matrices for each of the 16 places
in a tile follows; sums of the products are the 2x2 output pixels of the tile.

    output = A' [ (G kernel G') * (B' tile B) ] A

In float32 this is at least as exact as the direct sum, which is longer. In bfloat16 the transformed numbers are rounded
once more, so that the error of a single layer is about twice that of the direct form.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.networks.inference.onednn import PackedConvolution, uses_onednn

TILE_BYTES = 4 << 20
"""Transformed tiles held at a time: about what stays in the caches of a CPU."""

WORTHWHILE = 100
"""From so many channels on (inputs * outputs / (inputs + outputs)) the products saved cost more than the transforms,
whose work grows with inputs + outputs only. Measured: `docs/experiments.md`."""

KERNEL_TRANSFORM = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64)


def frozen_convolution(
    weight: torch.Tensor, bias: torch.Tensor | None, size: tuple[int, int]
) -> PackedConvolution | WinogradConvolution:
    """The faster form, for maps of `size`, of a convolution with frozen weights, stride 1 and "same" padding."""
    if is_wide(weight, WORTHWHILE) and uses_onednn(weight):
        return WinogradConvolution(weight, weight.new_zeros(len(weight)) if bias is None else bias)
    return PackedConvolution(weight, bias, size)


def is_wide(weight: torch.Tensor, least: float) -> bool:
    """Whether a weight `[outputs, inputs, k, k]` is of a 3x3 convolution with enough channels (see `WORTHWHILE`)."""
    outputs, inputs, *kernel_size = weight.shape
    return kernel_size == [3, 3] and inputs * outputs >= least * (inputs + outputs)


class WinogradConvolution(nn.Module):
    """A 3x3 convolution with stride 1 and padding 1 over channels-last maps."""

    kernels: torch.Tensor | None
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        kernels, bias = transform_kernels(weight, bias)
        self.register_buffer("kernels", kernels)
        self.register_buffer("bias", bias)
        self._packed: tuple[int, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H, W]`, image by image."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, width % 2, 0, height % 2)).permute(0, 2, 3, 1)
        result = x.new_empty(*x.shape[:3], len(self.bias) // 16)
        for image, out in zip(x, result, strict=True):
            self._convolve(image, out)
        return result[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, image: torch.Tensor, out: torch.Tensor) -> None:
        """`[H, W, inputs]` into `out` `[H, W, outputs]`, in equal bands of tiles."""
        height, width, inputs = image.shape
        rows = image.new_empty(height // 2, 4, width, inputs)
        transform_input(image, 0, out=rows)
        fitting = max(1, TILE_BYTES // (2 * rows[0].numel() * rows.element_size()))
        lines = max(count for count in range(1, len(rows) + 1) if len(rows) % count == 0 and count <= fitting)
        for band, pixels in zip(rows.split(lines), out.split(2 * lines), strict=True):
            tiles = image.new_empty(lines, width // 2, 4, 4, inputs)
            transform_input(band, 2, out=tiles.transpose(1, 2))
            transform_output(self._products(tiles), out=pixels)

    def _products(self, tiles: torch.Tensor) -> torch.Tensor:
        """`[h, w, 4, 4, inputs]` to `[h, w, 4, 4, outputs]`: 16 products of matrices, as a grouped 1x1 convolution."""
        height, width, _, _, inputs = tiles.shape
        count, geometry = height * width, ([0, 0], [1, 1], [1, 1], 16)
        rows = tiles.view(1, count, 1, 16 * inputs).permute(0, 3, 1, 2)
        if self._packed is None or self._packed[0] != count:
            # One copy of the kernels is kept: in the layout for so many tiles.
            kernels = self.kernels if self._packed is None else self._packed[1].to_dense()
            packed = torch.ops.mkldnn._reorder_convolution_weight(kernels, *geometry, list(rows.shape))
            self._packed, self.kernels = (count, packed), None
        products = torch.ops.mkldnn._convolution_pointwise(rows, self._packed[1], self.bias, *geometry, "none", [], "")
        return products.permute(0, 2, 3, 1).reshape(height, width, 4, 4, -1)


def transform_kernels(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`G kernel G'` of a weight `[outputs, inputs, 3, 3]` and its bias, for a 1x1 convolution in 16 groups.

    There is a group for each place in a tile: `[16 * outputs, inputs, 1, 1]` and `[16 * outputs]`.
    """
    outputs, inputs, _, _ = weight.shape
    kernels = torch.einsum("ia,ocab,jb->ijoc", KERNEL_TRANSFORM, weight.detach().double(), KERNEL_TRANSFORM)
    # The sixth place of a tile's products is added to each of its four pixels, so the bias goes in there.
    return (
        kernels.reshape(16 * outputs, inputs, 1, 1).to(weight.dtype),
        F.pad(bias.detach().expand(1, -1), (0, 0, 5, 10)).flatten(),
    )


def transform_input(x: torch.Tensor, axis: int, *, out: torch.Tensor) -> None:
    """`B' tile` along one `axis`, of even length L, which becomes `L/2, 4` in `out`.

    A tile is `x[2t - 1 : 2t + 3]`, with zeros beyond the ends: its second and third entries lie inside.
    """
    second, third = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    place = out.unbind(axis + 1)
    last = second.shape[axis] - 1
    torch.sub(third.narrow(axis, 0, last), third.narrow(axis, 1, last), out=place[0].narrow(axis, 1, last))
    torch.neg(third.select(axis, 0), out=place[0].select(axis, 0))
    torch.add(second, third, out=place[1])
    torch.sub(third, second, out=place[2])
    torch.sub(second.narrow(axis, 0, last), second.narrow(axis, 1, last), out=place[3].narrow(axis, 0, last))
    place[3].select(axis, last).copy_(second.select(axis, last))


def transform_output(products: torch.Tensor, *, out: torch.Tensor) -> None:
    """`A' products A` of `products` `[h, w, 4, 4, C]` into `out` `[2h, 2w, C]`."""
    height, width, _, _, channels = products.shape
    columns = products.new_empty(height, width, 4, 2, channels)
    first, second, third, fourth = products.unbind(3)
    torch.add(second, third, out=columns[:, :, :, 0]).add_(first)
    torch.sub(second, third, out=columns[:, :, :, 1]).sub_(fourth)
    first, second, third, fourth = columns.unbind(2)  # each [h, w, 2, C]
    pixels = out.view(height, 2, width, 2, channels)
    torch.add(second, third, out=pixels[:, 0]).add_(first)
    torch.sub(second, third, out=pixels[:, 1]).sub_(fourth)
