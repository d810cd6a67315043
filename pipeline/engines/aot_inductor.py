"""AOTInductor: a shared library with the weights inside, made by PyTorch's own compiler, for CPUs and NVIDIA GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.engines.signature import Signature

FILE = "generator.pt2"


def missing(device: torch.device) -> str | None:
    """What is missing to compile for a device, and the command that installs it; None: nothing."""
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "AOTInductor needs a C++ compiler; install one with: apt-get install g++"
    if device.type == "cuda":
        try:
            import triton  # noqa: F401
        except ImportError:
            return "AOTInductor on a GPU needs Triton; install it with: pip install triton"
    return None


def versions() -> dict[str, str]:
    """Of what the package depends on, apart from torch itself."""
    return {}


def arguments(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Inductor's settings."""
    if device.type == "cuda":
        return {"max_autotune": True}
    # Weights are brought into oneDNN's layout now; the number of threads is the process's and no constant of the
    # library. The bounds of look-ups hold by construction (`Signature.tensors`): no check at every pixel.
    return {"freezing": True, "cpp.dynamic_threads": True, "assert_indirect_indexing": False}


def build(
    exported: torch.export.ExportedProgram,
    path: Path,
    *,
    signature: Signature,
    lengths: Sequence[int],
    settings: dict[str, Any],
) -> None:
    """Compile to the package `path`. Shapes, and typical lengths of tables, are those of the exported example."""
    import torch._inductor

    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(exported, package_path=str(path), inductor_configs=dict(settings))


def load(path: Path, device: torch.device) -> Callable[..., torch.Tensor]:
    """The compiled function: the tensors of `Signature.inputs` to pictures, float32 `[batch, 3, H, W]`.

    Inputs of another shape raise a RuntimeError.

    Without its own check of the inputs, which is off by default, a package made for one batch size reads beyond the
    end of another, and takes the process with it.
    """
    import torch._inductor

    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    index = -1 if device.type == "cpu" or device.index is None else device.index
    # One caller at a time; on a GPU the packages' own synchronisation would also break the capture of CUDA graphs.
    return torch._inductor.aoti_load_package(str(path), device_index=index, run_single_threaded=device.type == "cuda")
