"""What holds of the tensors of every weights file."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pipeline.errors import InputError


def refuse_nonfinite(state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Raise `InputError` where weights are NaN or infinite: what networks make of them looks like any other result."""
    for key, value in state.items():
        if not value.isfinite().all():
            raise InputError(f"{source} holds NaN or infinite weights in {key}; copy or make the file again")
