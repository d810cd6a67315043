"""Convolutions with fewer products are the direct ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.inference import winograd
from pipeline.networks.inference.onednn import PackedConvolution, uses_onednn
from pipeline.networks.inference.winograd import WinogradConvolution, frozen_convolution

pytestmark = pytest.mark.skipif(not uses_onednn(torch.zeros(1)), reason="this build of PyTorch has no oneDNN")


def layer(inputs: int, outputs: int, size: tuple[int, int], batch: int = 1) -> tuple[torch.Tensor, ...]:
    """A map, a weight and a bias of a scale at which the output is about 1."""
    torch.manual_seed(0)
    x = torch.randn(batch, inputs, *size).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5, torch.randn(outputs)


@pytest.mark.parametrize("size", [(2, 2), (8, 12), (1, 1), (5, 4), (3, 7)])
@torch.inference_mode()
def test_equals_the_direct_sum(size: tuple[int, int]) -> None:
    x, weight, bias = layer(24, 40, size, batch=2)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(WinogradConvolution(weight, bias)(x).double(), expected, atol=3e-6, rtol=0)


@torch.inference_mode()
def test_error_is_that_of_the_precision() -> None:
    x, weight, bias = layer(256, 64, (16, 16))
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)

    def error(convolution: torch.nn.Module, dtype: torch.dtype) -> float:
        return float((convolution.to(dtype)(x.to(dtype)).double() - expected).square().mean().sqrt())

    def both(dtype: torch.dtype) -> tuple[float, float]:
        direct = PackedConvolution(weight, bias, (16, 16))
        return error(WinogradConvolution(weight, bias), dtype), error(direct, dtype)

    ours, direct = both(torch.float32)
    assert ours < direct
    if uses_onednn(torch.zeros(1, dtype=torch.bfloat16)):
        ours, direct = both(torch.bfloat16)
        assert ours < 3 * direct


@torch.inference_mode()
def test_the_result_does_not_depend_on_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands, other images of the batch and other sizes between leave every bit as it is."""
    x, weight, bias = layer(32, 16, (12, 8), batch=2)
    whole = WinogradConvolution(weight, bias)(x)
    monkeypatch.setattr(
        winograd, "TILE_BYTES", 2 * 8 * 8 * 32 * 4 * 4
    )  # four of the six lines of tiles: bands of three
    convolution = WinogradConvolution(weight, bias)
    assert torch.equal(convolution(x[1:]), whole[1:])
    convolution(x[:, :, :6])
    assert torch.equal(convolution(x), whole)


def test_chosen_where_it_pays() -> None:
    _, weight, bias = layer(256, 256, (1, 1))
    assert isinstance(frozen_convolution(weight, bias, (8, 8)), WinogradConvolution)
    assert isinstance(frozen_convolution(weight.double(), bias.double(), (8, 8)), PackedConvolution)
    assert isinstance(frozen_convolution(weight[:64, :64], bias[:64], (8, 8)), PackedConvolution)
    assert isinstance(frozen_convolution(weight[:, :, :1, :1], bias, (8, 8)), PackedConvolution)
