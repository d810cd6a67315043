"""Label maps to segments: connected regions of one class and, where there is an instance map, of one instance."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.instances import Instance, connected_regions

LEAST_AREA = 1 / 131
"""Of the frame: smaller segments are neither kept nor looked for (the public code: 1000 of 256x512 pixels)."""


def cut_segments(
    channels: np.ndarray, instance: np.ndarray | None, *, classes: int, least_area: float = LEAST_AREA
) -> list[Instance]:
    """The 8-connected regions of a label map, class channels `[H, W]`, from class 0 on, and from above in each.

    Channels from `classes` on (don't-care) have none. `instance` `[H, W]` parts what touches; `least_area` is a share
    of the frame.
    """
    least = least_area * channels.size
    keys = channels.astype(np.int64)
    if instance is not None:
        _, numbers = np.unique(instance, return_inverse=True)
        keys = keys * (int(numbers.max()) + 1) + numbers.reshape(channels.shape)
    found = []
    values, first, counts = np.unique(keys, return_index=True, return_counts=True)
    for key, position, count in zip(values.tolist(), first.tolist(), counts.tolist(), strict=True):
        label = int(channels.ravel()[position])
        if label < classes and count >= least:
            found += _regions(keys == key, label, least)
    return found


def _regions(mask: np.ndarray, label: int, least: float) -> list[Instance]:
    top, left, inside = _box(mask)
    numbered = connected_regions(inside)
    found = []
    for number in (np.flatnonzero(np.bincount(numbered.ravel())[1:] >= least) + 1).tolist():
        row, column, part = _box(numbered == number)
        found.append(Instance(label, left + column, top + row, part))
    return found


def _box(mask: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The first row and column of what is in a mask, and the mask in its box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(rows[0]), int(columns[0]), inside.copy()


def in_frame(part: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A crop `[h, w, ...]` at its place in a frame `[height, width, ...]` of zeros."""
    frame = np.zeros((height, width, *part.shape[2:]), part.dtype)
    frame[top : top + part.shape[0], left : left + part.shape[1]] = part
    return frame
