"""Cuts the public figures of the baselines down to those of `baselines/`: `python -m tests.golden.baselines`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.labels import LabelSpace, encode
from tests.golden.files import HERE, REFERENCE, needs_reference, read

FOLDER = HERE / "baselines"
PUBLIC = REFERENCE / "baselines"
STRIDE = 4
"""Of stored pictures and features, beside the strides that the reference folder has already."""
WHOLE = ["pix2pixhd/image_pool"]
CUT = ["pix2pixhd/global_generator", "pix2pixhd_plus/generator_spectralinstance"]


def cases(names: list[str]) -> list[Any]:
    """Parameters for `load`: those that are here in any clone, and all of the reference folder."""
    here = [pytest.param(FOLDER / f"{name}.safetensors", id=f"here-{name}") for name in names if name in WHOLE + CUT]
    there = [
        pytest.param(PUBLIC / f"{name}.safetensors", id=f"reference-{name}", marks=needs_reference) for name in names
    ]
    return here + there


class Golden(dict[str, torch.Tensor]):
    """The tensors of a file, and its `config`; stored `stride`d where it is larger than 1."""

    def __init__(self, path: Path) -> None:
        tensors, metadata = read(path)
        super().__init__(tensors)
        self.config: dict[str, Any] = metadata["config"]
        self.stride = int(metadata.get("stride", 1))

    def below(self, prefix: str) -> dict[str, torch.Tensor]:
        """All tensors whose names begin so, without that beginning."""
        return {key.removeprefix(prefix): value for key, value in self.items() if key.startswith(prefix)}

    def strided(self, value: torch.Tensor) -> torch.Tensor:
        """A picture `[..., H, W]` as it is stored here."""
        return value[..., :: self.stride, :: self.stride]

    def codes(self, space: LabelSpace) -> torch.Tensor:
        """The codes of `label` and `instance`, int32 `[N, H, W]`."""
        pairs = zip(self["label"][:, 0].numpy(), self["instance"][:, 0].numpy(), strict=True)
        return torch.from_numpy(np.stack([encode(*pair, space) for pair in pairs]))


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
        elif key.startswith("output"):
            kept[key] = value[..., ::stride, ::stride].contiguous()
        else:
            kept[key] = value
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, {"config": json.dumps(golden.config), "stride": str(stride)})


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


if __name__ == "__main__":
    main()
