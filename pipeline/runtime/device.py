"""Where networks run, unless told."""

from __future__ import annotations

from typing import Literal


def default_device() -> Literal["cuda", "cpu"]:
    """A GPU where this process finds one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
