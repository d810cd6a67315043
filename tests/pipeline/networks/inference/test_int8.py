"""Convolutions in int8, against the same sums in float64, and a generator that has them."""

from __future__ import annotations

import pytest
import torch

from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.signature import Signature
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.inference.int8 import Int8Convolution, by_block, has_int8, observe_spans
from tests.pipeline.engines.cases import SIZE, SPACE, label_maps, lively_generator

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has no AVX-512 VNNI")


def convolution(span: tuple[float, float] = (-0.5, 2.05)) -> Int8Convolution:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(24, 16, 3, 3, generator=generator), torch.randn(24, generator=generator)
    return Int8Convolution(weight, bias, span, (6, 10))


def test_pixels_and_kernels_are_the_whole_numbers_they_should_be() -> None:
    layer = convolution()  # a step of 0.01
    pixels = torch.tensor([0.0, 0.01, 0.014, -0.5, -9.0, 2.05, 9.0]).view(1, 1, 1, 7)
    assert layer.zero == 50
    assert layer.quantise(pixels).flatten().tolist() == [50, 51, 51, 0, 0, 255, 255]
    assert layer.kernels.flatten(1).abs().amax(1).tolist() == [127] * 24  # each output channel has a step of its own
    weight = torch.randn(24, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    error = (layer.kernels * layer.steps.view(-1, 1, 1, 1) - weight).abs().amax((1, 2, 3))
    assert (error <= layer.steps / 2 + 1e-6).all()


@needs_int8
@pytest.mark.parametrize("batch", [1, 3])
def test_sums_are_exact(batch: int) -> None:
    layer = convolution()
    x = torch.randn(batch, 16, 6, 10, generator=torch.Generator().manual_seed(1)).bfloat16()  # some beyond the span
    out, expected = layer(x), layer.plain(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), expected, rtol=2**-8, atol=1e-4)  # of rounding to bfloat16 alone


def test_a_cast_of_the_generator_rounds_neither_steps_nor_bias() -> None:
    layer, exact = convolution(), convolution()
    torch.nn.Sequential(layer).to(dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    for name in ("steps", "bias", "kernels"):
        torch.testing.assert_close(getattr(layer, name), getattr(exact, name), rtol=0, atol=0)


@needs_int8
def test_a_map_padded_with_zeros_has_no_frame() -> None:
    layer = convolution((-1.0, 3.0))
    x = torch.zeros(1, 16, 6, 10).bfloat16()
    torch.testing.assert_close(layer(x).float(), layer.bias.bfloat16().float().view(1, -1, 1, 1).expand(1, 24, 6, 10))


def test_spans_are_of_all_passes_and_have_zero_in_them() -> None:
    first, second = torch.nn.Identity(), torch.nn.Identity()
    runs = [lambda: second(first(torch.tensor([1.0, 3.0])) - 10), lambda: first(torch.tensor([2.0, 4.0]))]
    assert observe_spans([first, second], runs) == ((0.0, 4.0), (-9.0, 0.0))
    first(torch.tensor([99.0]))  # looked at no more
    assert by_block([], 2) == [(None, None)] * 2
    assert by_block([(0.0, 1.0), (0.0, 2.0)], 1) == [((0.0, 1.0), (0.0, 2.0))]


@needs_int8
def test_a_generator_in_int8_draws_nearly_the_same_and_the_same_in_any_batch() -> None:
    generator, codes = lively_generator(), label_maps(2)
    exact = FoldedGenerator(generator)
    reference = exact(codes)
    spans = observe_spans(exact.convolutions, [lambda: exact(codes)])
    assert len(spans) == 2 * len(generator.blocks)
    made = FoldedGenerator(generator, torch.bfloat16, spans=spans)
    assert all(isinstance(layer, Int8Convolution) for layer in made.convolutions)
    pictures = torch.cat([made(one) for one in codes.split(1)])
    error = (pictures - reference).abs()
    assert 0 < error.mean() < 0.05 * reference.std()
    narrow = FoldedGenerator(generator, torch.bfloat16, spans=[(low / 8, high / 8) for low, high in spans])
    assert (narrow(codes[:1]) - reference[:1]).abs().mean() > 4 * error.mean()  # so the spans are what is used
    graph = GeneratorGraph(generator, Signature(generator.settings, SPACE, SIZE, 1, "pattern"), torch.bfloat16,
                           on_cpu=True, spans=spans)  # fmt: skip
    signature = graph.signature
    tensors = signature.tensors(signature.batch_input(signature.label_input(codes[:1]), None, [0]), None, [0])
    exported = graph.export(tensors)
    calls = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert calls.count(torch.ops.onednn.qconv_pointwise.default) == len(spans)
    torch.testing.assert_close(graph(*tensors), pictures[:1], rtol=0, atol=0.05)
