"""Randomness per record: an image depends on (seed, record, sample), never on its neighbours in a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def record_seed(seed: int, record_id: str, sample: int) -> int:
    """A 63-bit seed for one sample of one record, the same on every machine."""
    digest = hashlib.sha256(f"{seed}\x1f{sample}\x1f{record_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def record_seeds(seed: int, record_ids: Iterable[str], sample: int = 0) -> torch.Tensor:
    """`record_seed` of several records: int64 `[N]`, on the CPU."""
    import torch

    return torch.tensor([record_seed(seed, record_id, sample) for record_id in record_ids])


def style_noise(seed: int, record_id: str, sample: int, size: int) -> torch.Tensor:
    """The style vector z ~ N(0, 1) of one sample: float32 `[size]`, on the CPU."""
    import torch

    generator = torch.Generator().manual_seed(record_seed(seed, record_id, sample))
    return torch.randn(size, generator=generator)
