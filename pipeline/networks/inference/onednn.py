"""Products with frozen weights on a CPU, through the library (oneDNN) and in the memory layout that is fastest.

PyTorch's convolution brings the weights into oneDNN's blocked layout at every call, which for the wide layers at 8x8
takes five times as long as the convolution itself, and with one thread it does not use oneDNN at all for 1x1 kernels.
Its float32 matrix product is MKL's, at half of oneDNN's speed on AMD's processors. The operators used here are those
that PyTorch's compiler emits for frozen models; where a build of PyTorch lacks them, or the device or precision is
another, the plain operators are used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class PackedConvolution(nn.Module):
    """A k x k convolution with stride 1 and "same" padding, for inference only.

    The weights are kept in the layout for single images of `size` `(height, width)`; other shapes work too, slower.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)  # [outputs, inputs, k, k]
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.size = size
        self._packed: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H, W]`."""
        padding, one = [self.weight.shape[2] // 2] * 2, [1, 1]
        if not uses_onednn(self.weight):
            return F.conv2d(x, self.weight, self.bias, padding=padding)
        if len(x) != 1 or x.shape[2:] != self.size:
            # A layout chosen for another shape can fall into a conversion that is a hundred times slower.
            return torch.mkldnn_convolution(x, self.weight, self.bias, padding, one, one, 1)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, padding, one, one, 1, [1, x.shape[1], *self.size]
            )
        return torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, padding, one, one, 1, "none", [], "")


def matrix_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`x` `[M, inputs]` by `weight` `[outputs, inputs]`: `[M, outputs]`, as `F.linear`, with gradients too."""
    by_convolution = weight.dtype == x.dtype == torch.float32 and uses_onednn(weight)
    if not by_convolution or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return F.linear(x, weight)
    return MatrixProduct.apply(x, weight)


class MatrixProduct(torch.autograd.Function):
    """A float32 matrix product and its gradients as 1x1 convolutions."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """`[M, inputs]` by `[outputs, inputs]`."""
        ctx.save_for_backward(x, weight)
        return _product(x[None, :, None].permute(0, 3, 1, 2), weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The gradients by `x` `[M, inputs]` and `weight` `[outputs, inputs]`, None for one that nobody needs."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _product(gradient[None, :, None].permute(0, 3, 1, 2), weight.t())
        if ctx.needs_input_grad[1]:
            # The rows of the gradient are the channels here, so it need not be transposed in memory.
            of_weight = _product(gradient[None, :, :, None], x.t())
        return of_x, of_weight


def _product(pixels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution of `pixels` `[1, inputs, M, 1]`: `[M, outputs]`."""
    product = torch.mkldnn_convolution(pixels, weight[:, :, None, None], None, [0, 0], [1, 1], [1, 1], 1)
    return product.permute(0, 2, 3, 1).flatten(0, 2)


def uses_onednn(weight: torch.Tensor) -> bool:
    """Whether this build of PyTorch hands weights of this device and type, `[outputs, ...]`, to oneDNN as above."""
    return (
        weight.device.type == "cpu"
        and (weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and has_bfloat16()))
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """oneDNN refuses bfloat16 on processors without AVX-512; PyTorch's own convolution is slow there, but works."""
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(check and check())
