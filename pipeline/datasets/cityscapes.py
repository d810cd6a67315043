"""Cityscapes (Cordts et al. 2016), fine annotations, all 35 raw label ids as the public SPADE generators take them."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.errors import InputError
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
    disparity: bool = False,
) -> Summary:
    """Convert `root`/{gtFine,leftImg8bit}/{train,val}/<city>; returns what was written.

    With `disparity` that of `root`/disparity too. `size` is height and width, to which photographs are resized by
    `resample`. Raises `InputError` as `convert_files`.
    """
    splits = []
    for name, folder in (("train", "train"), ("validation", "val")):
        fine = root / "gtFine" / folder
        labels = list_pictures(fine, suffix="_gtFine_labelIds")
        images = list_pictures(root / "leftImg8bit" / folder, suffix="_leftImg8bit")
        near = list_pictures(root / "disparity" / folder, suffix="_disparity") if disparity else None
        splits.append(Split(name, *pair(labels, images, _list_instances(fine), near)))
    return convert_files(
        out, "cityscapes", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad
    )


def _list_instances(fine: Path) -> dict[str, Path]:
    """The instance maps of a split, without which its label space would have no edges."""
    try:
        return list_pictures(fine, suffix="_gtFine_instanceIds")
    except InputError:
        raise InputError(
            f"{fine} has no instance maps (*_gtFine_instanceIds.png), from which the edges of cars and people come; "
            "unpack all of gtFine, or do without: prepare folder gtFine/train --images leftImg8bit/train --map-ids "
            "cityscapes-train"
        ) from None
