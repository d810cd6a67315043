"""Pictures and label maps as small as a page shows them."""

from __future__ import annotations

import numpy as np

from pipeline.data.images import resize_ids, resize_image


def reduce_image(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 `[H, W, 3]` of at most `side` pixels a side."""
    return resize_image(image, *reduced_size(image, side))


def reduce_classes(classes: np.ndarray, side: int) -> np.ndarray:
    """Classes `[H, W]` of at most `side` pixels a side."""
    return resize_ids(classes, *reduced_size(classes, side))


def reduced_size(array: np.ndarray, side: int) -> tuple[int, int]:
    """Height and width of an array whose longer side is reduced to `side`, or as they are."""
    height, width = array.shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
