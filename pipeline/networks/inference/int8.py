"""3x3 convolutions in int8 on a CPU: static quantisation after training, in the library (oneDNN).

    pixels = clamp(round(x / step) + zero, 0, 255)        one step and zero a layer, from calibration
    kernels = round(weight / steps), in -127 .. 127       a step for each output channel
    out = step * steps * sum(kernels * (pixels - zero)) + bias

Sums are whole numbers, exact in int32, and steps never change: a picture does not depend on what is computed beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.networks.inference.onednn import has_bfloat16

Span: TypeAlias = tuple[float, float]
"""The least and the largest value that a layer was seen to take in; zero, which pads the map, lies between them."""

LEVELS = 255
"""Steps of a pixel's number from the least to the largest."""
LARGEST = 127
"""Of a kernel's whole numbers."""


def has_int8() -> bool:
    """Whether this processor multiplies 8-bit numbers in one instruction (AVX-512 VNNI), and bfloat16 for the rest.

    Without it the library emulates them, no faster than float32.
    """
    supported = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(supported and supported()) and has_bfloat16() and hasattr(torch.ops.onednn, "qconv_pointwise")


class ExactBuffers(nn.Module):
    """A module some of whose buffers go from device to device, and stay of their type and value."""

    exact: tuple[str, ...] = ()
    """Their names."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        kept = {name: getattr(self, name) for name in self.exact}
        super()._apply(fn, recurse)
        for name, tensor in kept.items():  # A cast of the whole generator must not round them.
            self.register_buffer(name, tensor.to(getattr(self, name).device))
        return self


class Int8Convolution(ExactBuffers):
    """A k x k convolution with stride 1 and "same" padding, for inference: bfloat16 in and out, int8 inside."""

    exact = ("steps", "bias")
    kernels: torch.Tensor
    steps: torch.Tensor
    bias: torch.Tensor
    zeros: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, span: Span, size: tuple[int, int]) -> None:
        """`weight` float32 `[outputs, inputs, k, k]`, `bias` `[outputs]`, the `span` of what is taken in, and the
        `(height, width)` of single maps that the layout is for."""
        super().__init__()
        low, high = span
        assert low <= 0 <= high
        self.step = max(high - low, 1e-6) / LEVELS
        self.zero = round(-low / self.step)
        self.size = size
        weight = weight.detach().float()
        steps = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / LARGEST  # [outputs]
        self.register_buffer("kernels", (weight / steps.view(-1, 1, 1, 1)).round().to(torch.int8))
        self.register_buffer("steps", steps)
        self.register_buffer("bias", bias.detach().float())
        self.register_buffer("zeros", torch.zeros(len(weight), dtype=torch.int32))
        self._packed: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to bfloat16 `[N, outputs, H, W]`."""
        padding, one = [self.kernels.shape[2] // 2] * 2, [1, 1]
        if torch.compiler.is_compiling():  # then packing is a constant that the compiler works out
            packed = self._pack()
        else:
            packed = self._packed = self._pack() if self._packed is None else self._packed
        return torch.ops.onednn.qconv_pointwise(
            self.quantise(x), self.step, self.zero, packed, self.steps, self.zeros, self.bias,
            one, padding, one, 1, 1.0, 0, torch.bfloat16, "none", [], "",
        )  # fmt: skip

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        """The same in float64, in plain operators: the oracle in tests, `[N, outputs, H, W]`."""
        pixels = (self.quantise(x).double() - self.zero) * self.step
        weight = self.kernels.double() * self.steps.double().view(-1, 1, 1, 1)
        return F.conv2d(pixels, weight, self.bias.double(), padding=weight.shape[2] // 2)

    def quantise(self, x: torch.Tensor) -> torch.Tensor:
        """`x` `[N, inputs, H, W]` to uint8 of that shape, channels last; values beyond the span become its ends."""
        pixels = torch.clamp(torch.round(x.float() * (1 / self.step)) + self.zero, 0, LEVELS)
        return pixels.to(torch.uint8).contiguous(memory_format=torch.channels_last)

    def _pack(self) -> torch.Tensor:
        """The kernels in the library's layout."""
        padding, one = [self.kernels.shape[2] // 2] * 2, [1, 1]
        shape = [1, self.kernels.shape[1], *self.size]
        return torch.ops.onednn.qconv_prepack(
            self.kernels, self.steps, self.step, self.zero, one, padding, one, 1, shape
        )


def observe_spans(convolutions: Sequence[nn.Module], passes: Iterable[Callable[[], object]]) -> tuple[Span, ...]:
    """What each of `convolutions` takes in while `passes` are called: a span for each, in their order."""
    spans: list[Span] = [(0.0, 0.0)] * len(convolutions)

    def look(index: int, x: torch.Tensor) -> None:
        low, high = spans[index]
        spans[index] = min(low, float(x.min())), max(high, float(x.max()))

    hooks = [
        convolution.register_forward_pre_hook(lambda _, inputs, index=index: look(index, inputs[0]))
        for index, convolution in enumerate(convolutions)
    ]
    try:
        for run in passes:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(spans)


def by_block(spans: Sequence[Span], blocks: int) -> list[tuple[Span | None, Span | None]]:
    """The spans of each block's two convolutions; None for all where there are no `spans`."""
    if not spans:
        return [(None, None)] * blocks
    assert len(spans) == 2 * blocks
    return list(zip(spans[::2], spans[1::2], strict=True))


def _packed_shape(weight: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(weight)


@functools.cache  # it may be told once only
def describe_packing() -> None:
    """Tell PyTorch's exporter what packing returns, which it does not know by itself; before an export."""
    torch.library.register_fake("onednn::qconv_prepack", _packed_shape)
