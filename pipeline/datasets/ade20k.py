"""ADE20K in the form of the scene parsing challenge (Zhou et al. 2017): 150 classes."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.label_sets import LABEL_SETS

SPACE = LABEL_SETS["ade20k"]

RELABEL = {0: 255} | {stored: stored - 1 for stored in range(1, 151)}
"""The files store 0 for "other" and count classes from 1. The public SPADE code means to shift them so and does not,
so its released weights have "other" as channel 0 and not as the last one."""


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{images,annotations}/{training,validation}; returns what was written.

    `size` is height and width, to which photographs are resized by `resample`. Raises `InputError` as `convert_files`.
    """
    splits = []
    for name, folder in (("train", "training"), ("validation", "validation")):
        splits.append(
            Split(name, *pair(list_pictures(root / "annotations" / folder), list_pictures(root / "images" / folder)))
        )
    return convert_files(
        out, "ade20k", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad, relabel=RELABEL
    )
