"""Cuts the public figures of the reference folder down to those of this folder: `python -m tests.golden.cut`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from evaluation.segmenters.upernet import IGNORED
from tests.golden.files import HERE, REFERENCE, keys_digest, read

STRIDE = 3
"""Of the discriminator's features."""
STYLE = 16
"""Of 256 outputs of the encoder, each of which is a row of its last layers' weights."""
IMAGE_SEED = 7
"""`torch.manual_seed` before `torch.rand(2, 3, 256, 256)`, which is the encoder's image, from 0 to 1."""
SEGMENTERS = {"deeplabv2_resnet101_msc": 4, "drn_d_105": 1, "upernet_resnet101": 4}
"""By how much the stored scores are strided again."""


def discriminator(folder: Path) -> None:
    """All weights, inputs and losses; of the features every third."""
    tensors, metadata = read(REFERENCE / "spade/discriminator.safetensors")
    for key in tensors:
        if key.startswith("features/"):
            tensors[key] = tensors[key][..., ::STRIDE, ::STRIDE].contiguous()
    tensors["instance"] = tensors["instance"].to(torch.uint8)
    write(tensors, folder / "discriminator.safetensors", config=json.dumps(metadata["config"]), stride=str(STRIDE))


def encoder_image() -> torch.Tensor:
    return torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(IMAGE_SEED)) * 2 - 1


def encoder(folder: Path) -> None:
    """Without its image, and with the first outputs only."""
    tensors, metadata = read(REFERENCE / "spade/encoder_256.safetensors")
    assert torch.equal(tensors.pop("image"), encoder_image())
    del tensors["kld"]
    for name in ("mu", "logvar"):
        tensors[name] = tensors[name][:, :STYLE].contiguous()
    for name in ("fc_mu", "fc_var"):
        for part in ("weight", "bias"):
            tensors[f"state/{name}.{part}"] = tensors[f"state/{name}.{part}"][:STYLE].contiguous()
    config = metadata["config"] | {"z_dim": STYLE}
    write(tensors, folder / "encoder_256.safetensors", config=json.dumps(config))


def segmenter(folder: Path, name: str) -> None:
    """The image, every class, and some of the scores; keys and shapes as one digest."""
    tensors, metadata = read(REFERENCE / f"segmenters/{name}.safetensors")
    stride = SEGMENTERS[name]
    kept = {
        "image": tensors["image"],
        "argmax": tensors["argmax"],
        "output": tensors["output"][..., ::stride, ::stride].contiguous(),
        "network_input": tensors["network_input"][..., ::16, ::16].contiguous(),
    }
    keys = json.loads((REFERENCE / f"segmenters/{name}.keys.json").read_text())
    digest = keys_digest({key: shape for key, shape in keys.items() if not key.endswith(IGNORED)})
    write(kept, folder / f"{name}.safetensors", stride=str(stride * int(metadata["output_stride_saved"])), keys=digest)


def write(tensors: dict[str, torch.Tensor], path: Path, **metadata: str) -> None:
    save_file(tensors, path, metadata)


def main(folder: Path = HERE) -> None:
    discriminator(folder)
    encoder(folder)
    shutil.copyfile(REFERENCE / "baselines/special_cases/spade_uniform.safetensors", folder / "spade_layer.safetensors")
    for name in SEGMENTERS:
        segmenter(folder, name)


if __name__ == "__main__":
    main()
