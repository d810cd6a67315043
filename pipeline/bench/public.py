"""The public SPADE program itself in the race, where the user has a checkout of it; nothing of it is ours."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.bench.generators import Workload
from pipeline.checkpoints.public_names import GENERATOR, from_public
from pipeline.config import GeneratorSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace


class Public:
    """The generator of a checkout, as it is, with the weights of the workload; float32."""

    def __init__(self, workload: Workload, checkout: Path) -> None:
        """Raises `InputError` where the folder is no checkout, or the generator is none of the public program's, and
        `ImportError` where the checkout lacks something that it imports (dill, torchvision, sync_batchnorm ...)."""
        self.workload = workload
        settings = workload.generator.settings
        assert isinstance(settings, GeneratorSettings)
        options = public_generator_options(settings, workload.space, workload.generator.size, workload.device)
        if not (checkout / "models" / "networks" / "generator.py").is_file():
            raise InputError(f"{checkout} is no checkout of the public SPADE: it has no models/networks/generator.py")
        sys.path.insert(0, str(checkout.absolute()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a program of 2019
            from models.networks.generator import SPADEGenerator

            network: nn.Module = SPADEGenerator(options)
        ours, theirs = workload.generator.state_dict(), network.state_dict()
        names = zip(theirs, from_public(theirs, GENERATOR), strict=True)
        network.load_state_dict({public: ours[name] for public, name in names})
        self.network = network.to(workload.device).eval()

    @torch.inference_mode()
    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`."""
        return self.workload.pictures(self.workload.one_hot, lambda planes, z: self.network(planes, z=z))


def public_generator_options(
    settings: GeneratorSettings, space: LabelSpace, size: tuple[int, int], device: torch.device
) -> Any:
    """The public program's options for a generator of pictures of `size` (height, width).

    Raises `InputError` where it has no such generator.
    """
    for field, value, theirs in (
        ("noise", settings.noise, False),
        ("enlargement", settings.enlargement, "nearest"),
        ("style_input", settings.style_input, "first"),
        ("hidden", settings.hidden, 128),
    ):
        if value != theirs:
            raise InputError(f"generator.{field} is {value}; the public program knows {theirs} only")
    statistics = "instance" if settings.statistics == "instance" else "syncbatch"  # in one process those of a batch
    kernel = settings.kernel_size
    return SimpleNamespace(
        ngf=settings.channels,
        norm_G=f"spectralspade{statistics}{kernel}x{kernel}",
        semantic_nc=space.channels,
        num_upsampling_layers=settings.upsampling,
        crop_size=size[1],
        aspect_ratio=size[1] / size[0],
        use_vae=bool(settings.style_dim),
        z_dim=settings.style_dim or 256,
        gpu_ids=[0] if device.type == "cuda" else [],
    )
