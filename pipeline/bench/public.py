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


class Public:
    """The generator of a checkout, as it is, with the weights of the workload; float32."""

    def __init__(self, workload: Workload, checkout: Path) -> None:
        """Raises `InputError` where the folder is no checkout, or the generator is none of the public program's, and
        `ImportError` where the checkout lacks something that it imports (dill, torchvision, sync_batchnorm ...)."""
        self.workload = workload
        options = public_options(workload)
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


def public_options(workload: Workload) -> Any:
    """The public program's options for the workload's generator; `InputError` where it has no such generator."""
    settings, (height, width) = workload.generator.settings, workload.generator.size
    assert isinstance(settings, GeneratorSettings)
    for field, value, theirs in (
        ("noise", settings.noise, False),
        ("enlargement", settings.enlargement, "nearest"),
        ("style_input", settings.style_input, "first"),
        ("hidden", settings.hidden, 128),
    ):
        if value != theirs:
            raise InputError(f"generator.{field} is {value}; the public program knows {theirs} only")
    statistics = "instance" if settings.statistics == "instance" else "syncbatch"  # as one with "batch" in evaluation
    kernel = settings.kernel_size
    return SimpleNamespace(
        ngf=settings.channels,
        norm_G=f"spectralspade{statistics}{kernel}x{kernel}",
        semantic_nc=workload.space.channels,
        num_upsampling_layers=settings.upsampling,
        crop_size=width,
        aspect_ratio=width / height,
        use_vae=bool(settings.style_dim),
        z_dim=settings.style_dim or 256,
        gpu_ids=[0] if workload.device.type == "cuda" else [],
    )
