"""The perceptual loss: L1 between VGG19 features (Johnson et al. 2016, in the form of pix2pixHD and SPADE)."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.data.tensors import refuse_nonfinite
from pipeline.errors import InputError

log = logging.getLogger(__name__)

# (layers of torchvision's vgg19().features up to and with this ReLU, weight): relu1_1, 2_1, 3_1, 4_1, 5_1.
TAPS = ((2, 1 / 32), (7, 1 / 16), (12, 1 / 8), (21, 1 / 4), (30, 1.0))

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualLoss(nn.Module):
    """Distance of two pictures in the features of a VGG19, frozen.

    `features` is torchvision's `vgg19().features`, or anything of the same length.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        edges = [0, *(end for end, _ in TAPS)]
        self.stages = nn.ModuleList(features[a:b] for a, b in itertools.pairwise(edges))
        for module in self.stages.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # in place it would overwrite the features that are compared
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The weighted sum of L1 distances; pictures `[N, 3, H, W]` in [-1, 1], gradients to `fake` only."""
        fake, real = (((picture + 1) / 2 - self.mean) / self.std for picture in (fake, real.detach()))
        loss = fake.new_zeros(())
        for stage, (_, weight) in zip(self.stages, TAPS, strict=True):
            fake = stage(fake)
            with torch.no_grad():
                real = stage(real)
            loss = loss + weight * F.l1_loss(fake, real)
        return loss


def load_perceptual_loss(weights: Path | None) -> PerceptualLoss | None:
    """The loss with the weights of torchvision's `vgg19` from a local file (.pth or .safetensors), or None without one.

    Raises `InputError` where the file is missing, unreadable, or holds another network.
    """
    if weights is None:
        log.info("perceptual loss: off, as no VGG19 weights file is given (--vgg-weights)")
        return None
    from torchvision.models import vgg19

    state = {key: value for key, value in _read(weights).items() if key.startswith("features.")}
    with torch.device("meta"):  # its 500 MB classifier is never allocated
        network = vgg19(weights=None)
    refuse_nonfinite(state, source=f"VGG weights {weights}")
    features = network.features.to_empty(device="cpu")
    try:
        features.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise InputError(f"VGG weights {weights} are not those of torchvision's vgg19: {problem}") from None
    log.info("perceptual loss: VGG19 from %s", weights)
    return PerceptualLoss(features)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"VGG weights {path} do not exist") from None
    except Exception as error:  # noqa: BLE001 - whatever a broken file makes the readers raise, it is the file
        raise InputError(f"VGG weights {path} cannot be read: {' '.join(str(error).split())[:200]}") from None
