"""Cityscapes (Cordts et al. 2016), fine annotations, all 35 raw label ids as the public SPADE generators take them."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.labels import LabelSpace

NAMES = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
    *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole"),
    *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
    *("bus", "caravan", "trailer", "train", "motorcycle", "bicycle", "license plate"),
)
COLOURS = (
    *((0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (111, 74, 0), (81, 0, 81), (128, 64, 128)),
    *((244, 35, 232), (250, 170, 160), (230, 150, 140), (70, 70, 70), (102, 102, 156), (190, 153, 153)),
    *((180, 165, 180), (150, 100, 100), (150, 120, 90), (153, 153, 153), (153, 153, 153), (250, 170, 30)),
    *((220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142)),
    *((0, 0, 70), (0, 60, 100), (0, 0, 90), (0, 0, 110), (0, 80, 100), (0, 0, 230), (119, 11, 32), (0, 0, 142)),
)

SPACE = LabelSpace(classes=NAMES, palette=COLOURS, instance_edges=True)


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{gtFine,leftImg8bit}/{train,val}/<city>.

    `size` is height and width, to which photographs are resized by `resample`.
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
