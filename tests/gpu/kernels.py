"""Gather, modulate, activate in one kernel: what follows every normalisation with pattern modulation, in Triton.

A feature map times and plus what its pixel's row of the table says, then a leaky ReLU. The plain form is the oracle;
what Inductor makes of the plain form is the rival.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from pipeline.networks.spade import SLOPE


def plain(x: torch.Tensor, rows: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """`x` `[pixels, C]`, the row of each pixel int32 `[pixels]` and the table `[rows, 2 C]` (scales, shifts), to
    `[pixels, C]` in the precision of `x`."""
    scale, shift = F.embedding(rows, table).chunk(2, dim=1)
    return F.leaky_relu(x * scale + shift, SLOPE)


def fused(x: torch.Tensor, rows: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """`plain` as one Triton kernel, whose sums are in float32."""
    out = torch.empty_like(x)
    pixels, channels = x.shape
    block = min(128, triton.next_power_of_2(channels))

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(pixels, meta["PIXELS"]), triton.cdiv(channels, meta["CHANNELS"])

    _modulate[grid](x, rows, table, out, pixels, channels, SLOPE, PIXELS=64, CHANNELS=block)
    return out


@triton.jit
def _modulate(x, rows, table, out, pixels, channels, slope, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    row = tl.load(rows + pixel, mask=pixel < pixels, other=0).to(tl.int64)
    place = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    at = row[:, None] * (2 * channels) + channel[None, :]
    value = tl.load(x + place, mask=there, other=0).to(tl.float32)
    scale = tl.load(table + at, mask=there, other=0).to(tl.float32)
    shift = tl.load(table + at + channels, mask=there, other=0).to(tl.float32)
    value = value * scale + shift
    value = tl.where(value > 0, value, value * slope)
    tl.store(out + place, value.to(out.dtype.element_ty), mask=there)
