"""What compiled code depends on: the device and the libraries."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.engines import aot_inductor, tensorrt

Backend = Literal["tensorrt", "inductor", "eager"]


COMPILERS: dict[Backend, Any] = {"tensorrt": tensorrt, "inductor": aot_inductor}
"""Modules of the same functions: `missing`, `versions`, `arguments`, `build`, `load`."""


def describe_device(device: torch.device) -> dict[str, str]:
    """What compiled code depends on: model, capability, and on a GPU the driver."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return {
            "type": "cuda",
            "name": torch.cuda.get_device_name(device),
            "capability": f"{major}.{minor}",
            "driver": str(torch._C._cuda_getDriverVersion()),  # type: ignore[attr-defined]
        }
    return {"type": "cpu", "name": _processor(), "capability": torch.backends.cpu.get_cpu_capability()}


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def find_versions(backend: Backend) -> dict[str, str]:
    """Of the libraries that an engine depends on."""
    found = {"torch": torch.__version__, "cuda": str(torch.version.cuda)}
    return found | (COMPILERS[backend].versions() if backend in COMPILERS else {})
