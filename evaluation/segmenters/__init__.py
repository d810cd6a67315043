"""Segmentation networks: one file each, all of them a `Segmenter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from evaluation.segmenters.base import Segmenter

KINDS = ("deeplab", "deeplabv2-resnet101", "upernet-resnet101", "upernet-resnet101-baseline", "drn-d-105")
"""What `--segmenter` takes: ours, and those of the SPADE paper for COCO-Stuff, ADE20K (twice) and Cityscapes. Besides,
`hf:` with a folder or an id of Hugging Face transformers."""


def check_kind(kind: str) -> None:
    """Raise `InputError` where a name is no segmenter's."""
    if kind not in KINDS and not kind.startswith("hf:"):
        raise InputError(f"there is no segmenter '{kind}'; choose from {', '.join(KINDS)}, hf:PATH")


def load_segmenter(kind: str, weights: Path, *, device: str = "cpu") -> Segmenter:
    """A segmenter by name with weights from local files, in evaluation mode; `hf:` names its weights itself.

    Raises `InputError` for unknown names and for weights that are missing, unreadable or of another network.
    """
    check_kind(kind)
    made: Segmenter
    match kind:
        case "deeplab":
            from evaluation.segmenters.deeplab import load_deeplab

            return load_deeplab(weights, device=device)
        case "deeplabv2-resnet101":
            from evaluation.segmenters.deeplabv2 import DeepLabV2

            made = DeepLabV2.load(weights)
        case "upernet-resnet101":
            from evaluation.segmenters.upernet import UPerNet

            made = UPerNet.load(weights)
        case "upernet-resnet101-baseline":
            from evaluation.segmenters.upernet import UPerNetBaseline

            made = UPerNetBaseline.load(weights)
        case "drn-d-105":
            from evaluation.segmenters.drn import DRN

            made = DRN.load(weights)
        case _:
            from evaluation.segmenters.huggingface import HuggingFaceSegmenter

            made = HuggingFaceSegmenter.load(kind.removeprefix("hf:"))
    return made.eval().to(device)
