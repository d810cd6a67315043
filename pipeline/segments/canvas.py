"""Segments put together to a canvas: which is in front, what is left out along their edges, and what they show."""

from __future__ import annotations

import numpy as np


def compose(masks: np.ndarray, in_front: np.ndarray | None = None) -> np.ndarray:
    """Which of S segments, masks bool `[S, H, W]`, is seen at each pixel: int32 `[H, W]`, -1 where there is none.

    They are painted one after the other, and a later one covers an earlier one unless `in_front` `[S, S]` says at
    (earlier, later) that it stays in front; None: it never does.
    """
    owner = np.full(masks.shape[1:], -1, np.int32)
    for number, mask in enumerate(masks):
        stays = np.zeros(len(masks) + 1, bool)  # the last one for -1
        if in_front is not None:
            stays[: len(masks)] = in_front[:, number]
        owner[mask.astype(bool) & ~stays[owner]] = number
    return owner


def edge_band(mask: np.ndarray, size: int) -> np.ndarray:
    """The pixels of a mask, bool `[H, W]`, near its edge, bool `[H, W]`: those of its inner boundary, 8-connected, and
    around them what a square of `size` (odd) pixels reaches inside of the mask. The border of the frame is no edge."""
    outside = ~mask
    return mask & dilate(mask & dilate(outside, 3), size)


def dilate(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask, bool `[H, W]`, grown by half a square of `size` pixels in each direction."""
    reach = size // 2
    for axis in (0, 1):
        grown = mask.copy()
        for shift in range(1, min(reach, mask.shape[axis] - 1) + 1):
            ahead, behind = [slice(None), slice(None)], [slice(None), slice(None)]
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
        mask = grown
    return mask


def band_size(share: float, height: int) -> int:
    """The odd number of pixels that is nearest below a share of the frame's height: at least 1, which is the boundary.

    >>> band_size(0.05, 256), band_size(0.035, 256), band_size(0.035, 16)
    (13, 9, 1)
    """
    return 2 * int(share * height / 2) + 1


def elide(owner: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Which pixels of a composition, int32 `[H, W]`, are known, bool `[H, W]`: those of a segment but for a random half
    of the `edge_band` of what is seen of it (SIMS, Sec. 3.3), so that the network learns to mend seams."""
    known = owner >= 0
    half = rng.random(owner.shape) < 0.5
    for number in range(int(owner.max(initial=-1)) + 1):
        known &= ~(edge_band(owner == number, size) & half)
    return known
