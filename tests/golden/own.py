"""Figures of whole generators and of a training step that are our own: `python -m tests.golden.own` (see README.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.checkpoints.public_names import GENERATOR, discriminator_from_public, from_public
from pipeline.config import DiscriminatorSettings, GeneratorSettings, LossSettings, TrainingSettings
from pipeline.labels import LabelSpace, encode
from pipeline.networks.generator import Generator
from tests.golden.files import HERE, REFERENCE, fill_public, fingerprint, read
from tests.golden.names import ours_to_public, to_public
from training.data.batch import Batch
from training.objectives.patch_discriminator import Discriminator
from training.step import GanStep, Synthesis

STRIDE = 4
"""Of the stored pictures."""
BOUNDS = {"normal": 1e-4, "batch5x5": 1e-4, "more_vae_wide": 1e-4, "most_instance": 1e-3}
"""How near float32 comes to the stored float64; statistics of 2x2 pixels magnify rounding."""


def settings_and_space(config: Mapping[str, Any], modulation: str) -> tuple[GeneratorSettings, LabelSpace]:
    """Ours, of the public options."""
    match = re.fullmatch(r"spectralspade(\D+)(\d)x\d", config["norm_G"])
    assert match
    settings = GeneratorSettings(
        channels=config["ngf"],
        upsampling=config["num_upsampling_layers"],
        kernel_size=int(match[2]),
        statistics={"syncbatch": "sync_batch"}.get(match[1], match[1]),
        style_dim=config["z_dim"] if config["use_vae"] else 0,
        modulation=modulation,
    )
    space = LabelSpace(
        classes=tuple(f"class {index}" for index in range(config["label_nc"])),
        dont_care=config["label_nc"] if config["contain_dontcare_label"] else None,
        instance_edges=not config["no_instance"],
    )
    return settings, space


def generator(
    golden: Mapping[str, torch.Tensor], config: Mapping[str, Any], modulation: str
) -> tuple[Generator, torch.Tensor, torch.Tensor | None]:
    """The generator with its weights, its codes and its style."""
    settings, space = settings_and_space(config, modulation)
    labels, instances = golden["label"][:, 0].numpy(), golden["instance"][:, 0].numpy()
    network = Generator(settings, space, height=labels.shape[1], width=labels.shape[2]).eval()
    public = to_public(network.state_dict(), GENERATOR)
    fill_public(public)
    network.load_state_dict(from_public(public, GENERATOR))
    codes = torch.from_numpy(np.stack([encode(a, b, space) for a, b in zip(labels, instances, strict=True)]))
    return network, codes, golden.get("z")


def step(golden: Mapping[str, torch.Tensor], config: Mapping[str, Any], modulation: str) -> dict[str, torch.Tensor]:
    """One step: its losses, both fakes (strided), and fingerprints of gradients and of what training keeps."""
    settings, space = settings_and_space(config, modulation)
    size = config["crop_size"]
    network = Generator(settings, space, height=size, width=size)
    discriminator = Discriminator(DiscriminatorSettings(channels=config["ndf"]), space)
    for module, public, load in (
        (network, to_public(network.state_dict(), GENERATOR), lambda state: from_public(state, GENERATOR)),
        (discriminator, ours_to_public(discriminator.state_dict()), discriminator_from_public),
    ):
        fill_public(public)
        module.load_state_dict(load(public))
    training = TrainingSettings(steps=1, learning_rate=2e-4)
    gan = GanStep(Synthesis(network, None), discriminator, weights=LossSettings(), settings=training)
    fakes: list[torch.Tensor] = []
    network.register_forward_hook(lambda module, inputs, output: fakes.append(output.detach()))
    labels, instances = golden["label"][:, 0].numpy(), golden["instance"][:, 0].numpy()
    codes = torch.from_numpy(np.stack([encode(a, b, space) for a, b in zip(labels, instances, strict=True)]))
    real = torch.rand(len(codes), 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    terms = gan(Batch(codes, real, torch.zeros(2, len(codes), 0), torch.arange(len(codes))))
    found = {f"loss/{name}": value.detach().clone() for name, value in terms.items()}
    for name, fake in zip(("first", "second"), fakes, strict=True):
        found[f"fake/{name}"] = fake[..., ::STRIDE, ::STRIDE].contiguous()
    gradients = {
        "G": to_public({name: value.grad for name, value in network.named_parameters()}, GENERATOR),
        "D": ours_to_public({name: value.grad for name, value in discriminator.named_parameters()}),
    }
    kept = {"G": to_public(network.state_dict(), GENERATOR), "D": ours_to_public(discriminator.state_dict())}
    for part in "GD":
        for name, value in gradients[part].items():
            found[f"gradient/{part}/{name}"] = fingerprint(name, value)
        for name, value in kept[part].items():
            if name.endswith(("weight_u", "weight_v", "running_mean", "running_var")):
                found[f"kept/{part}/{name}"] = fingerprint(name, value)
    return found


def main(folder: Path = HERE) -> None:
    """To be run only where the tests against the reference folder pass."""
    torch.set_num_threads(1)
    for name in BOUNDS:
        tensors, metadata = read(REFERENCE / f"spade/generator_{name}.safetensors")
        config = metadata["config"]
        inputs = {key: tensors[key] for key in ("label", "instance", "z") if key in tensors}
        inputs["instance"] = narrow(inputs["instance"])
        if name == "most_instance":  # large, and its pictures are independent
            inputs = {key: value[:1].contiguous() for key, value in inputs.items()}
        network, codes, z = generator(inputs, config, "dense")
        with torch.no_grad():
            output = network.double()(codes, None if z is None else z.double())
        inputs["output"] = output[..., ::STRIDE, ::STRIDE].float().contiguous()
        save_file(inputs, folder / f"generator_{name}.safetensors", {"config": json.dumps(config)})
    tensors, metadata = read(REFERENCE / "spade/train_step.safetensors")
    inputs = {"label": tensors["label"], "instance": narrow(tensors["instance"])}
    found = step(inputs, metadata["config"], "dense")
    save_file(inputs | found, folder / "train_step.safetensors", {"config": json.dumps(metadata["config"])})


def narrow(ids: torch.Tensor) -> torch.Tensor:
    """Instance ids of the figures, which are few, as bytes."""
    assert ids.min() >= 0 and ids.max() < 256
    return ids.to(torch.uint8)


if __name__ == "__main__":
    main()
