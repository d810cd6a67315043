"""Regions of synthesized pictures that do not show their label: pixels whose loss is far above that of photographs.

FreeMask (Yang et al., NeurIPS 2023, Sec. 3.3): with the label map as a segmenter's target, pixels of a synthesized
picture whose cross entropy exceeds `loss_factor` times the mean of their class on real photographs become don't-care.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from PIL import Image

from evaluation.inputs import find_segmenter_weights, refuse_other_classes
from evaluation.metrics.class_losses import ClassLosses
from evaluation.scoring.picture_sets import Picture, PictureSet, Selection, decode_picture, read_shard
from evaluation.scoring.protocols import VOID, Protocol, fit_mapping, resize
from evaluation.segmenters import load_segmenter
from evaluation.segmenters.base import Segmenter
from pipeline.data.records import encode_png, picture_bytes
from pipeline.data.schema import METADATA_KEY, PICTURE, DatasetInfo, describe_column
from pipeline.data.shards import iter_shard
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.device import default_device
from pipeline.runtime.progress import ProgressBar

COLUMN = "label_trusted"
"""The column of label maps whose doubtful pixels are don't-care."""
REPORT = "regions.json"
"""Beside the files of pictures."""


@dataclass(frozen=True)
class RegionSettings:
    """How doubtful pixels are found."""

    reference: str | Path
    """Real photographs with label maps: a Parquet file or a folder of them."""
    loss_factor: float = 1.25
    """Of the class's mean loss on the photographs; 1.25 in FreeMask's published code."""
    segmenter: str = "deeplab"
    segmenter_weights: Path | None = None
    """None: those that `evaluate` would take."""
    device: str | None = None
    """None: a GPU where there is one."""


def pixel_losses(scores: torch.Tensor, target: np.ndarray, scores_are: str) -> np.ndarray:
    """The cross entropy of every pixel, float32 `[h, w]`; 0 where the target is void.

    `scores` are a segmenter's for one picture, float `[1, classes, height, width]` of any size, enlarged (bilinear) to
    that of `target`, int `[h, w]`: classes, or `VOID`. `scores_are` says what they are, as `Segmenter.scores_are`.
    """
    enlarged = resize(scores.float(), (target.shape[0], target.shape[1]), "bilinear")
    if scores_are == "probabilities":
        logarithms = (enlarged / enlarged.sum(1, keepdim=True)).clamp(min=1e-12).log()
    else:
        logarithms = enlarged.log_softmax(1)  # which leaves logarithms of probabilities as they are
    classes = torch.from_numpy(target.astype(np.int64)).to(scores.device)
    return F.nll_loss(logarithms, classes[None], ignore_index=VOID, reduction="none")[0].cpu().numpy()


@dataclass(frozen=True)
class RegionSummary:
    """What became don't-care; arrays by class of the segmenter."""

    classes: tuple[str, ...]
    mean_loss: np.ndarray
    """float64: the mean loss on the photographs, in nats; NaN for classes that they do not have."""
    photographs: np.ndarray
    """float64: the share of the photographs' own pixels that are beyond the limit, which is no fault of theirs."""
    pixels: np.ndarray
    """int64: pixels of known class in the pictures."""
    blanked: np.ndarray
    """int64: those of them that became don't-care."""

    @property
    def share(self) -> float:
        """The share of all pixels of known class that became don't-care."""
        return float(self.blanked.sum() / max(self.pixels.sum(), 1))

    def to_json(self) -> dict[str, Any]:
        """Figures by class, shares of 1; null where the photographs or the pictures do not have the class."""
        by_class = {
            name: {
                "mean_loss": None if np.isnan(self.mean_loss[index]) else float(self.mean_loss[index]),
                "pixels": int(self.pixels[index]),
                "blanked": int(self.blanked[index]),
                "share": float(self.blanked[index] / self.pixels[index]) if self.pixels[index] else None,
                "share_of_photographs": None if np.isnan(self.photographs[index]) else float(self.photographs[index]),
            }
            for index, name in enumerate(self.classes)
        }
        return {"share": self.share, "classes": by_class}

    def __str__(self) -> str:
        width = max(map(len, self.classes))
        lines = [f"{'class':{width}}  {'of pixels':>9}  {'blanked':>7}  in photographs  mean loss"]
        whole = []
        for index in np.flatnonzero(self.pixels):
            name, pixels = self.classes[index], self.pixels[index]
            if np.isnan(self.mean_loss[index]):
                whole.append(name)
            else:
                figures = f"{pixels / self.pixels.sum():>9.2%}  {self.blanked[index] / pixels:>7.1%}"
                figures += f"  {self.photographs[index]:>14.1%}  {self.mean_loss[index]:>9.3f}"
                lines.append(f"{name:{width}}  {figures}")
        lines.append(f"{self.share:.1%} of the pixels became don't-care in {COLUMN}")
        if whole:
            lines.append(f"kept whole, since the photographs have none: {', '.join(whole)}")
        return "\n".join(lines)


