"""Cuts the public figures of the baselines down to those of `baselines/`: `python -m tests.golden.baselines`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg19

from pipeline.labels import LabelSpace, encode
from tests.golden.files import HERE, REFERENCE, fill_by_name, needs_reference, read

FOLDER = HERE / "baselines"
PUBLIC = REFERENCE / "baselines"
STRIDE = 4
"""Of stored pictures and features, beside the strides that the reference folder has already."""
WASHING_AWAY = "special_cases/washing_away"
WHOLE = [
    "pix2pixhd/image_pool",
    "crn/operations",
    "crn/loss_simple",
    "special_cases/adain",
    "sims/order_network",
    "sims/retrieval",
    "sims/canvas",
    "sims/spatial_transformer",
]
CUT = [
    "pix2pixhd/global_generator",
    "pix2pixhd/discriminator",
    "pix2pixhd/encoder",
    "pix2pixhd_plus/generator_spectralinstance",
    "crn/generator_256p_diversity",
]
HERE_TOO = [*WHOLE, *CUT, WASHING_AWAY]


def cases(names: list[str]) -> list[Any]:
    """Parameters for `load`: those that are here in any clone, and all of the reference folder."""
    here = [pytest.param(FOLDER / f"{name}.safetensors", id=f"here-{name}") for name in names if name in HERE_TOO]
    there = [
        pytest.param(PUBLIC / f"{name}.safetensors", id=f"reference-{name}", marks=needs_reference) for name in names
    ]
    return here + there


class Golden(dict[str, torch.Tensor]):
    """The tensors of a file, and its `config`. Outputs are stored at a `stride`, other features at `cut` more."""

    def __init__(self, path: Path) -> None:
        tensors, metadata = read(path)
        super().__init__(tensors)
        self.config: dict[str, Any] = metadata["config"]
        self.cut = int(metadata.get("stride", 1))
        self.stride = self.cut * self.config.get("output_stride", 1)

    def below(self, prefix: str) -> dict[str, torch.Tensor]:
        """All tensors whose names begin so, without that beginning."""
        return {key.removeprefix(prefix): value for key, value in self.items() if key.startswith(prefix)}

    def strided(self, value: torch.Tensor) -> torch.Tensor:
        """A picture `[..., H, W]` as it is stored here."""
        return value[..., :: self.stride, :: self.stride]

    def label_ids(self) -> torch.Tensor:
        """`label_ids` of the networks of TensorFlow, int32 `[1, H, W]`."""
        return self["label_ids"].int().unsqueeze(0)

    def codes(self, space: LabelSpace) -> torch.Tensor:
        """The codes of `label` and `instance`, int32 `[N, H, W]`."""
        pairs = zip(self["label"][:, 0].numpy(), self["instance"][:, 0].numpy(), strict=True)
        return torch.from_numpy(np.stack([encode(*pair, space) for pair in pairs]))


def planar(value: torch.Tensor) -> torch.Tensor:
    """TensorFlow's `[N, H, W, C]` as `[N, C, H, W]`."""
    return value.permute(0, 3, 1, 2)


def kernel(value: torch.Tensor) -> torch.Tensor:
    """TensorFlow's kernels `[h, w, inputs, outputs]` as `[outputs, inputs, h, w]`; vectors as they are."""
    return value.permute(3, 2, 0, 1) if value.dim() == 4 else value


def golden_vgg(seed: int) -> nn.Sequential:
    """torchvision's `vgg19().features` with the weights that the figures were made with."""
    with torch.device("meta"):
        features = vgg19(weights=None).features
    features = features.to_empty(device="cpu")
    fill_by_name(features.state_dict(), seed)
    return features


def space_of(config: dict[str, Any]) -> LabelSpace:
    """The label space of public options of pix2pixHD or of SPADE."""
    count = config["label_nc"]
    return LabelSpace(
        classes=tuple(map(str, range(count))),
        dont_care=count if config.get("contain_dontcare_label") else None,
        instance_edges=not config.get("no_instance", False),
    )


def cut(name: str, folder: Path = FOLDER) -> None:
    """Weights and inputs as they are, instances renumbered to fit bytes; of outputs every fourth row and column."""
    golden = Golden(PUBLIC / f"{name}.safetensors")
    stride = 1 if name in WHOLE else STRIDE
    kept = {}
    for key, value in golden.items():
        if key in ("label", "instance"):
            kept[key] = as_bytes(value)
        elif key.startswith(("output", "module", "features")) and value.dim() == 4:
            if "layout" in golden.config:
                kept[key] = value[:, ::stride, ::stride].contiguous()
            else:
                kept[key] = value[..., ::stride, ::stride].contiguous()
        else:
            kept[key] = value
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, {"config": json.dumps(golden.config), "stride": str(stride)})


def cut_washing_away(folder: Path = FOLDER) -> None:
    """Without the pictures of whole networks."""
    tensors, metadata = read(PUBLIC / f"{WASHING_AWAY}.safetensors")
    small = {key: value for key, value in tensors.items() if value.dim() < 4}
    path = folder / f"{WASHING_AWAY}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(small, path, {"config": json.dumps(metadata["config"])})


def as_bytes(ids: torch.Tensor) -> torch.Tensor:
    """Labels as they are; instances renumbered, which differ where they did."""
    if ids.dtype == torch.uint8:
        return ids
    found, numbers = torch.unique(ids, return_inverse=True)
    assert len(found) <= 256
    return numbers.to(torch.uint8)


def main() -> None:
    for name in WHOLE + CUT:
        cut(name)
    cut_washing_away()


if __name__ == "__main__":
    main()
