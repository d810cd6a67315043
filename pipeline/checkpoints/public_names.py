"""The names of parameters in the public SPADE checkpoints, and in ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]

SPECTRAL = {"weight_orig": "parametrizations.weight.original", "weight_u": "parametrizations.weight.0._u",
             "weight_v": "parametrizations.weight.0._v"}  # fmt: skip
"""What spectral normalisation keeps: in public keys, and ours."""
_SPADE = {"param_free_norm": "norm", "mlp_shared.0": "shared", "mlp_gamma": "gamma", "mlp_beta": "beta"}
_BLOCK = {"norm_s": "norm_shortcut", "conv_s": "conv_shortcut"}
_BLOCKS = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4"]
_GENERATOR = {"fc": "first", "conv_img": "to_rgb", **{name: f"blocks.{i}" for i, name in enumerate(_BLOCKS)}}
_ENCODER = {"fc_mu": "mu", "fc_var": "logvar", **{f"layer{i + 1}.0": f"layers.{i}" for i in range(6)}}

_DISCRIMINATOR = re.compile(r"discriminator_(?P<scale>\d+)\.model(?P<layer>\d+)\.(?:0\.)+(?P<name>\w+)")

GENERATOR = {**_GENERATOR, **_BLOCK, **_SPADE, **SPECTRAL}
"""Parts of public generator keys (`latest_net_G.pth`), and ours."""
ENCODER = {**_ENCODER, **SPECTRAL}
"""Parts of public encoder keys (`latest_net_E.pth`), and ours."""


def from_public(state: Tensors, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """A public state dict under our keys; `names` is `GENERATOR` or `ENCODER`.

    The public encoder keeps no bias in its normalised layers, nor do we. Checkpoints saved from several GPUs carry
    a `module.` prefix, which is dropped.
    """
    return {_translate(key.removeprefix("module."), names): value for key, value in state.items()}


def discriminator_from_public(state: Tensors) -> dict[str, torch.Tensor]:
    """The state dict of a public SPADE discriminator (`latest_net_D.pth`) under our keys.

    Raises `ValueError` for a key that such a discriminator does not have.
    """
    parsed = {key: _DISCRIMINATOR.fullmatch(key.removeprefix("module.")) for key in state}
    if unknown := [key for key, match in parsed.items() if match is None]:
        raise ValueError(f"'{unknown[0]}' is no parameter of a public discriminator")
    last = max((match["layer"] for match in parsed.values() if match), key=int)
    ours = {}
    for key, match in parsed.items():
        assert match is not None
        layer, name = match["layer"], match["name"]
        part = {"0": "first", last: "last"}.get(layer, f"middle.{int(layer) - 1}")
        ours[f"scales.{match['scale']}.{part}.{SPECTRAL.get(name, name)}"] = state[key]
    return ours


def _translate(key: str, names: Mapping[str, str]) -> str:
    """Replace whole dotted parts of `key`, longest first, in one pass."""
    parts = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![^.])(?:{parts})(?![^.])", lambda match: names[match.group()], key)
