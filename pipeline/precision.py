"""The arithmetic that networks run in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16", "int8"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.bfloat16,  # of all but the convolutions
}


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Mixed precision on a device, with products and convolutions in `dtype`; none for float32."""
    enabled = dtype != torch.float32
    return torch.autocast(device.type, dtype if enabled else None, enabled=enabled)
