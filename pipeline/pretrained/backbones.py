"""Backbones inside of weights files, and how to tell whether two files hold the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.pretrained.state_dicts import read_state_dict

SEGMENTER = "segmenter.safetensors"
"""Of the weights in a folder that `train-segmenter` wrote."""


def backbone_file(path: Path) -> Path:
    """The file that `path` means: itself, or that of a segmenter in a folder of `train-segmenter`."""
    return path / SEGMENTER if path.is_dir() else path


def backbone_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the backbone by its own names: of a segmenter without the head, of torchvision's classifiers as
    they are (MobileNet's and VGG's without their classifier)."""
    prefix = next((each for each in ("backbone.", "features.") if any(key.startswith(each) for key in state)), "")
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def content_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """A sha256 of weights by their names, shapes and values, whatever file they are in.

    Values count rounded to half precision, so that a copy in half the bytes is known for one.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if not name.endswith("num_batches_tracked"):  # which old files lack
            digest.update(f"{name} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def backbone_sha256(path: Path) -> str:
    """`content_sha256` of the backbone in a file or a run of `train-segmenter`; `InputError` where it is unreadable."""
    return content_sha256(backbone_of(read_state_dict(backbone_file(path))))
