"""Masks and label maps of whole frames at 64x64: small enough for a million of them, and compared by counting bits."""

from __future__ import annotations

import numpy as np

from pipeline.data.images import resize_ids

SIDE = 64
"""Rows and columns of a coarse frame, whatever the frame's own size: position and size in the frame are what counts."""
MASK_BYTES = SIDE * SIDE // 8
CHUNK = 8192
"""Masks that are compared at once: 4 MiB, which stay in the cache."""

Box = tuple[int, int, int, int]
"""Top, left, height and width of a rectangle of pixels."""


def pack_mask(mask: np.ndarray) -> np.ndarray:
    """A frame's mask, bool `[H, W]`, as the bits of a coarse one: uint64 `[64]`, a row of the frame each."""
    return np.packbits(resize_ids(mask, SIDE, SIDE), axis=1).view(np.uint64)[:, 0]


def coarse_iou(query: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Intersection over union of a packed mask, uint64 `[64]`, with each of N, `[N, 64]`: float64 `[N]` in 0 to 1.

    Two empty masks have 0 in common.
    """
    both, either = np.empty(len(masks)), np.empty(len(masks))
    for first in range(0, len(masks), CHUNK):
        part = masks[first : first + CHUNK]
        both[first : first + CHUNK] = np.bitwise_count(part & query).sum(axis=1, dtype=np.int64)
        either[first : first + CHUNK] = np.bitwise_count(part | query).sum(axis=1, dtype=np.int64)
    return both / np.maximum(either, 1)


def coarse_labels(channels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The class channels of a frame, integers `[H, W]`, at 64x64: `[64, 64]` of a type."""
    return resize_ids(channels, SIDE, SIDE).astype(dtype)


def coarse_box(box: Box, height: int, width: int) -> Box:
    """The coarse pixels that a box of a frame of `height` x `width` touches."""
    top, left, rows, columns = box
    first_row, first_column = top * SIDE // height, left * SIDE // width
    end_row, end_column = -(-(top + rows) * SIDE // height), -(-(left + columns) * SIDE // width)
    return first_row, first_column, end_row - first_row, end_column - first_column


def context_overlap(labels: np.ndarray, others: np.ndarray, box: Box) -> np.ndarray:
    """How alike label maps are around a segment: `[H, W]` and each of N others, `[N, H, W]`, to float64 `[N]`, 0 to 1.

    Of the p pixels in the box of the query, m show the same class in both frames: m / (2 p - m), as an intersection
    over a union (our definition; SIMS, Sec. 3.1, names the term and the public code lacks it).
    """
    top, left, height, width = box
    inside = np.s_[top : top + height, left : left + width]
    same = (others[:, *inside] == labels[inside]).sum(axis=(1, 2))
    return same / (2 * height * width - same)
