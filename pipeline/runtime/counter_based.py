"""Random numbers as a function of a seed and a counter (Salmon et al. 2011), without a state that could be forgotten.

The generator is SplitMix64 (Steele et al. 2014), a hash of the counter: the same bits on every device, in any order,
for any share of a batch. Different purposes draw independently from the same seeds.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - 2**64


def uniforms(seeds: Tensor, purpose: str, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each of the `seeds` int64 `[N]`: float32 `[N, count]`."""
    return (_shifted(_bits(seeds, purpose, count), 40) * 2.0**-24).float()  # 24 bits: all that float32 holds below 1


def normals(seeds: Tensor, purpose: str, count: int) -> Tensor:
    """`count` numbers from N(0, 1) for each of the `seeds` int64 `[N]`: float32 `[N, count]`.

    By Box and Muller, two from the halves of each hash. Logarithm and cosine are computed in float64, so that
    what libraries round differently does not reach the float32 (but for one number in a hundred million).
    """
    bits = _bits(seeds, purpose, (count + 1) // 2)
    radius = torch.sqrt(-2 * torch.log((_shifted(bits, 32) + 0.5) * 2.0**-32))
    angle = (bits & 0xFFFFFFFF) * (2 * math.pi * 2.0**-32)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count].float()


def derived_seeds(seeds: Tensor, purpose: str) -> Tensor:
    """Other seeds for a purpose, int64 `[N]`, one for each of the `seeds` `[N]`."""
    return _mix(seeds.long() + _stream(purpose))


def _bits(seeds: Tensor, purpose: str, count: int) -> Tensor:
    """64 random bits each: int64 `[N, count]`."""
    counter = torch.arange(1, count + 1, device=seeds.device) * GAMMA
    return _mix(derived_seeds(seeds, purpose).unsqueeze(1) + counter)


def _stream(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big", signed=True)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; 64-bit arithmetic wraps around."""
    x = (x ^ _shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shifted right with zeros coming in, which int64 does not do by itself."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
