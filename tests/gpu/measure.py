"""Timing in turn, the two ceilings of a device, and what a path does of arithmetic and of traffic."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

CUDA = torch.cuda.is_available()
VIEWS = frozenset({"view", "permute", "transpose", "expand", "slice", "select", "detach", "as_strided", "t", "alias"})


def wait() -> None:
    """Until the device has done everything."""
    if CUDA:
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Timing:
    """Of one candidate."""

    seconds: float
    """Median lap."""
    peak_bytes: int | None
    """Allocated by PyTorch on the GPU at most, with everything else that is held there; None on a CPU."""


def race(candidates: Mapping[str, Callable[[], Any]], laps: int) -> dict[str, Timing]:
    """Each candidate once to warm up, then `laps` of all in turn."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    peaks: dict[str, int] = {}
    for run in candidates.values():
        for _ in range(3 if CUDA else 1):
            run()
    for _ in range(laps):
        for name, run in candidates.items():
            wait()
            if CUDA:
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            run()
            wait()
            times[name].append(time.perf_counter() - began)
            peaks[name] = torch.cuda.max_memory_allocated() if CUDA else 0
    return {name: Timing(statistics.median(laps), peaks[name] or None) for name, laps in times.items()}


@dataclass(frozen=True)
class Ceilings:
    """What the device can do at most, as measured."""

    copy: float
    """Bytes a second, read and written, of a copy."""
    products: dict[str, float]
    """Floating-point operations a second of matrix products, by precision."""


def ceilings(device: torch.device, *, small: bool, laps: int) -> Ceilings:
    """Copies of 1 GiB and products of 8192x8192 matrices; `small`: of 16 MiB and 512x512."""
    memory = torch.empty((16 if small else 1024) * 2**20, dtype=torch.uint8, device=device)
    other = torch.empty_like(memory)
    copied = race({"copy": lambda: other.copy_(memory)}, laps)["copy"]
    side = 512 if small else 8192
    products = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        products[name] = 2 * side**3 / race({name: lambda a=a, b=b: a @ b}, laps)[name].seconds
    return Ceilings(2 * memory.numel() / copied.seconds, products)


class _Work(TorchDispatchMode):
    """Adds up what operators compute and move, as if each read and wrote all that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = function.overloadpacket
        if packet not in flop_registry:
            with self:  # in inference mode compositions such as conv2d arrive whole
                if (parts := function.decompose(*args, **(kwargs or {}))) is not NotImplemented:
                    return parts
        out = function(*args, **(kwargs or {}))
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        if packet.__name__ not in VIEWS:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out


def work(run: Callable[[], Any]) -> tuple[int, int]:
    """Floating-point operations of products and convolutions, and bytes read and written, of a run without a compiler.

    Bytes count every operator for itself: the traffic of a path that fuses nothing, and of look-ups an upper bound.
    Convolutions in oneDNN's layouts, which ours takes on CPUs, are not among PyTorch's counted ones.
    """
    with _Work() as counted:
        run()
    return counted.flops, counted.bytes
