"""Masks as COCO writes them, polygons and run lengths, by pycocotools."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Polygons (lists of x, y, x, y ...), or run lengths, as a mask, bool `[height, width]`.

    Raises `ValueError` for what is no segmentation, or one of another size.
    """
    from pycocotools import mask as coco_mask

    try:
        if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
        with _old_conversion():
            packed = coco_mask.merge(segmentation) if isinstance(segmentation, list) else segmentation
            decoded = np.asarray(coco_mask.decode(packed), bool)
    except Exception as error:  # noqa: BLE001 - compiled code, which raises anything
        raise ValueError(f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from None
    if decoded.shape != (height, width):
        raise ValueError(f"is {decoded.shape[1]}x{decoded.shape[0]}, and its image {width}x{height}")
    return decoded


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask, bool `[H, W]`, as compressed run lengths: `size` (height, width) and `counts`, a text."""
    from pycocotools import mask as coco_mask

    with _old_conversion():
        packed = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}


@contextmanager
def _old_conversion() -> Iterator[None]:
    """pycocotools 2.0 converts arrays in a way of which NumPy 2 warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
