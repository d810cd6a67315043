"""The real Torch-TensorRT on a machine without TensorRT: run as a script, one JSON line for each form and precision.

In a process of its own, because a fake `tensorrt` would stay in every other test's process. Arguments: the folder of
the stand-in, and the pairs to run, as `pattern-fp16`, with `-levers` behind for a generator with noise, bilinear
enlargement and a style for each class, or with the name of another kind of generator behind. In int8 the
convolutions are, between layers in bfloat16.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from pipeline.engines import tensorrt
from pipeline.engines.compile import typical_lengths
from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.plain import PlainGraph
from pipeline.engines.signature import Signature
from pipeline.networks.generators import AnyGenerator
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.inference.int8 import Span, observe_spans
from pipeline.networks.label_input import LabelInput
from pipeline.precision import DTYPES
from tests.pipeline.engines.cases import KINDS, SIZE, label_maps, lively, lively_generator


def install(folder: str) -> None:
    """Put the stand-in's libraries and bindings in the place of TensorRT's."""
    sys.path.insert(0, folder)
    import standin

    standin._native()
    import tensorrt_bindings  # The package that would give it its usual name is one of those that cannot be had.

    sys.modules["tensorrt"] = tensorrt_bindings
    standin.install("native")


def emulate(compiled: torch.fx.GraphModule, feeds: list[dict[str, torch.Tensor]]) -> tuple[list[torch.Tensor], Any]:
    """The converters' network, evaluated: a picture for each feed, and the network itself."""
    import emulator
    from torch_tensorrt.dynamo.conversion import _TRTInterpreter as interpreter
    from torch_tensorrt.dynamo.partitioning.common import construct_submodule_inputs

    class Network(emulator.Network):
        def add_resize(self, tensor: Any) -> Any:
            """Bilinear too, with the centres of pixels aligned (`HALF_PIXEL` in TensorRT's words) or of the corners."""
            layer = super().add_resize(tensor)
            nearest = layer._fn

            def resize(layer: Any, value: torch.Tensor, *shape: torch.Tensor) -> torch.Tensor:
                if layer.resize_mode != trt.InterpolationMode.LINEAR:
                    return nearest(layer, value, *shape)
                corners = layer.coordinate_transformation == trt.ResizeCoordinateTransformation.ALIGN_CORNERS
                assert corners or layer.coordinate_transformation == trt.ResizeCoordinateTransformation.HALF_PIXEL
                size = shape[0].tolist() if shape else layer.shape
                size = (
                    [int(n) for n in size]
                    if size
                    else [int(n * s) for n, s in zip(value.shape, layer.scales, strict=True)]
                )
                return F.interpolate(value, size=size[2:], mode="bilinear", align_corners=corners)

            layer.__dict__["_fn"] = resize
            return layer

        def add_deconvolution_nd(
            self, input: Any, num_output_maps: int, kernel_shape: Any, kernel: Any, bias: Any = None
        ) -> Any:
            """A transposed convolution, whose padding is cut off its full result."""

            def deconvolve(layer: Any, x: torch.Tensor, *given: torch.Tensor | None) -> torch.Tensor:
                weight, shift = (*given, None, None)[:2]
                weight = kernel.val.reshape(x.shape[1], -1, *kernel_shape) if weight is None else weight
                shift = bias.val if shift is None and bias is not None else shift
                self._same("deconvolution weights", x, weight, shift)
                whole = F.conv_transpose2d(x, weight, shift, tuple(layer.stride_nd), groups=layer.num_groups)
                (top, left), (bottom, right) = layer.pre_padding, layer.post_padding
                return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]

            return emulator.Layer(
                self, "deconvolution", [input], deconvolve, stride_nd=(1, 1), padding_nd=(0, 0), dilation_nd=(1, 1),
                num_groups=1, pre_padding=(0, 0), post_padding=(0, 0),
            )  # fmt: skip

        def add_pooling_nd(self, input: Any, type: Any, window_size: Any) -> Any:
            """Means."""
            assert type == trt.PoolingType.AVERAGE

            def pool(layer: Any, x: torch.Tensor) -> torch.Tensor:
                outside = not layer.average_count_excludes_padding
                sides = tuple(window_size), tuple(layer.stride_nd), tuple(layer.padding_nd)
                return F.avg_pool2d(x, *sides, count_include_pad=outside)

            return emulator.Layer(self, "pooling", [input], pool, stride_nd=(1, 1), padding_nd=(0, 0))

        def add_slice(self, *given: Any, **named: Any) -> Any:
            """Reflecting beyond the borders too."""
            layer = super().add_slice(*given, **named)
            plain = layer._fn

            def cut(layer: Any, x: torch.Tensor, *sizes: torch.Tensor | None) -> torch.Tensor:
                if layer.mode != trt.SampleMode.REFLECT:
                    return plain(layer, x, *sizes)
                starts, shape, _ = ([int(number) for number in each] for each in sizes)
                for axis, (start, length) in enumerate(zip(starts, shape, strict=True)):
                    last = x.shape[axis] - 1
                    places = torch.arange(start, start + length).abs()
                    x = x.index_select(axis, torch.where(places > last, 2 * last - places, places))
                return x

            layer.__dict__["_fn"] = cut
            return layer

        def add_quantize(self, input: Any, scale: Any, output_type: Any) -> Any:
            """To int8, by one scale or one for each place along the layer's axis."""
            assert output_type == trt.DataType.INT8

            def quantize(layer: Any, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
                step = along(step, layer.axis, x)
                return torch.clamp(torch.round(x.float() / step), -128, 127).to(torch.int8)

            return emulator.Layer(self, "quantize", [input, scale], quantize, axis=None)

        def add_dequantize(self, input: Any, scale: Any, output_type: Any) -> Any:
            """And back to a float type."""

            def dequantize(layer: Any, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
                assert x.dtype == torch.int8
                return (x.float() * along(step, layer.axis, x)).to(emulator.D2T[output_type])

            return emulator.Layer(self, "dequantize", [input, scale], dequantize, axis=None)

    def along(step: torch.Tensor, axis: int | None, x: torch.Tensor) -> torch.Tensor:
        assert step.dtype == torch.float32
        if axis is None:
            assert step.dim() == 0
            return step
        assert step.shape == (x.shape[axis],)
        return step.view([-1 if place == axis else 1 for place in range(x.dim())])

    class Builder(emulator.Builder):
        def create_network(self, flags: int = 0) -> emulator.Network:
            network = Network()
            network.feeds = feeds
            return network

    import tensorrt as trt

    trt.Builder, trt.Weights = Builder, emulator.Weights
    ((_, part),) = compiled.named_children()
    run = interpreter.TRTInterpreter(part, construct_submodule_inputs(part))
    run._construct_trt_network_def()
    return run.ctx.net.outputs[0].vals(), run.ctx.net


def int8_convolutions(network: Any) -> int:
    """How many have both inputs as TensorRT fuses them: right behind Q/DQ pairs, weights behind one of a constant."""
    found = 0
    for layer in network.layers:
        if layer._kind == "convolution" and len(layer._in) > 1:
            pairs = [tensor._l for tensor in layer._in[:2]]
            assert [pair._kind for pair in pairs] == ["dequantize"] * 2
            assert [pair._in[0]._l._kind for pair in pairs] == ["quantize"] * 2
            assert all(pair.axis == pair._in[0]._l.axis for pair in pairs) and [pair.axis for pair in pairs] == [
                None,
                0,
            ]
            assert pairs[1]._in[0]._l._in[0]._l._kind == "constant"
            found += 1
    assert sum(layer._kind in ("quantize", "dequantize") for layer in network.layers) == 4 * found
    return found


LEVERS: dict[str, Any] = {
    "noise": True,
    "enlargement": "bilinear",
    "style_input": "everywhere",
    "style_encoder": False,
    "region_styles": "class",
}


def main(folder: str, *pairs: str) -> None:
    install(folder)
    for pair in pairs:
        form, precision, *rest = pair.split("-")
        kind = rest[0] if rest else ""
        generator: AnyGenerator
        generator = lively(kind) if kind in KINDS else lively_generator(style_dim=5, **(LEVERS if kind else {}))
        signature = Signature(generator.settings, generator.space, SIZE, 2, form)
        codes, seeds = label_maps(3), torch.tensor([3, 4]) if generator.settings.takes_seeds else None
        z = None
        if generator.settings.style_dim:
            z = torch.randn(2, *signature.style_shape, generator=torch.Generator().manual_seed(1))
        given = []
        for index in (0, 1):
            label_input = signature.batch_input(signature.label_input(codes[index : index + 1]), z, [0, 1])
            given.append(signature.tensors(label_input, z, [0, 1], seeds=seeds))
        dtype = DTYPES[precision]
        spans: tuple[Span, ...] = ()
        if precision == "int8":
            folded = FoldedGenerator(generator)
            spans = observe_spans(folded.convolutions, [partial(folded, one, z, seeds) for one in codes.split(1)])
        graph = (
            PlainGraph(generator, signature, dtype)
            if kind in KINDS
            else GeneratorGraph(generator, signature, dtype, on_cpu=False, spans=spans)
        )
        exported = graph.export(given[0])
        said = io.StringIO()
        settings = tensorrt.arguments(torch.device("cuda"), dtype) | {"dryrun": True, "offload_module_to_cpu": True}
        with contextlib.redirect_stdout(said):
            compiled = tensorrt.convert(
                exported, signature=signature, lengths=typical_lengths(signature, codes), settings=settings
            )
        total, supported = map(int, re.search(r"of (\d+) Total Operators, of which (\d+)", said.getvalue()).groups())
        feeds = [{f"inputs_{place}": tensor for place, tensor in enumerate(tensors)} for tensors in given]
        pictures, network = emulate(compiled, feeds)
        converted, eager, apart = [], [], []
        with torch.no_grad():
            for index, picture in enumerate(pictures):
                label_input = LabelInput(codes[index : index + 1], generator.space, "dense")
                wanted = generator(label_input, z, seeds)
                assert 0.02 < wanted.std() < 0.9
                converted.append(root_mean_square(picture - wanted))
                oracle = graph(*given[index])
                eager.append(root_mean_square(oracle - wanted))
                apart.append(root_mean_square(oracle - picture))
        record = {
            "operators": total,
            "supported": supported,
            "engines": len(re.findall(r"TRT Engine #\d+", said.getvalue())),
            "layers": network.num_layers,
            "mixed": dict(network.bad),
            "int8": int8_convolutions(network),
        }
        print(json.dumps({"pair": pair, "converted": converted, "eager": eager, "apart": apart, **record}), flush=True)


def root_mean_square(error: torch.Tensor) -> float:
    return float(error.double().square().mean().sqrt())


if __name__ == "__main__":
    main(*sys.argv[1:])
