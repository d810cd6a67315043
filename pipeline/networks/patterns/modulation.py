"""The last step of a SPADE layer: every pixel of a normalised feature map looks up its scale and shift.

    out = leaky_relu(x * scale[row] + shift[row])

with `table = [scale | shift]`, `[U, 2C]`, a row for each distinct window of the label map. Looked up all at once,
the rows are a tensor twice the size of the feature map, written to memory only to be read back. On a CPU the work
goes in chunks of pixels whose rows stay in the cache; under a compiler it is one expression, which gets fused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from pipeline.networks.patterns.patterns import Patterns

Noise = tuple[torch.Tensor, torch.Tensor] | None
"""A number for each pixel, `[..., 1]`, and scales `[C]`, whose product is added to the pixels; None: nothing is."""

CHUNK_BYTES = 1 << 20
"""Looked-up rows held at a time on a CPU: about what a core's second-level cache holds."""


def modulate(x: torch.Tensor, table: torch.Tensor, patterns: Patterns, slope: float) -> torch.Tensor:
    """Scale and shift `x` `[N, C, H, W]` by the rows of `table` `[U, 2C]` that `patterns` name; then leaky ReLU.

    Returns the shape of `x`. `slope` 1 means no activation. If there are patterns of one label map only, they serve
    every image of the batch.
    """
    if torch.compiler.is_compiling():
        return modulate_plain(x, table, patterns, slope)
    if torch.is_grad_enabled() and (x.requires_grad or table.requires_grad):
        return Modulate.apply(x, table, patterns, slope)
    return pixels_to_map(
        modulate_pixels(map_to_pixels(x), table, repeated(patterns.rows.flatten(), len(x), len(patterns.rows)), slope),
        x,
    )


def modulate_plain(x: torch.Tensor, table: torch.Tensor, patterns: Patterns, slope: float) -> torch.Tensor:
    """As `modulate`, in one expression: for compilers, and the oracle in tests."""
    scale, shift = table[patterns.rows].permute(0, 3, 1, 2).chunk(2, dim=1)  # [N, C, H, W]
    return F.leaky_relu(x * scale + shift, slope)


