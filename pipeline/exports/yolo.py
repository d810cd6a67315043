"""The format of YOLO's tools (https://docs.ultralytics.com/datasets/segment/): an outline a line, and `data.yaml`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

import yaml

from pipeline.datasets.instances import Instance
from pipeline.exports.contours import join, trace
from pipeline.exports.formats import Files, class_table
from pipeline.exports.pictures import Picture


def yolo_files(pictures: Iterable[Picture]) -> Files:
    """`images/train/NAME.png`, `labels/train/NAME.txt`, `data.yaml` and `classes.csv`.

    `data.yaml` has no `path`: the readers then take its own folder. They find labels by putting `labels` for the last
    folder `images` of a picture's path, so a folder of that name in `NAME` gets a checksum.

    A line is a class and an outline, as shares of width and height. An object of several parts, or with holes, is one
    line that goes from part to part and back the same way.
    """
    picture = None
    for picture in pictures:
        name = _name(picture.name)
        yield f"images/train/{name}{picture.extension}", picture.image
        lines = [_line(part, *picture.label.shape) for part in picture.objects]
        yield f"labels/train/{name}.txt", "".join(lines).encode()
    if picture is not None:
        names = dict(enumerate(picture.space.classes))
        fields = {"train": "images/train", "val": "images/train", "names": names}
        yield "data.yaml", yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).encode()
        yield from class_table(picture)


def _name(name: str) -> str:
    """A picture's name without a folder called `images`, which would hide the one that is."""
    *folders, last = PurePosixPath(name).parts
    checksum = hashlib.sha256(b"images").hexdigest()[:8]
    return "/".join([*(f"images-{checksum}" if part == "images" else part for part in folders), last])


def _line(part: Instance, height: int, width: int) -> str:
    outlines, holes = trace(part.mask)
    shares = [share for x, y in join(outlines + holes) for share in ((x + part.left) / width, (y + part.top) / height)]
    return f"{part.label} {' '.join(f'{share:.6g}' for share in shares)}\n"
