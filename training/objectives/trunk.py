"""A frozen backbone from a local file, whose feature maps the perceptual loss or a discriminator goes by."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.pretrained.backbones import backbone_file, backbone_of, content_sha256
from pipeline.pretrained.state_dicts import fill, is_torch_file, read_state_dict
from pipeline.runtime.json_text import read_json

log = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, for RGB in 0 to 1: what torchvision's backbones, and our segmenters, are given."""
ENDS = {"resnet50": ("relu", "layer1", "layer2", "layer3", "layer4"), "mobilenet_v3_large": ("1", "3", "6", "12", "16")}
"""The layers of torchvision's backbones that end a stage, most of them before the resolution halves."""


FIRST = {"resnet50": "layer1.0.conv1.weight", "mobilenet_v3_large": "1.block.0.0.weight"}
"""A weight by which their files are known."""


class Trunk(nn.Module):
    """The stages of a backbone, never trained, always in evaluation mode; gradients go through to the pictures."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module],
        *,
        enlarge: int = 1,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        sha256: str | None = None,
    ) -> None:
        """Each of the `stages` takes what the one before it gave. `enlarge`: what pictures are enlarged by for it.

        `sha256`: of the file's whole backbone (`content_sha256`), so that a judge with the same weights is known.
        `mean` and `std` of RGB in 0 to 1: what is taken off pictures, and what they are then divided by.
        """
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.enlarge = enlarge
        self.sha256 = sha256
        for module in self.stages.modules():
            if isinstance(module, (nn.ReLU, nn.Hardswish)):
                module.inplace = False  # in place it would overwrite the features of the stage before
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Trunk:
        """Stays in evaluation mode, whatever the network that it is a part of does."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures `[N, 3, H, W]` in [-1, 1] to the feature map of each stage, `[N, C, h, w]`, in order."""
        x = ((pictures + 1) / 2 - self.mean) / self.std
        if self.enlarge > 1:
            x = F.interpolate(x, scale_factor=self.enlarge, mode="bilinear")
        return list(itertools.accumulate(self.stages, lambda maps, stage: stage(maps), initial=x))[1:]


def load_trunk(path: Path) -> Trunk:
    """The backbone in a local file: of a segmenter (`train-segmenter`'s folder or file, torchvision's DeepLabV3), or
    torchvision's `resnet50` or `mobilenet_v3_large` themselves. Heads are left out.

    Raises `InputError` where the file is missing, unreadable, or holds another network.
    """
    from torchvision.models import mobilenet_v3_large, resnet50

    file = backbone_file(path)
    state = read_state_dict(file)
    # A segmenter's backbone has dilated convolutions in the place of its last strides.
    dilated = any(key.startswith("backbone.") for key in state)
    state = backbone_of(state)
    kind = next((kind for kind, key in FIRST.items() if key in state), None)
    if kind is None:
        raise InputError(
            f"{file} is no backbone that is known here: it is neither torchvision's {' nor '.join(FIRST)}, nor a "
            "segmenter on one of these"
        )
    with torch.device("meta"):  # its weights are not drawn, which would move the random state
        if kind == "resnet50":
            backbone: nn.Module = resnet50(weights=None, replace_stride_with_dilation=[False, dilated, dilated])
        else:
            backbone = mobilenet_v3_large(weights=None, dilated=dilated).features
    children = dict(backbone.named_children())
    ends = [name for name in ENDS[kind] if any(key.startswith(f"{name}.") for key in state) or name == "relu"]
    names = list(children)[: list(children).index(ends[-1]) + 1]
    network = nn.Sequential(*(children[name] for name in names)).to_empty(device="cpu")
    places = {name: str(place) for place, name in enumerate(names)}
    kept = {
        f"{places[name]}.{rest}": value
        for key, value in state.items()
        for name, _, rest in [key.partition(".")]
        if name in places
    }
    fill(network, kept, source=f"trunk weights {file} (a {kind})")
    edges = [0, *(names.index(name) + 1 for name in ends)]
    log.info("trunk: %s from %s, %d stages", kind, file, len(ends))
    stages = [network[a:b] for a, b in itertools.pairwise(edges)]
    return Trunk(stages, enlarge=_enlargement(file), sha256=content_sha256(state))


def _enlargement(file: Path) -> int:
    """What our segmenter was trained to have its pictures enlarged by; 1 for other people's files."""
    if is_torch_file(file):
        return 1
    with safe_open(file, framework="pt") as weights:
        metadata = (weights.metadata() or {}).get("spadework", "{}")
    try:
        return int(read_json(metadata).get("enlarge", 1))
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"trunk weights {file} have damaged metadata; copy or make the file again") from None
