"""Random numbers as a function of a record's seed, on any device and without a state that could be forgotten."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - 2**64


def uniforms(seeds: Tensor, purpose: str, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each of the `seeds` int64 `[N]`: float32 `[N, count]`.

    Different purposes draw independently from the same seeds. The generator is SplitMix64 (Steele et al. 2014),
    which is a hash of a counter: the same numbers on every device, in any order, for any share of the batch.
    """
    stream = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big", signed=True)
    first = _mix(seeds.long() + stream).unsqueeze(1)
    counter = torch.arange(1, count + 1, device=seeds.device) * GAMMA
    return (_shifted(_mix(first + counter), 40) * 2.0**-24).float()  # 24 bits: all that float32 holds below 1


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; 64-bit arithmetic wraps around."""
    x = (x ^ _shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shifted right with zeros coming in, which int64 does not do by itself."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
