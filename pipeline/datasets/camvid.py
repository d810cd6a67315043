"""CamVid, in the 11-class form of the SegNet tutorial (Brostow et al. 2009; Badrinarayanan et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.label_sets import LABEL_SETS

SPACE = LABEL_SETS["camvid"]


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{train,val}/{images,labels}; returns what was written.

    `size` is height and width, to which photographs are resized by `resample`. Raises `InputError` as `convert_files`.
    """
    splits = []
    for name, folder in (("train", root / "train"), ("validation", root / "val")):
        sources, skipped = pair(list_pictures(folder / "labels"), list_pictures(folder / "images"))
        splits.append(Split(name, sources, skipped))
    return convert_files(out, "camvid", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad)
