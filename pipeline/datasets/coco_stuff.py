"""COCO-Stuff (Caesar et al. 2018) in the directory layout that the public SPADE code expects."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.errors import InputError
from pipeline.label_sets import LABEL_SETS

SPACE = LABEL_SETS["coco_stuff"]


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{train,val}_{img,label,inst}, one of the two splits at least; returns what was written.

    `size` is height and width, to which photographs are resized by `resample`. Raises `InputError` where there is
    neither split, and as `convert_files`.
    """
    splits = []
    for name, prefix in (("train", "train"), ("validation", "val")):
        if (root / f"{prefix}_label").is_dir():
            folders = [list_pictures(root / f"{prefix}_{kind}") for kind in ("label", "img", "inst")]
            splits.append(Split(name, *pair(*folders)))
    if not splits:
        raise InputError(
            f"{root} has neither train_label nor val_label; give the folder with train_img, train_label, ..."
        )
    return convert_files(
        out, "coco-stuff", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad
    )
