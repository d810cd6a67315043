"""torchvision's DeepLabV3 (Chen et al. 2017) as a segmenter of any label space, trained by `train-segmenter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import (
    DeepLabV3_ResNet50_Weights,
    deeplabv3_mobilenet_v3_large,
    deeplabv3_resnet50,
)
from torchvision.models.segmentation.deeplabv3 import ASPP, ASPPConv, DeepLabHead, DeepLabV3

from evaluation.segmenters.base import Prediction, Scales, TrainableSegmenter
from pipeline.data.safetensors_file import write_tensors
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.pretrained.state_dicts import fill, is_torch_file, read_state_dict, refuse_nonfinite, sha256_of
from pipeline.runtime.json_text import read_json

FILE_NAME = "segmenter.safetensors"
"""Of the weights in a run directory of `train-segmenter`."""
_METADATA_KEY = "spadework"

Backbone = Literal["resnet50", "mobilenet_v3_large"]

_BUILDERS = {"resnet50": deeplabv3_resnet50, "mobilenet_v3_large": deeplabv3_mobilenet_v3_large}

_EARLY = {"resnet50": ("layer2", 512), "mobilenet_v3_large": ("6", 40)}
"""The last layer at an eighth of the resolution, and its channels."""


class DeepLabSettings(BaseModel):
    """Everything but the weights; kept as JSON in the metadata of the weights file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["deeplab"] = "deeplab"
    backbone: Backbone
    labels: LabelSpace
    height: int
    """Rows of the pictures that it was trained on; it takes any size."""
    width: int
    trunk: Literal["whole", "early"] = "whole"
    """`early`: the trunk's layers down to an eighth of the resolution only."""
    enlarge: Literal[1, 2, 4] = 1
    """Pictures are enlarged so many times (bilinear) before the network, whose own output is 8 or 16 times smaller
    than its input: small pictures need it to keep small objects."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of RGB / 255, subtracted; ImageNet's, so that pretrained backbones fit."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    training: dict[str, Any] = Field(default_factory=dict)
    """How it was trained and how well it does on the validation photographs; for reports."""


class DeepLab(TrainableSegmenter):
    """DeepLabV3; its features are the mean over the picture of what its pyramid of atrous convolutions puts out."""

    kind = "deeplab"
    feature_dimensions = 256
    mean: torch.Tensor
    std: torch.Tensor
    feature_name = "DeepLabV3 pyramid (ASPP) output, mean over the picture, 256 dimensions"

    def __init__(self, settings: DeepLabSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classes = settings.labels.classes
        self.network = _build(settings)
        _initialise_depthwise(self.network)
        # Constants, not weights: the settings keep them.
        self.register_buffer("mean", 255 * torch.tensor(settings.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(settings.std).view(3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """float `[N, 3, H, W]` in 0 to 255 to logits at about an eighth or sixteenth of the (enlarged) size."""
        pixels = (images - self.mean) / self.std  # [N, 3, H, W]
        if self.settings.enlarge > 1:
            pixels = F.interpolate(pixels, scale_factor=self.settings.enlarge, mode="bilinear")
        maps = self.network.backbone(pixels.contiguous(memory_format=torch.channels_last))["out"]
        pyramid, *head = self.network.classifier
        context = _atrous_pyramid(pyramid, maps)  # [N, 256, h, w]
        return Prediction(scores=nn.Sequential(*head)(context), features=context.mean((2, 3)))

    def describe(self) -> dict[str, Any]:
        """See `Segmenter.describe`."""
        fields = self.settings.model_dump(mode="json", exclude={"labels"})
        return {**fields, "input": "RGB / 255, then mean and std", "scales": [1.0], "features": self.feature_name}

    def load_pretrained(self, path: Path) -> str:
        """Start from local weights: torchvision's DeepLabV3 of any classes, or its ImageNet backbone.

        Returns a sentence on what was taken. Raises `InputError` where the backbone is not this one.
        """
        state = read_state_dict(path)
        if not any(key.startswith("backbone.") for key in state):
            # ImageNet classifiers: ResNet's keys are the backbone's own; MobileNet keeps its trunk under `features`.
            state = {f"backbone.{key.removeprefix('features.')}": value for key, value in state.items()}
        own = self.network.state_dict()
        fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
        backbone = {key for key in own if key.startswith("backbone.") and not key.endswith("num_batches_tracked")}
        absent = sorted(backbone - fitting.keys())
        if absent:
            raise InputError(f"weights {path} are not of a {self.settings.backbone} backbone: no fitting {absent[0]}")
        refuse_nonfinite(fitting, source=f"weights {path}")
        self.network.load_state_dict(fitting, strict=False)
        head = [key for key in own if not key.startswith("backbone.")]
        return f"backbone and {sum(key in fitting for key in head)} of {len(head)} tensors of the head from {path.name}"


def _build(settings: DeepLabSettings) -> DeepLabV3:
    """torchvision's network with fresh weights; with the early trunk, its parts put together the same way."""
    classes = len(settings.labels.classes)
    whole = _BUILDERS[settings.backbone](weights=None, weights_backbone=None, num_classes=classes, aux_loss=False)
    if settings.trunk == "whole":
        return whole
    last, channels = _EARLY[settings.backbone]
    return DeepLabV3(IntermediateLayerGetter(whole.backbone, {last: "out"}), DeepLabHead(channels, classes))


