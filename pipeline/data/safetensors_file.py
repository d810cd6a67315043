"""Tensors to a safetensors file, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of one.

    The file has the usual permissions; safetensors' own `save_file` leaves it to its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(
            save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata)
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
