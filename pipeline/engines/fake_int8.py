"""Convolutions in int8 as TensorRT wants them: rounded to 8 bits and turned back (Q/DQ pairs), which it fuses itself.

    step = largest / 127
    x' = step * clamp(round(x / step), -128, 127)

TensorRT knows symmetric quantisation only: zero stays zero, and a step comes from the largest absolute value: of all
that a layer takes in, and of an output channel's weights. Run by PyTorch, the same graph is the oracle of the engine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pipeline.networks.inference.int8 import LARGEST, ExactBuffers, Span


def fake_quantise(x: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """`x`, of any float type, in that type, rounded to -128 to 127 steps, of which `largest` has 127.

    `largest` float32: `[]` for all of `x`, or `[outputs, 1, 1, 1]` for weights. One operator, since a converter that
    met its parts would make plain arithmetic of them.
    """
    return OPERATOR(x, largest)


def _round(x: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    step = largest / LARGEST
    return (torch.clamp(torch.round(x.float() / step), -LARGEST - 1, LARGEST) * step).to(x.dtype)


# Not by `torch.library.custom_op`, whose first call loads the whole compiler: seconds.
_LIBRARY = torch.library.Library("spadework", "DEF")
_LIBRARY.define("fake_quantise(Tensor x, Tensor largest) -> Tensor")
_LIBRARY.impl("fake_quantise", _round, "CompositeExplicitAutograd")
torch.library.register_fake("spadework::fake_quantise", lambda x, largest: torch.empty_like(x), lib=_LIBRARY)
OPERATOR = torch.ops.spadework.fake_quantise.default
"""What stands for it in a graph."""


class FakeInt8Convolution(ExactBuffers):
    """A k x k convolution with stride 1 and "same" padding, whose weights and input are values of int8."""

    exact = ("largest", "largest_weights")
    weight: torch.Tensor
    bias: torch.Tensor
    largest_weights: torch.Tensor
    largest: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, span: Span) -> None:
        """`weight` float32 `[outputs, inputs, k, k]`, `bias` `[outputs]`, and the `span` of what is taken in."""
        super().__init__()
        low, high = span
        assert low <= 0 <= high
        weight = weight.detach().float()
        largest_weights = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
        # Rounded in float32, before the cast: a multiple of a step is less than half a step off in any of our types, so
        # that rounding it again gives the same whole number.
        self.register_buffer("weight", fake_quantise(weight, largest_weights))
        self.register_buffer("bias", bias.detach().float())
        self.register_buffer("largest_weights", largest_weights)
        self.register_buffer("largest", torch.tensor(max(-low, high, 1e-6)).to(weight.device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H, W]`, both in the type that the module was cast to."""
        weight = fake_quantise(self.weight, self.largest_weights)
        return F.conv2d(fake_quantise(x, self.largest), weight, self.bias, padding=weight.shape[2] // 2)