class Modulate(torch.autograd.Function):
    """`modulate` with gradients that keep nothing of the looked-up rows: they are looked up again."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, table: torch.Tensor, patterns: Patterns, slope: float) -> torch.Tensor:
        """As `modulate`."""
        pixels = map_to_pixels(x)  # [N*H*W, C]
        rows = repeated(patterns.rows.flatten(), len(x), len(patterns.rows))
        ctx.save_for_backward(x, table)
        ctx.patterns, ctx.slope = patterns, slope
        return pixels_to_map(modulate_pixels(pixels, table, rows, slope), x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """The gradients by `x` `[N, C, H, W]`, and by `table` `[U, 2C]`: summed over the pixels of each row."""
        x, table = ctx.saved_tensors
        pixels, rows = map_to_pixels(x), repeated(ctx.patterns.rows.flatten(), len(x), len(ctx.patterns.rows))
        incoming = map_to_pixels(gradient)
        channels = pixels.shape[1]
        to_pixels = torch.empty_like(pixels)
        to_rows = pixels.new_empty(len(pixels), 2 * channels)  # [N*H*W, 2C]
        for part, found in look_up(table, rows, pixels.shape[:1]):
            scale, shift = found.chunk(2, dim=1)
            before = torch.addcmul(shift, pixels[part], scale)
            step = torch.where(before > 0, incoming[part], incoming[part] * ctx.slope)
            torch.mul(step, scale, out=to_pixels[part])
            torch.mul(step, pixels[part], out=to_rows[part, :channels])
            to_rows[part, channels:] = step
        return pixels_to_map(to_pixels, x), _sum_by_row(to_rows, ctx.patterns, len(x), table), None, None


def modulate_pixels(
    pixels: torch.Tensor,
    table: torch.Tensor,
    rows: torch.Tensor | None,
    slope: float,
    *,
    out: torch.Tensor | None = None,
    noise: Noise = None,
) -> torch.Tensor:
    """`pixels` `[P, C]` by the `rows` `[P]` of `table` `[U, 2C]` (None: row p for pixel p), without gradients.

    `out`, which may be `pixels` itself, can have more dimensions, `[..., C]`, to which `pixels` are broadcast.
    `noise` is added to the pixels beforehand.
    """
    out = torch.empty_like(pixels) if out is None else out
    for part, found in look_up(table, rows, out.shape[:-1]):
        scale, shift = found.chunk(2, dim=-1)
        torch.addcmul(shift, with_noise(pixels, noise, part, out=out), scale, out=out[part])
        if slope != 1:
            F.leaky_relu_(out[part], slope)
    return out


def with_noise(pixels: torch.Tensor, noise: Noise, part: slice, *, out: torch.Tensor) -> torch.Tensor:
    """A part of `pixels` `[..., C]`, with noise if there is any: then it is written into that part of `out`."""
    return pixels[part] if noise is None else torch.addcmul(pixels[part], noise[0][part], noise[1], out=out[part])


def look_up(table: torch.Tensor, rows: torch.Tensor | None, shape: torch.Size) -> Iterator[tuple[slice, torch.Tensor]]:
    """The `rows` `[P]` of `table` `[U, channels]` that pixels take (None: row p for pixel p), in chunks of pixels.

    The pixels come as an array of some `shape`; a chunk `[..., channels]` is a slice of its first dimension.
    """
    unit = math.prod(shape[1:])
    step = shape[0]
    if table.device.type == "cpu":
        step = max(256, CHUNK_BYTES // (table.shape[1] * table.element_size())) // unit or 1
    for start in range(0, shape[0], step):
        pixels = slice(start * unit, (start + step) * unit)
        found = table[pixels] if rows is None else table.index_select(0, rows[pixels])
        yield slice(start, start + step), found.view(-1, *shape[1:], table.shape[1])


def _sum_by_row(to_rows: torch.Tensor, patterns: Patterns, batch: int, table: torch.Tensor) -> torch.Tensor:
    """Sum what pixels `[P, 2C]` contribute to the rows that they show: `[U, 2C]`."""
    repeats = batch // len(patterns.rows)
    if repeats > 1:
        to_rows = to_rows.unflatten(0, (repeats, -1)).sum(0)
    if to_rows.device.type == "cpu" and to_rows.dtype in (torch.float32, torch.float64):
        # A sum over bags of rows: parallel over bags and always in the same order, unlike a scattered addition.
        pixels, starts, first = patterns.pixels_by_row
        parts = F.embedding_bag(pixels, to_rows, starts, mode="sum")
        return F.embedding_bag(torch.arange(len(parts)), parts, first, mode="sum").to(table.dtype)
    summed = to_rows.new_zeros(table.shape, dtype=torch.promote_types(table.dtype, torch.float32))
    return summed.index_add_(0, patterns.rows.flatten(), to_rows.to(summed.dtype)).to(table.dtype)


def repeated(rows: torch.Tensor, batch: int, maps: int) -> torch.Tensor:
    """The rows `[maps*H*W]` for a batch of as many images, or of several images of a single label map."""
    assert batch == maps or maps == 1, "several images of several label maps would mix them up"
    return rows if batch == maps else rows.repeat(batch)


def map_to_pixels(x: torch.Tensor) -> torch.Tensor:
    """`[N, C, H, W]` to `[N*H*W, C]`: a view where `x` is in channels-last memory, as it should be."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def pixels_to_map(pixels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The inverse of `map_to_pixels`: `[N*H*W, C]` to the shape of `like`, `[N, C, H, W]`; a view, channels last."""
    batch, channels, height, width = like.shape
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)
