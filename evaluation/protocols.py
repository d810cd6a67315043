"""How a picture becomes a score: every choice that published numbers differ in, named and overridable.

Scores of two protocols are not comparable, so each report prints the whole protocol. What the presets are made of was
read from the public code of the projects they are named after.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.confusion import Averaging
from evaluation.segmenters.base import Scales, class_map
from pipeline.errors import InputError
from pipeline.images import resize_ids
from pipeline.labels import LabelSpace, class_channels

VOID = -1
"""The class of pixels that do not count."""

Filter = Literal["bilinear", "bicubic", "nearest"]
LabelMapping = Literal["same", "cityscapes_train_ids", "ade20k_shift", "coco_stuff"]

CITYSCAPES_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The raw ids of Cityscapes (0 to 34) that are scored, in the order of the 19 trainIds."""


class Protocol(BaseModel):
    """One way to score pictures against the label maps that they were made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    input_size: Literal["picture", "label"] | Annotated[int, Field(gt=0)] = "picture"
    """At which size the segmenter sees a picture: its own, that of its label map, or with this long side."""
    input_filter: Filter = "bicubic"
    """How pictures are resized for the segmenter, where they are (antialiased where they shrink)."""
    label_size: Literal["picture", "label"] = "picture"
    """At which size predictions and label maps are compared: the picture's (label maps are resized, nearest) or the
    label map's own."""
    scores_filter: Literal["bilinear", "nearest"] = "bilinear"
    """How the segmenter's class scores are brought to that size; the likeliest class is taken afterwards."""
    scales: Scales = "own"
    """Whether a segmenter that merges several sizes of a picture does so (UPerNet: five, DeepLabV2: three)."""
    label_mapping: LabelMapping = "same"
    """From stored ids to the segmenter's classes: the same classes; Cityscapes' 35 raw ids to its 19 trainIds; ADE20K's
    0 is void and the others move down by one; COCO-Stuff's ids from 182 on are void."""
    averaging: Averaging = "present"
    """Which classes the mean IoU averages."""
    void_is_error: bool = False
    """Whether the headline accuracy counts void pixels as errors. Reports show both accuracies in any case."""
    fid_resizer: Literal["pytorch-fid", "clean-fid", "torch-fidelity"] = "pytorch-fid"
    """Whose resizing to 299x299 the FID uses."""
    fid_reference: Literal["validation", "training"] = "validation"
    """Which photographs the published FIDs of this protocol were measured against. It documents; the photographs are
    those of `--reference`."""

    def target(self, label: np.ndarray, space: LabelSpace, picture_size: tuple[int, int]) -> np.ndarray:
        """A label map of stored ids to what predictions are compared with: int16 `[h, w]`, classes or `VOID`."""
        if self.label_size == "picture" and label.shape != picture_size:
            label = resize_ids(label, *picture_size)
        channels = class_channels(label, space)
        known = channels < len(space.classes)
        match self.label_mapping:
            case "same":
                classes = channels
            case "cityscapes_train_ids":
                table = np.full(max(len(space.classes), 35), VOID)
                table[list(CITYSCAPES_TRAIN_IDS)] = np.arange(19)
                classes = table[np.where(known, channels, 0)]
            case "ade20k_shift":
                classes = channels - 1
            case "coco_stuff":
                classes = np.where(channels < 182, channels, VOID)
        return np.where(known, classes, VOID).astype(np.int16)

    def input(self, images: torch.Tensor, label_size: tuple[int, int]) -> torch.Tensor:
        """Pictures float `[N, 3, H, W]` in 0 to 255 at the size at which the segmenter sees them."""
        height, width = images.shape[-2:]
        match self.input_size:
            case "picture":
                size = (height, width)
            case "label":
                size = label_size
            case int(side):
                size = (round(height * side / max(height, width)), round(width * side / max(height, width)))
        return _resize(images, size, self.input_filter)

    def predict(self, scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The segmenter's scores `[N, classes, h, w]` to classes int64 `[N, *size]`."""
        if self.scores_filter == "nearest":
            return F.interpolate(scores.float(), size=size, mode="nearest-exact").argmax(1)
        return class_map(scores, *size)

    @property
    def input_fields(self) -> tuple[Any, ...]:
        """Equal for protocols that can share a segmenter's predictions (for label maps of one size)."""
        return (self.input_size, self.input_filter, self.scales)


def _resize(images: torch.Tensor, size: tuple[int, int], how: Filter) -> torch.Tensor:
    if images.shape[-2:] == size:
        return images
    if how == "nearest":
        return F.interpolate(images, size=size, mode="nearest-exact")
    # Cubic filters overshoot; a picture file would have clipped that.
    return F.interpolate(images, size=size, mode=how, antialias=True, align_corners=False).clamp(0, 255)


PRESETS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="native"),
        Protocol(name="spade", averaging="present", void_is_error=True),
        Protocol(name="oasis", averaging="union", scales="single"),
        Protocol(name="gan-compression", input_size="label", label_size="label"),
        Protocol(name="gan-compression-cityscapes", label_size="label", averaging="union"),
        Protocol(name="imaginaire", input_size=512, input_filter="bilinear", label_size="label", averaging="all"),
    )
}
"""The presets by name.

`native`: pictures as they are, at their own size. `spade`: the paper, as CC-FPSE repeats it (label maps shrunk to
the picture; void pixels are errors). `oasis`: its Cityscapes scores (nan-mean over the classes). `gan-compression`:
COCO-Stuff, pictures enlarged to the label map's size; `-cityscapes`: the class scores are enlarged instead.
`imaginaire`: long side 512, and the mean over all classes, those that never occur included.
"""


def find_protocol(name: str, overrides: dict[str, Any] | None = None) -> Protocol:
    """A preset by name, with fields overridden; `InputError` names the valid choices."""
    if name not in PRESETS:
        raise InputError(f"there is no protocol '{name}'; choose from {', '.join(PRESETS)}")
    fields = {**PRESETS[name].model_dump(), **(overrides or {})}
    try:
        return Protocol.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise InputError(f"protocol '{name}' with these settings: {problems}") from None


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """`field=value` each, values as in YAML, to the fields to override in a protocol."""
    fields = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in Protocol.model_fields:
            known = ", ".join(field for field in Protocol.model_fields if field != "name")
            raise InputError(f"--set {text}: write FIELD=VALUE; the fields of a protocol are {known}")
        try:
            fields[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {text}: '{value}' is not a valid YAML value") from None
    return fields
