"""From our parameters' names to those of public SPADE networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pipeline.checkpoints.public_names import SPECTRAL, from_public


def to_public(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our state dict under the public keys: the inverse of `from_public`."""
    return from_public(state, {ours: public for public, ours in names.items()})


def ours_to_public(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `discriminator_from_public`."""
    middles = 1 + max(int(key.split("middle.")[1].split(".")[0]) for key in state if "middle." in key)
    public_names = {ours: public for public, ours in SPECTRAL.items()}
    public = {}
    for key, value in state.items():
        scale, name, rest = _parts(r"scales\.(\d+)\.(first|last|middle\.\d+)\.(.+)", key)
        layer = {"first": "0.0", "last": f"{middles + 1}.0"}.get(name) or f"{int(name.split('.')[1]) + 1}.0.0"
        public[f"discriminator_{scale}.model{layer}.{public_names.get(rest, rest)}"] = value
    return public


def _parts(pattern: str, key: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, key)
    if match is None:
        raise ValueError(f"'{key}' is not a parameter of this discriminator")
    return match.groups()