class RegionFilter:
    """Adds `label_trusted` to rows of pictures; one picture at a time, so that each depends on nothing but itself."""

    def __init__(self, images: str | Path, settings: RegionSettings) -> None:
        """Load the segmenter and read the photographs for the mean losses.

        Raises `InputError` where pictures, photographs or weights are missing or unreadable, the photographs or the
        segmenter have other classes than the pictures, or the factor is not positive.
        """
        if not settings.loss_factor > 0:
            raise InputError(f"the loss factor is {settings.loss_factor}; give a number above 0, such as 1.25")
        pictures = PictureSet.open(images, what="the folder of synthesized pictures")
        photographs = PictureSet.open(settings.reference, what="the reference data set")
        refuse_other_classes(pictures, photographs)
        weights = find_segmenter_weights(settings.segmenter, settings.segmenter_weights, pictures.space.classes)
        self.settings = settings
        self.space = with_dont_care(pictures.space)
        self.device = torch.device(settings.device or default_device())
        self.segmenter: Segmenter = load_segmenter(settings.segmenter, weights, device=str(self.device))
        self.protocol = fit_mapping(
            Protocol(name="native"), pictures.space.classes, self.segmenter.classes, source=weights
        )
        classes = len(self.segmenter.classes)
        losses = self._measure(photographs, common_size(pictures))
        self.mean_loss = losses.means()
        self.limits = settings.loss_factor * self.mean_loss
        self.beyond = losses.shares_above(self.limits)
        self.pixels, self.blanked = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        self._photographs = photographs

    @torch.inference_mode()
    def losses(self, image: np.ndarray, target: np.ndarray) -> np.ndarray:
        """float32 `[h, w]`: see `pixel_losses`, of a picture uint8 `[H, W, 3]` and its target `[h, w]`."""
        pixels = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float()
        scores = self.protocol.predict(self.segmenter, pixels, (target.shape[0], target.shape[1])).scores
        return pixel_losses(scores, target, self.segmenter.scores_are)

    def trusted(self, picture: Picture) -> np.ndarray:
        """The picture's label map, stored ids `[h, w]`, with the don't-care id at doubtful pixels: uint8 or uint16.

        Pixels of classes that the photographs do not have stay as they are: nothing is known about their loss.
        """
        label = picture.label
        target = self._target(picture, self.space, (label.shape[0], label.shape[1]))
        limits = np.append(self.limits, np.nan)  # VOID is the last
        doubtful = self.losses(picture.image, target) > limits[target]
        self.pixels += np.bincount(target[target != VOID], minlength=len(self.pixels))
        self.blanked += np.bincount(target[doubtful], minlength=len(self.pixels))
        assert self.space.dont_care is not None
        kind = np.uint8 if max(self.space.dont_care, len(self.space.classes) - 1) < 256 else np.uint16
        return np.where(doubtful, self.space.dont_care, label).astype(kind)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """That of a file of pictures, with `label_trusted` after `label`, a don't-care id, and how it was made."""
        if COLUMN in schema.names:
            schema = schema.remove(schema.get_field_index(COLUMN))
        metadata = dict(schema.metadata)
        info = DatasetInfo.from_json(metadata[METADATA_KEY])
        info = replace(info, space=self.space, preprocessing={**info.preprocessing, "regions": self.describe()})
        metadata[METADATA_KEY] = info.to_json().encode()
        metadata = describe_column(metadata, COLUMN, {"_type": "Image"})
        place = schema.get_field_index("label") + 1
        return schema.insert(place, pa.field(COLUMN, PICTURE)).with_metadata(metadata)

    def rows(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """Rows of pictures with their `label_trusted`, in a `schema` that the method of this name made.

        Raises `InputError`, which names a picture that is missing or broken.
        """
        names = [name for name in ("id", "sample", "image", "label") if name in batch.schema.names]
        pictures = (decode_picture(row, Selection()) for row in batch.select(names).to_pylist())
        cells = [{"bytes": encode_png(self.trusted(picture)), "path": None} for picture in pictures]
        columns = [pa.array(cells, PICTURE) if name == COLUMN else batch.column(name) for name in schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def describe(self) -> dict[str, Any]:
        """What the trusted labels depend on besides the pictures, as JSON values."""
        fingerprints = "".join(file.fingerprint for file in self._photographs.plan.files)
        return {
            "loss_factor": self.settings.loss_factor,
            "segmenter": self.settings.segmenter,
            "segmenter_sha256": self.segmenter.sha256,
            "photographs": self._photographs.plan.rows,
            "photographs_sha256": hashlib.sha256(fingerprints.encode()).hexdigest(),
            "dont_care": self.space.dont_care,
        }

    def summary(self) -> RegionSummary:
        """What became of the pixels so far."""
        counts = self.pixels.copy(), self.blanked.copy()
        return RegionSummary(self.segmenter.classes, self.mean_loss, self.beyond, *counts)

    def report(self) -> str:
        """`regions.json`: the settings, and the share that became don't-care by class."""
        return json.dumps({**self.describe(), **self.summary().to_json()}, indent=2, allow_nan=False) + "\n"

    def _measure(self, photographs: PictureSet, size: tuple[int, int] | None) -> ClassLosses:
        """The losses of all pixels of all photographs, resized (Lanczos) to the height and width in `size`."""
        found = ClassLosses(len(self.segmenter.classes))
        with ProgressBar(total=photographs.plan.rows, desc="photographs", unit="image") as bar:
            for shard in photographs.plan.shards:
                for picture in read_shard(shard, Selection(size=size)):
                    height, width, _ = picture.image.shape
                    target = self._target(picture, photographs.space, (height, width))
                    found.update(self.losses(picture.image, target), target)
                    bar.update()
        return found

    def _target(self, picture: Picture, space: LabelSpace, size: tuple[int, int]) -> np.ndarray:
        """int16 `[*size]`: the segmenter's classes, or `VOID`."""
        try:
            return self.protocol.target(picture.label, space, size)
        except InputError as error:
            raise InputError(f"picture '{picture.id}': {error}") from None


def with_dont_care(space: LabelSpace) -> LabelSpace:
    """The label space itself, or where it has no don't-care id, with 255 (65535 if that is a class)."""
    if space.dont_care is not None:
        return space
    return space.model_copy(update={"dont_care": 255 if len(space.classes) <= 255 else 65535})


def common_size(pictures: PictureSet) -> tuple[int, int] | None:
    """Height and width of all pictures, from the heads of their files; None where they differ.

    A segmenter sees a photograph as it sees the pictures only at their size. Raises `InputError`, which names a picture
    that cannot be decoded.
    """
    found: set[tuple[int, int]] = set()
    for shard in pictures.plan.shards:
        for _, row in iter_shard(shard, ["id", "image"]):
            data = picture_bytes(row["image"])
            try:
                with Image.open(io.BytesIO(data or b"")) as head:
                    found.add((head.height, head.width))
            except OSError:
                raise InputError(f"picture '{row['id']}': image cannot be decoded; synthesize it again") from None
            if len(found) > 1:
                return None
    return found.pop() if found else None
