"""Tensors to a safetensors file, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from pipeline.data.atomic import write_atomic


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write atomically (`pipeline.data.atomic`).

    The file has the usual permissions; safetensors' own `save_file` leaves it to its owner alone.
    """
    write_atomic(path, save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata))
