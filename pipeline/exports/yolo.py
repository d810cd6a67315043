"""The format of YOLO's tools (https://docs.ultralytics.com/datasets/segment/): an outline a line, and `data.yaml`."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from pipeline.datasets.instances import Instance
from pipeline.exports.contours import join, trace
from pipeline.exports.formats import Files, class_table
from pipeline.exports.pictures import Picture


def yolo_files(pictures: Iterable[Picture]) -> Files:
    """`images/train/NAME.png`, `labels/train/NAME.txt`, `data.yaml` and `classes.csv`.

    A line is a class and an outline, as shares of width and height. An object of several parts, or with holes, is one
    line that goes from part to part and back the same way.
    """
    picture = None
    for picture in pictures:
        yield f"images/train/{picture.name}{picture.extension}", picture.image
        lines = [_line(part, *picture.label.shape) for part in picture.objects]
        yield f"labels/train/{picture.name}.txt", "".join(lines).encode()
    if picture is not None:
        names = dict(enumerate(picture.space.classes))
        fields = {"path": ".", "train": "images/train", "val": "images/train", "names": names}
        yield "data.yaml", yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).encode()
        yield from class_table(picture)


def _line(part: Instance, height: int, width: int) -> str:
    outlines, holes = trace(part.mask)
    shares = [share for x, y in join(outlines + holes) for share in ((x + part.left) / width, (y + part.top) / height)]
    return f"{part.label} {' '.join(f'{share:.6g}' for share in shares)}\n"
