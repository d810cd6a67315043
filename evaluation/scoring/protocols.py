"""How a picture becomes a score: every choice that published numbers differ in, named and overridable.

Scores of two protocols are not comparable, so each report prints the whole protocol. What the presets are made of was
read from the public code of the projects they are named after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.metrics.inception import FidResizer
from evaluation.metrics.label_totals import Averaging
from evaluation.segmenters.base import Merging, Prediction, Scales, Segmenter, predict_scales
from pipeline.data.images import resize_ids
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels
from pipeline.recipe_file import read_yaml

VOID = -1
"""The class of pixels that do not count."""
MAX_SIDE = 16384
"""Of what a segmenter is given; beyond, a picture's feature maps take tens of gigabytes."""
MAX_SCALE = 16
"""The largest factor of a picture's size."""

Filter = Literal["nearest", "bilinear", "bicubic", "pil-bilinear", "pil-bicubic", "pil-lanczos"]
"""How pictures and class scores are resized. `nearest`, `bilinear` and `bicubic` are torch's, which sample; those of
Pillow are as wide as what they shrink, so that every pixel counts. Enlarging, both bilinear filters do the same."""
LabelFilter = Literal["nearest", "nearest-corner"]
"""How ids are resized: sampled at the centres of pixels (Pillow, torch's `nearest-exact`), or at their upper left
corners (torch's `nearest`, OpenCV): of a label map shrunk four times, pixel 4 i + 2 or pixel 4 i."""
LabelMapping = Literal["auto", "same", "cityscapes_train_ids", "ade20k_shift", "coco_stuff"]

