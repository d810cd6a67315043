"""COCO's formats (https://cocodataset.org/#format-data): objects with outlines and boxes, and panoptic segments."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.data.images import encode_png
from pipeline.datasets.instances import Instance
from pipeline.datasets.run_lengths import encode_mask
from pipeline.exports.contours import trace
from pipeline.exports.formats import Files, class_table
from pipeline.exports.pictures import Picture

SUBSET = "train"
"""What synthesized pictures are for."""


def coco_files(pictures: Iterable[Picture]) -> Files:
    """`annotations/instances_train.json`, the pictures under `images/train/`, and `classes.csv`.

    Category ids are ids of classes + 1. An object has polygons, or run lengths where it has holes, which polygons of
    COCO cannot say.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    picture = None
    for number, picture in enumerate(pictures, start=1):
        yield f"images/{SUBSET}/{picture.name}{picture.extension}", picture.image
        images.append(_image(picture, number))
        for part in picture.objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": part.label + 1,
                    "segmentation": _segmentation(part, *picture.label.shape),
                    "area": int(part.mask.sum()),
                    "bbox": part.box,
                    "iscrowd": 0,
                }
            )
    yield f"annotations/instances_{SUBSET}.json", _json(picture, images, annotations, None)
    yield from class_table(picture)


def panoptic_files(pictures: Iterable[Picture]) -> Files:
    """`annotations/panoptic_train.json`, its PNGs in `annotations/panoptic_train/`, pictures and `classes.csv`.

    The objects of an instance map are segments of their own, and what is left of each class is one; without an instance
    map each class is one. Pixels that are don't-care are 0, of no segment.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    things: set[int] = set()
    picture = None
    for number, picture in enumerate(pictures, start=1):
        yield f"images/{SUBSET}/{picture.name}{picture.extension}", picture.image
        segments = np.zeros(picture.label.shape, np.int32)
        infos: list[dict[str, Any]] = []
        parts = picture.objects if picture.instance is not None else []
        masks = [(part.label, _whole(part, *picture.label.shape)) for part in parts]
        things |= {part.label for part in parts}
        taken = np.zeros(picture.label.shape, bool)
        for _, mask in masks:
            taken |= mask
        masks += [(label, (picture.label == label) & ~taken) for label in range(len(picture.space.classes))]
        for label, mask in masks:
            if mask.any():
                segments[mask] = len(infos) + 1
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
                infos.append(
                    {
                        "id": len(infos) + 1,
                        "category_id": label + 1,
                        "area": int(mask.sum()),
                        "bbox": [int(side) for side in box],
                        "iscrowd": 0,
                    }
                )
        colours = ((segments[..., None] // np.array([1, 256, 65536])) % 256).astype(np.uint8)
        yield f"annotations/panoptic_{SUBSET}/{picture.name}.png", encode_png(colours)
        images.append(_image(picture, number))
        annotations.append({"image_id": number, "file_name": f"{picture.name}.png", "segments_info": infos})
    yield f"annotations/panoptic_{SUBSET}.json", _json(picture, images, annotations, things)
    yield from class_table(picture)


def _image(picture: Picture, number: int) -> dict[str, Any]:
    height, width = picture.label.shape
    name = f"{picture.name}{picture.extension}"
    return {"id": number, "file_name": name, "height": height, "width": width, "spadework": picture.about}


def _json(picture: Picture | None, images: list[Any], annotations: list[Any], things: set[int] | None) -> bytes:
    categories: list[dict[str, Any]] = []
    if picture is not None:
        for number, (name, colour) in enumerate(zip(picture.space.classes, picture.space.palette, strict=True)):
            of_panoptic = {} if things is None else {"isthing": int(number in things), "color": list(colour)}
            categories.append({"id": number + 1, "name": name, "supercategory": name, **of_panoptic})
    info = {"description": "Synthesized by spadework from label maps"}
    fields = {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    return (json.dumps(fields) + "\n").encode()


def _segmentation(part: Instance, height: int, width: int) -> Any:
    outlines, holes = trace(part.mask)
    if holes:
        return encode_mask(_whole(part, height, width))
    return [[side for x, y in outline for side in (x + part.left, y + part.top)] for outline in outlines]


def _whole(part: Instance, height: int, width: int) -> np.ndarray:
    """The mask of an object in its picture, bool `[height, width]`."""
    mask = np.zeros((height, width), bool)
    box_height, box_width = part.mask.shape
    mask[part.top : part.top + box_height, part.left : part.left + box_width] = part.mask
    return mask
