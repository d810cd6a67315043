"""Cityscapes (Cordts et al. 2016), fine annotations, all 35 raw label ids as the public SPADE generators take them."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.label_sets import LABEL_SETS

SPACE = LABEL_SETS["cityscapes"]


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{gtFine,leftImg8bit}/{train,val}/<city>; returns what was written.

    `size` is height and width, to which photographs are resized by `resample`. Raises `InputError` as `convert_files`.
    """
    splits = []
    for name, folder in (("train", "train"), ("validation", "val")):
        fine = root / "gtFine" / folder
        labels = list_pictures(fine, suffix="_gtFine_labelIds")
        images = list_pictures(root / "leftImg8bit" / folder, suffix="_leftImg8bit")
        splits.append(Split(name, *pair(labels, images, list_pictures(fine, suffix="_gtFine_instanceIds"))))
    return convert_files(
        out, "cityscapes", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad
    )