CITYSCAPES_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The raw ids of Cityscapes (0 to 34) that are scored, in the order of the 19 trainIds."""


class Protocol(BaseModel):
    """One way to score pictures against the label maps that they were made of."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    input_size: Literal["picture", "label"] | Annotated[int, Field(gt=0, le=MAX_SIDE)] = "picture"
    """At which size the segmenter sees a picture: its own, that of its label map, or with this long side."""
    input_filter: Filter = "pil-bicubic"
    """How pictures are resized for the segmenter, where they are."""
    scales: Scales | Annotated[tuple[Annotated[float, Field(gt=0, le=MAX_SCALE)], ...], Field(min_length=1)] = "own"
    """At which scales the segmenter sees it: those of its publication (UPerNet five, DeepLabV2 three), one, or these,
    as factors of the input."""
    merging: Literal["own"] | Merging = "own"
    """How the scores of several scales become one; the segmenter's own way, or another."""
    label_size: Literal["picture", "label"] = "picture"
    """At which size predictions and label maps are compared: the picture's, or the label map's own."""
    label_filter: LabelFilter = "nearest"
    """How ids (label maps and, with `logit_size` of another size, predictions) are brought to that size."""
    logit_size: Literal["compared", "input", "own"] = "compared"
    """At which size the likeliest class is taken: that of the comparison, of the segmenter's input, or of its output as
    it is."""
    logit_filter: Filter = "bilinear"
    """How the segmenter's class scores are brought to that size."""
    label_mapping: LabelMapping = "auto"
    """From stored ids to the segmenter's classes: the same classes; Cityscapes' 35 raw ids to its 19 trainIds; ADE20K's
    0 is void and the others move down by one; COCO-Stuff's ids from 182 on are void. `auto` becomes one of them by the
    classes of both (`fit_mapping`)."""
    averaging: Averaging = "present"
    """Which classes the mean IoU averages."""
    void_is_error: bool = False
    """Whether the headline accuracy counts void pixels as errors. Reports show both accuracies in any case."""
    fid_resizer: FidResizer = "pytorch-fid"
    """Whose resizing to 299x299 the FID uses."""
    fid_photographs: Literal["picture", "own"] = "picture"
    """At which size photographs go into that resizing: that of the synthesized pictures, or their own."""
    fid_reference: Literal["validation", "training"] = "validation"
    """Which photographs distances are measured from: those of the same label maps, or a training set's
    (`--fid-reference`)."""

    def target(self, label: np.ndarray, space: LabelSpace, picture_size: tuple[int, int]) -> np.ndarray:
        """A label map of stored ids to what predictions are compared with: int16 `[h, w]`, classes or `VOID`.

        Raises `InputError` for ids beyond the classes of `space`.
        """
        if self.label_size == "picture" and label.shape != picture_size:
            label = _resize_ids(label, picture_size, self.label_filter)
        channels = class_channels(label, space)
        known = channels < len(space.classes)
        match self.label_mapping:
            case "same" | "auto":
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

    def predict(self, segmenter: Segmenter, images: torch.Tensor, label_size: tuple[int, int]) -> Prediction:
        """Pictures float `[N, 3, H, W]` in 0 to 255 as the segmenter sees them by this protocol."""
        seen = self._input(images, label_size)
        if isinstance(self.scales, tuple) or (self.merging != "own" and self.scales == "own"):
            scales = None if self.scales == "own" else tuple(self.scales)
            return predict_scales(segmenter, seen, scales, None if self.merging == "own" else self.merging)
        return segmenter(seen, scales=self.scales)

    def classes(self, scores: torch.Tensor, picture_size: tuple[int, int], label_size: tuple[int, int]) -> np.ndarray:
        """The segmenter's scores `[N, classes, h, w]` to the likeliest classes int16 `[N, *size of comparison]`."""
        compared = label_size if self.label_size == "label" else picture_size
        match self.logit_size:
            case "compared":
                size = compared
            case "input":
                size = self._input_size(picture_size, label_size)
            case "own":
                size = (scores.shape[-2], scores.shape[-1])
        likeliest = resize(scores.float(), size, self.logit_filter).argmax(1).to(torch.int16).cpu().numpy()
        return np.stack([_resize_ids(ids, compared, self.label_filter) for ids in likeliest])

    @property
    def input_fields(self) -> tuple[Any, ...]:
        """Equal for protocols that can share a segmenter's predictions (for label maps of one size)."""
        return (self.input_size, self.input_filter, self.scales, self.merging)

    @property
    def fid_features(self) -> str:
        """A name of what the FID's features are computed with; equal for protocols that can share them."""
        return self.fid_resizer + ("" if self.fid_photographs == "picture" else ", photographs of their own size")

    def _input_size(self, picture_size: tuple[int, int], label_size: tuple[int, int]) -> tuple[int, int]:
        height, width = picture_size
        match self.input_size:
            case "picture":
                return picture_size
            case "label":
                return label_size
            case int(side):
                scale = side / max(height, width)
                return max(1, round(height * scale)), max(1, round(width * scale))

    def _input(self, images: torch.Tensor, label_size: tuple[int, int]) -> torch.Tensor:
        size = self._input_size((images.shape[-2], images.shape[-1]), label_size)
        if images.shape[-2:] == size:
            return images
        # Cubic filters overshoot; a picture file would have clipped that, and Pillow rounds besides.
        seen = resize(images, size, self.input_filter).clamp(0, 255)
        return seen.round() if self.input_filter.startswith("pil-") else seen


def resize(planes: torch.Tensor, size: tuple[int, int], how: Filter) -> torch.Tensor:
    """float `[N, C, H, W]` to another height and width."""
    if planes.shape[-2:] == size:
        return planes
    if how == "nearest":
        return F.interpolate(planes, size=size, mode="nearest-exact")
    if how == "pil-lanczos":
        return _pillow_lanczos(planes, size)
    mode = how.removeprefix("pil-")
    return F.interpolate(planes, size=size, mode=mode, antialias=how != mode, align_corners=False)


def _pillow_lanczos(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """By Pillow itself, plane by plane: torch has this filter only lately, and on CPUs only."""
    flat = planes.flatten(0, 1).cpu().numpy()
    resized = [np.asarray(Image.fromarray(p).resize(size[::-1], Image.Resampling.LANCZOS)) for p in flat]
    return torch.from_numpy(np.stack(resized)).to(planes.device).unflatten(0, planes.shape[:2])


def _resize_ids(ids: np.ndarray, size: tuple[int, int], how: LabelFilter) -> np.ndarray:
    if ids.shape == size:
        return ids
    if how == "nearest":
        return resize_ids(ids, *size)
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, ids.shape, strict=True))
    return ids[rows[:, None], columns[None, :]]


