"""The public SPADE program itself in the race, where the user has a checkout of it; nothing of it is ours."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.bench.generators import Workload
from pipeline.checkpoints.public_names import GENERATOR, Tensors, from_public
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
        with importable(checkout, "models/networks/generator.py"):
            from models.networks.generator import SPADEGenerator

            network: nn.Module = SPADEGenerator(options)
        copy_weights(workload.generator, network, lambda state: from_public(state, GENERATOR))
        self.network = network.to(workload.device).eval()

    @torch.inference_mode()
    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`."""
        return self.workload.pictures(self.workload.one_hot, lambda planes, z: self.network(planes, z=z))


@contextmanager
def importable(checkout: Path, file: str) -> Iterator[None]:
    """A block that imports from a checkout, without the warnings of a program of 2019; its modules stay importable.

    Raises `InputError` where the folder has no such file, and so is no checkout.
    """
    if not (checkout / file).is_file():
        raise InputError(f"{checkout} is no checkout of the public SPADE: it has no {file}")
    sys.path.insert(0, str(checkout.absolute()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def copy_weights(ours: nn.Module, theirs: nn.Module, translate: Callable[[Tensors], Tensors]) -> None:
    """Our weights into a network of the public program; `translate` gives its state dict our names."""
    public, own = theirs.state_dict(), ours.state_dict()
    theirs.load_state_dict({name: own[at] for name, at in zip(public, translate(public), strict=True)})


def refuse_other_settings(settings: Iterable[tuple[str, Any, Any]]) -> None:
    """Raise `InputError` for the first (field, value, what the public program knows) whose value is another one."""
    for field, value, theirs in settings:
        if value != theirs:
            raise InputError(f"{field} is {value}; the public program knows {theirs} only")


def public_generator_options(
    settings: GeneratorSettings, space: LabelSpace, size: tuple[int, int], device: torch.device
) -> Any:
    """The public program's options for a generator of pictures of `size` (height, width).

    Raises `InputError` where it has no such generator.
    """
    refuse_other_settings(
        (
            ("generator.noise", settings.noise, False),
            ("generator.enlargement", settings.enlargement, "nearest"),
            ("generator.style_input", settings.style_input, "first"),
            ("generator.hidden", settings.hidden, 128),
        )
    )
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