def _initialise_depthwise(network: nn.Module) -> None:
    """Give depthwise convolutions initial weights that keep the variance of their inputs.

    torchvision's count each channel's fan as if it went to all of them, so that their outputs have variances down to a
    thousandth: less than what the running statistics of batch normalisation, which start at 1, remember of their start
    after a short training. In evaluation mode every such layer would then weaken the signal, until nothing is left.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            nn.init.kaiming_normal_(module.weight, mode="fan_in")  # one input channel each


def _atrous_pyramid(pyramid: ASPP, features: torch.Tensor) -> torch.Tensor:
    """What `pyramid(features)` gives, without multiplying by padding.

    Where the rate of a 3x3 convolution is at least the size of the map, as at 128x128 pixels all three are, every tap
    but the central one lies outside. Leaving those out is exact and halves the time of a training step.
    """
    branches = []
    for branch in pyramid.convs:
        if isinstance(branch, ASPPConv) and branch[0].dilation[0] >= max(features.shape[-2:]):
            convolution, *rest = branch
            branches.append(nn.Sequential(*rest)(F.conv2d(features, convolution.weight[:, :, 1:2, 1:2])))
        else:
            branches.append(branch(features))
    return pyramid.project(torch.cat(branches, 1))


def save_deeplab(path: Path, segmenter: DeepLab) -> None:
    """Write weights and settings as one safetensors file, atomically."""
    write_tensors(path, segmenter.network.state_dict(), {_METADATA_KEY: segmenter.settings.model_dump_json()})


def load_deeplab(path: Path, *, device: torch.device | str = "cpu") -> DeepLab:
    """Load what `train-segmenter` wrote (its run directory or the file in it), in evaluation mode; or a file of
    torchvision's own DeepLabV3, which knows the 21 classes of Pascal VOC.

    Raises `InputError` where there is none, it is damaged, or it is no segmenter of ours.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"segmenter weights {file} do not exist; train-segmenter writes them (--out {path})")
    if is_torch_file(file):
        return _load_torchvision(file).eval().to(device).to(memory_format=torch.channels_last)
    try:
        with safe_open(file, framework="pt") as weights:
            metadata = (weights.metadata() or {}).get(_METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise InputError(f"segmenter weights {file} are damaged ({error}); run train-segmenter again") from None
    if not _is_ours(metadata):
        raise InputError(f"{file} is no segmenter of ours; give the folder that train-segmenter wrote")
    try:
        settings = DeepLabSettings.model_validate_json(str(metadata))
    except ValidationError as error:
        reason = "; ".join(problem["msg"] for problem in error.errors())
        raise InputError(f"{file} has unusable settings ({reason}); run train-segmenter again") from None
    segmenter = DeepLab(settings)
    fill(segmenter.network, read_state_dict(file), source=f"segmenter weights {file}")
    segmenter.sha256 = sha256_of(file)
    return segmenter.eval().to(device).to(memory_format=torch.channels_last)


def _is_ours(metadata: str | None) -> bool:
    """Whether a file's metadata are those of `save_deeplab`, as far as that they can be read."""
    try:
        fields = read_json(metadata or "")
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("kind") == "deeplab"


def _load_torchvision(file: Path) -> DeepLab:
    """torchvision's `deeplabv3_resnet50` or `deeplabv3_mobilenet_v3_large`, trained on COCO with the labels of VOC."""
    state = {key: value for key, value in read_state_dict(file).items() if not key.startswith("aux_classifier.")}
    classes = tuple(DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"])
    last = state.get("classifier.4.weight")
    if last is None or len(last) != len(classes):
        raise InputError(f"segmenter weights {file} are neither of train-segmenter nor torchvision's DeepLabV3 on VOC")
    backbone: Backbone = "resnet50" if "backbone.layer1.0.conv1.weight" in state else "mobilenet_v3_large"
    made = DeepLab(DeepLabSettings(backbone=backbone, labels=LabelSpace(classes=classes), height=520, width=520))
    fill(made.network, state, source=f"segmenter weights {file}")
    made.sha256 = sha256_of(file)
    return made
