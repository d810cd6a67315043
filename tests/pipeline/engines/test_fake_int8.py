"""TensorRT's int8 in PyTorch's operators, against whole numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.engines.fake_int8 import FakeInt8Convolution, fake_quantise
from pipeline.networks.inference.int8 import Int8Convolution

SPAN = (-0.5, 2.54)


def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights, biases, and a map of which some is beyond the span."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((24, 16, 3, 3), (24,), (2, 16, 6, 10))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def test_values_are_whole_steps_half_to_even_and_end_where_int8_does() -> None:
    x = torch.tensor([0.0, 0.02, 0.024, 0.0312, -0.03125, -9.0, 9.0])
    steps = fake_quantise(x, torch.tensor(2.54)) / 0.02
    torch.testing.assert_close(steps, torch.tensor([0.0, 1.0, 1.0, 2.0, -2.0, -128.0, 127.0]))
    halves = fake_quantise(torch.tensor([0.5, 1.5, -2.5]), torch.tensor(127.0))
    assert halves.tolist() == [0.0, 2.0, -2.0]
    each = fake_quantise(torch.tensor([[0.7], [0.7]]).view(2, 1, 1, 1), torch.tensor([127.0, 12.7]).view(2, 1, 1, 1))
    torch.testing.assert_close(each.flatten(), torch.tensor([1.0, 0.7]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_convolution_has_the_weights_of_oneDNNs_and_the_sums_of_whole_numbers(dtype) -> None:
    weight, bias, x = parts()
    layer = FakeInt8Convolution(weight, bias, SPAN).to(dtype)
    assert layer.largest.item() == pytest.approx(2.54) and layer.largest.dtype == torch.float32
    kernels = Int8Convolution(weight, bias, SPAN, (6, 10)).kernels.double()
    steps = layer.largest_weights.double() / 127
    again = fake_quantise(layer.weight, layer.largest_weights)
    torch.testing.assert_close((again.double() / steps).round(), kernels, rtol=0, atol=0)  # not rounded by the cast
    x = x.to(dtype)
    pixels = torch.clamp(torch.round(x.double() / 0.02), -128, 127)
    expected = F.conv2d(pixels, kernels, padding=1) * 0.02 * steps.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    error = {torch.float32: 1e-4, torch.bfloat16: 0.2, torch.float16: 2e-2}[dtype]
    torch.testing.assert_close(layer(x).double(), expected, rtol=0, atol=error)
    assert expected.std() > 10


def test_a_cast_rounds_no_step() -> None:
    weight, bias, _ = parts()
    exact = FakeInt8Convolution(weight, bias, SPAN)
    cast = torch.nn.Sequential(FakeInt8Convolution(weight, bias, SPAN)).to(dtype=torch.bfloat16)[0]
    for name in ("largest", "largest_weights"):
        torch.testing.assert_close(getattr(cast, name), getattr(exact, name), rtol=0, atol=0)
