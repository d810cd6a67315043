"""Segmentation networks: one file each, all of them a `Segmenter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from evaluation.segmenters.base import Segmenter

KINDS = ("deeplab",)
"""What `--segmenter` takes."""


def load_segmenter(kind: str, weights: Path, *, device: str = "cpu") -> Segmenter:
    """A segmenter by name with weights from a local file, in evaluation mode.

    Raises `InputError` for unknown names and for weights that are missing, unreadable or of another network.
    """
    if kind == "deeplab":
        from evaluation.segmenters.deeplab import load_deeplab

        return load_deeplab(weights, device=device)
    raise InputError(f"there is no segmenter '{kind}'; choose from {', '.join(KINDS)}")
