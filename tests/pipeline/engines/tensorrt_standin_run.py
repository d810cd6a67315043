"""The real Torch-TensorRT on a machine without TensorRT: run as a script, one JSON line for each form and precision.

In a process of its own, because a fake `tensorrt` would stay in every other test's process. Arguments: the folder of
the stand-in, and the pairs to run, as `pattern-fp16`, with `-levers` behind for a generator with noise, bilinear
enlargement and a style for each class.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from typing import Any

import torch
import torch.nn.functional as F

from pipeline.engines import tensorrt
from pipeline.engines.compile import typical_lengths
from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.signature import Signature
from pipeline.networks.label_input import LabelInput
from pipeline.precision import DTYPES
from tests.pipeline.engines.cases import label_maps, lively_generator


def install(folder: str) -> None:
    """Put the stand-in's libraries and bindings in the place of TensorRT's."""
    sys.path.insert(0, folder)
    import standin

    standin._native()
    import tensorrt_bindings  # The package that would give it its usual name is one of those that cannot be had.

    sys.modules["tensorrt"] = tensorrt_bindings
    standin.install("native")


def emulate(
    compiled: torch.fx.GraphModule, feeds: list[dict[str, torch.Tensor]]
) -> tuple[list[torch.Tensor], dict, int]:
    """The converters' network, evaluated: a picture for each feed, offences against strong typing, and its layers."""
    import emulator
    from torch_tensorrt.dynamo.conversion import _TRTInterpreter as interpreter
    from torch_tensorrt.dynamo.partitioning.common import construct_submodule_inputs

    class Network(emulator.Network):
        def add_resize(self, tensor: Any) -> Any:
            """Bilinear too, with pixels' centres aligned: `LINEAR` and `HALF_PIXEL` in TensorRT's words."""
            layer = super().add_resize(tensor)
            nearest = layer._fn

            def resize(layer: Any, value: torch.Tensor, *shape: torch.Tensor) -> torch.Tensor:
                if layer.resize_mode != trt.InterpolationMode.LINEAR:
                    return nearest(layer, value, *shape)
                assert layer.coordinate_transformation == trt.ResizeCoordinateTransformation.HALF_PIXEL
                size = shape[0].tolist() if shape else layer.shape
                size = (
                    [int(n) for n in size]
                    if size
                    else [int(n * s) for n, s in zip(value.shape, layer.scales, strict=True)]
                )
                return F.interpolate(value, size=size[2:], mode="bilinear", align_corners=False)

            layer.__dict__["_fn"] = resize
            return layer

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
    network = run.ctx.net
    return network.outputs[0].vals(), dict(network.bad), network.num_layers


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
        form, precision, *levers = pair.split("-")
        generator = lively_generator(style_dim=5, **(LEVERS if levers else {}))
        signature = Signature(generator.settings, generator.space, generator.size, 2, form)
        codes, seeds = label_maps(3), torch.tensor([3, 4]) if levers else None
        z = torch.randn(2, *signature.style_shape, generator=torch.Generator().manual_seed(1))
        given = []
        for index in (0, 1):
            label_input = signature.batch_input(signature.label_input(codes[index : index + 1]), z, [0, 1])
            given.append(signature.tensors(label_input, z, [0, 1], seeds=seeds))
        dtype = DTYPES[precision]
        exported = GeneratorGraph(generator, signature, dtype, on_cpu=False).export(given[0])
        said = io.StringIO()
        settings = tensorrt.arguments(torch.device("cuda"), dtype) | {"dryrun": True, "offload_module_to_cpu": True}
        with contextlib.redirect_stdout(said):
            compiled = tensorrt.convert(
                exported, signature=signature, lengths=typical_lengths(signature, codes), settings=settings
            )
        total, supported = map(int, re.search(r"of (\d+) Total Operators, of which (\d+)", said.getvalue()).groups())
        feeds = [{f"inputs_{place}": tensor for place, tensor in enumerate(tensors)} for tensors in given]
        pictures, bad, layers = emulate(compiled, feeds)
        errors = []
        with torch.no_grad():
            for index, picture in enumerate(pictures):
                label_input = LabelInput(codes[index : index + 1], generator.space, "dense")
                errors.append(float((picture - generator(label_input, z, seeds)).abs().max()))
        engines = len(re.findall(r"TRT Engine #\d+", said.getvalue()))
        record = {"operators": total, "supported": supported, "engines": engines, "layers": layers, "mixed": bad}
        print(json.dumps({"pair": pair, "errors": errors, **record}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
