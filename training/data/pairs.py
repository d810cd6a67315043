"""Which of two neighbouring segments is in front: what SIMS's ordering network learns, from disparity (Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.segments.canvas import band_size, dilate
from pipeline.segments.cut import cut_segments, in_frame

BAND = 0.05
"""Width of the band along a common boundary in which disparities are compared, by the height."""
NEITHER = -1
"""In the place of the class in front."""


def draw_pair(
    channels: np.ndarray,
    instance: np.ndarray | None,
    disparity: np.ndarray,
    rng: np.random.Generator,
    *,
    classes: int,
    least_area: float,
) -> tuple[np.ndarray, int]:
    """A random pair of neighbouring segments of two classes: int32 `[H, W]`, 1 + the class channel of each and 0 where
    neither is, and the class in front.

    Of a label map, class channels `[H, W]`, its instance map, and its disparity `[H, W]` (larger is nearer, 0 unknown).
    Where no pair can be told, all 0 and `NEITHER`.
    """
    height, width = channels.shape
    segments = cut_segments(channels, instance, classes=classes, least_area=least_area)
    masks = [in_frame(segment.mask, segment.top, segment.left, height, width) for segment in segments]
    beside = neighbours(masks, (height, width))
    pairs = [(one, other) for one, other in beside if segments[one].label != segments[other].label]
    size = max(3, band_size(BAND, height))
    for number in rng.permutation(len(pairs)).tolist():
        one, other = pairs[number]
        front = nearer(masks[one], masks[other], disparity, size)
        if front is not None:
            drawn = np.zeros((height, width), np.int32)
            for each in (one, other):
                drawn[masks[each]] = 1 + segments[each].label
            return drawn, segments[(one, other)[front]].label
    return np.zeros((height, width), np.int32), NEITHER


def neighbours(masks: Sequence[np.ndarray], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Which of the masks, bool `[H, W]` of that `size`, none of them over another, touch at an edge or a corner: their
    numbers, the smaller one first, in rising order.

    By one look at every pixel and the four after it; masks grown one by one would be compared as often as there are
    pairs.
    """
    owner = np.full(size, -1, np.int64)
    for number, mask in enumerate(masks):
        owner[mask] = number
    found: set[tuple[int, int]] = set()
    for one, other in (
        (owner[:, 1:], owner[:, :-1]),
        (owner[1:], owner[:-1]),
        (owner[1:, 1:], owner[:-1, :-1]),
        (owner[1:, :-1], owner[:-1, 1:]),
    ):
        touch = (one != other) & (one >= 0) & (other >= 0)
        low, high = np.minimum(one, other)[touch], np.maximum(one, other)[touch]
        keys = np.unique(low * len(masks) + high).tolist()
        found |= {divmod(key, len(masks)) for key in keys}
    return sorted(found)


def nearer(one: np.ndarray, other: np.ndarray, disparity: np.ndarray, size: int) -> int | None:
    """0 where `one` of two masks, bool `[H, W]`, is nearer than the `other`, 1 where the other is, None if neither.

    By the medians of known disparities `[H, W]`, of each in what a square of `size` (odd) pixels around the other
    reaches: objects stand on the ground, so that all of it says nothing.
    """
    known = disparity > 0
    beside = (one & dilate(other, size) & known, other & dilate(one, size) & known)
    if not all(each.any() for each in beside):
        return None
    first, second = (float(np.median(disparity[each])) for each in beside)
    return None if first == second else int(second > first)