PRESETS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="native"),
        Protocol(name="spade", void_is_error=True),
        Protocol(name="spade-ade20k", averaging="all", void_is_error=True),
        Protocol(name="spade-cityscapes", averaging="union", void_is_error=True),
        Protocol(name="oasis", averaging="union"),
        Protocol(name="oasis-ade20k", averaging="all"),
        Protocol(name="oasis-ade20k-single", averaging="all", scales="single"),
        Protocol(name="gan-compression", input_size="label", input_filter="bicubic", label_size="label"),
        Protocol(name="gan-compression-cityscapes", label_size="label", logit_filter="pil-bilinear", averaging="union"),
        Protocol(name="imaginaire", input_size=512, input_filter="bilinear", label_size="label", averaging="all"),
        Protocol(name="clade", averaging="union", fid_reference="training"),
    )
}
"""The presets by name; docs/evaluation.md says where each choice is from.

`native`: pictures as they are, at their own size. `spade`: the paper, as CC-FPSE repeats it (label maps shrunk to
the picture; void pixels are errors), on COCO-Stuff; `-ade20k` and `-cityscapes` average the classes as the public code
of those segmenters does. `oasis`: Cityscapes (nan-mean over the classes), `-ade20k` all classes, with the
segmenter's five scales, `-ade20k-single` with one. `clade`: Cityscapes, FID from a training set. `gan-compression`:
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


ALL = "all"
"""As a protocol's name: every preset."""


def find_protocols(
    names: Sequence[str], overrides: dict[str, Any] | None = None, *, training: bool = True
) -> tuple[Protocol, ...]:
    """Presets by their names, with fields overridden; `ALL` stands for every one, the first being the headlines'.

    Without `training`, a set of photographs for those that measure distances from one, `ALL` leaves these out. Raises
    `InputError` as `find_protocol` does, and where `ALL` stands beside other names.
    """
    if ALL not in names:
        return tuple(find_protocol(name, overrides) for name in names)
    if len(names) > 1:
        raise InputError(f"--protocol {ALL} stands for every protocol; leave out the others")
    found = tuple(find_protocol(name, overrides) for name in PRESETS)
    return tuple(protocol for protocol in found if training or protocol.fid_reference != "training")


MAPPED_CLASSES: dict[LabelMapping, tuple[int, int]] = {
    "cityscapes_train_ids": (35, 19),
    "ade20k_shift": (151, 150),
    "coco_stuff": (183, 182),
}
"""Of each label mapping: the most classes of the data and the classes of the segmenter."""


def fit_mapping(protocol: Protocol, data: Sequence[str], segmenter: Sequence[str], *, source: object) -> Protocol:
    """The protocol with a label mapping that takes the classes of the data to those of the segmenter.

    Raises `InputError` where there is none, or the protocol names one that does not; `source` is the segmenter's.
    """
    mapping: LabelMapping = protocol.label_mapping
    if mapping == "auto":
        known = [name for name, sizes in MAPPED_CLASSES.items() if sizes == (len(data), len(segmenter))]
        mapping = "same" if tuple(data) == tuple(segmenter) or not known else known[0]
    if mapping == "same":
        if tuple(data) != tuple(segmenter):
            raise InputError(
                f"segmenter {source} knows {len(segmenter)} classes ({', '.join(segmenter[:3])}, ...), the pictures "
                f"have {len(data)} ({', '.join(data[:3])}, ...); train one on the same data set, or name a label "
                f"mapping with --set label_mapping=NAME ({', '.join(MAPPED_CLASSES)})"
            )
    else:
        most, count = MAPPED_CLASSES[mapping]
        if len(data) > most or len(segmenter) != count:
            raise InputError(
                f"label mapping '{mapping}' takes up to {most} classes to a segmenter of {count}; "
                f"the pictures have {len(data)}, segmenter {source} {len(segmenter)}"
            )
    return protocol.model_copy(update={"label_mapping": mapping})


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """`field=value` each, values as in YAML, to the fields to override in a protocol.

    Raises `InputError` for a text of another form or an unknown field.
    """
    fields = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in Protocol.model_fields:
            known = ", ".join(field for field in Protocol.model_fields if field != "name")
            raise InputError(f"--set {text}: write FIELD=VALUE; the fields of a protocol are {known}")
        fields[name] = read_yaml(value, source=f"--set {text}")
    return fields
