"""The golden figures of this folder, and those of the reference folder beside a checkout, which are larger."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

HERE = Path(__file__).parent
REFERENCE = HERE.parents[2] / "shared/reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference folder beside the checkout")


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a safetensors file and its metadata, of which `config` is parsed."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
        metadata: dict[str, Any] = dict(file.metadata() or {})
    return tensors, metadata | {"config": json.loads(metadata.get("config", "{}"))}


def fill_by_name(state: Mapping[str, torch.Tensor], seed: int = 0) -> None:
    """Fill a state dict in place with numbers that depend on the seed and each key, and not on its order.

    Kernels: normal, of variance 2 / inputs. Scales and variances: 0.8 to 1.2, the last scale of a residual branch a
    quarter of that. Other vectors: normal, of deviation 0.05. Integers: 0. `up.weight` stays as it is. The same
    numbers as those of the reference folder's `weights.py`.
    """
    for key, value in state.items():
        if not value.is_floating_point():
            value.zero_()
            continue
        number = int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16)
        generator = torch.Generator().manual_seed(number)
        if value.dim() >= 2:
            if key != "up.weight":
                value.copy_(torch.randn(value.shape, generator=generator) * math.sqrt(2 / value[0].numel()))
        elif key.endswith(("running_var", "weight")):
            value.copy_(torch.rand(value.shape, generator=generator) * 0.4 + 0.8)
            if re.search(r"(increase\.bn|bn3)\.weight$", key):
                value.mul_(0.25)
        else:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.05)


def fill_public(state: dict[str, torch.Tensor], modulation: float = 0.3) -> None:
    """`fill_by_name` for a SPADE state dict under public keys; the vectors of spectral norms are the true ones.

    gamma and beta are scaled, lest the picture be all black and white.
    """
    fill_by_name(state)
    for key, value in state.items():
        if re.search(r"mlp_(gamma|beta)\.weight$", key):
            value.mul_(modulation)
        if key.endswith("weight_orig"):
            matrix = value.flatten(1).double()
            left, _, right = torch.linalg.svd(matrix, full_matrices=False)
            sign = 1 if left[:, 0].sum() > 0 else -1
            state[key.replace("_orig", "_u")].copy_(sign * left[:, 0])
            state[key.replace("_orig", "_v")].copy_(sign * right[0])


def fingerprint(name: str, value: torch.Tensor) -> torch.Tensor:
    """Two numbers that a tensor cannot keep when any of its values moves: its norm, and a product with noise."""
    generator = torch.Generator().manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    noise = torch.rand(value.shape, generator=generator, dtype=torch.float64) * 2 - 1
    return torch.stack([value.double().norm(), (value.double() * noise).sum()])


def keys_digest(shapes: Mapping[str, Any]) -> str:
    """SHA-256 of the keys and shapes of a state dict."""
    return hashlib.sha256(json.dumps({key: list(shapes[key]) for key in sorted(shapes)}).encode()).hexdigest()
