"""TensorRT through Torch-TensorRT: one engine for the whole generator, on NVIDIA GPUs.

What has been checked without a GPU is the real lowering, converter look-up, partitioning and conversion (tests); what
TensorRT's builder makes of the network has not been seen yet. See docs/engines.md.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pipeline.data.storage import first_line
from pipeline.engines.fake_int8 import OPERATOR
from pipeline.engines.signature import SHORTEST_TABLE, Signature

FILE = "generator.ep"
INSTALL = "install it with: pip install 'spadework[tensorrt]'"


def missing(device: torch.device) -> str | None:
    """What is missing to compile for a device, and the command that installs it; None: nothing."""
    if device.type != "cuda":
        return "TensorRT needs an NVIDIA GPU, and PyTorch sees none here"
    try:
        import torch_tensorrt  # noqa: F401
    except ImportError as error:
        return f"TensorRT needs the package torch-tensorrt ({first_line(error)}); {INSTALL}"
    except Exception as error:  # noqa: BLE001  (it raises a plain Exception where TensorRT's libraries are missing)
        return f"torch-tensorrt does not find TensorRT's libraries ({first_line(error)}); {INSTALL}"
    return None


def versions() -> dict[str, str]:
    """Of what an engine depends on, apart from torch itself."""
    found = {}
    for package in ("torch-tensorrt", "tensorrt-cu13"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def arguments(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Of `torch_tensorrt.dynamo.compile`: those that decide what comes out.

    The precision is not among them: networks are strongly typed, so the weights' type decides.
    """
    return {
        "min_block_size": 1,
        "require_full_compilation": True,
        "pass_through_build_failures": True,
        "disable_tf32": dtype == torch.float32,
        "immutable_weights": True,
        # Its own cache takes operator names and shapes for the identity of a network: two generators of other weights
        # and slopes would be one. Ours is keyed by all that matters (`EngineSpec`).
        "cache_built_engines": False,
        "reuse_cached_engines": False,
    }


def build(
    exported: torch.export.ExportedProgram,
    path: Path,
    *,
    signature: Signature,
    lengths: Sequence[int],
    settings: dict[str, Any],
) -> None:
    """Build the engine and save it to `path`. Timings of kernels are kept beside the engines, per type of GPU."""
    import torch_tensorrt

    gpu = re.sub(r"\W+", "-", torch.cuda.get_device_name())
    settings = {**settings, "timing_cache_path": str(path.parent.parent / f".timing-{gpu}.bin")}
    compiled = convert(exported, signature=signature, lengths=lengths, settings=settings)
    torch_tensorrt.save(compiled, str(path), arg_inputs=input_specs(signature, lengths), pickle_protocol=4)


def convert(
    exported: torch.export.ExportedProgram, *, signature: Signature, lengths: Sequence[int], settings: dict[str, Any]
) -> torch.fx.GraphModule:
    """The exported graph as a module with one engine; with `dryrun` in the settings, all but the building of it."""
    import torch_tensorrt

    _describe_int8()
    # Unknown arguments would be ignored in silence.
    known = inspect.signature(torch_tensorrt.dynamo.compile).parameters
    assert not (unknown := set(settings) - set(known)), f"torch_tensorrt.dynamo.compile does not take {unknown}"
    compiled = torch_tensorrt.dynamo.compile(exported, arg_inputs=input_specs(signature, lengths), **settings)
    parts = [name for name, _ in compiled.named_children()]
    if len(parts) != 1:
        raise RuntimeError(f"TensorRT does not take the whole generator; it was cut into {', '.join(parts)}")
    return compiled


@functools.cache  # a second converter would stand beside the first
def _describe_int8() -> None:
    """Tell Torch-TensorRT what `fake_quantise` is: a Q/DQ pair, of weights too, which it must not work out beforehand.

    It has a converter to such pairs, but for an operator of NVIDIA's Model Optimizer, and only where that is installed.
    """
    from torch_tensorrt.dynamo.conversion import dynamo_tensorrt_converter, impl
    from torch_tensorrt.dynamo.conversion._ConversionContext import ConversionContext
    from torch_tensorrt.dynamo.lowering.constant_fold_exclusions import register_constant_fold_exclusion_rule

    @dynamo_tensorrt_converter(OPERATOR, supports_dynamic_shapes=True)
    def convert_pair(ctx: ConversionContext, target: Any, args: Any, kwargs: Any, name: str) -> Any:
        x, largest = args
        return impl.quantize.quantize(ctx, target, None, name, x, largest, num_bits=8, exponent_bits=0)

    @register_constant_fold_exclusion_rule("spadework_fake_quantise")
    def keep_pair(node: torch.fx.Node) -> list[torch.fx.Node]:
        return [node] if node.target is OPERATOR else []


def input_specs(signature: Signature, lengths: Sequence[int]) -> list[Any]:
    """One optimisation profile: tables from the shortest to the longest, at their best for typical `lengths`."""
    import torch_tensorrt

    typical = iter(lengths)
    found = []
    for entry in signature.inputs:
        rest = entry.shape[1:]
        best = next(typical) if entry.is_table else entry.shape[0]
        if entry.varies:
            shapes = {"min_shape": (SHORTEST_TABLE, *rest), "opt_shape": (best, *rest), "max_shape": entry.shape}
        else:
            shapes = {"shape": entry.shape}
        found.append(torch_tensorrt.Input(**shapes, dtype=entry.dtype, name=entry.name))
    return found


def load(path: Path, device: torch.device) -> Callable[..., torch.Tensor]:
    """The engine as a function: the tensors of `Signature.inputs` to pictures, float32 `[batch, 3, H, W]`.

    The Python model is not needed.
    """
    import torch_tensorrt

    with torch.cuda.device(device):
        return torch_tensorrt.load(str(path)).module()
