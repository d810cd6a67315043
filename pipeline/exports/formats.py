"""Formats that need no more than the files themselves: plain folders, and tar shards of the WebDataset kind."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator

from pipeline.exports.names import safe_name
from pipeline.exports.pictures import Picture

Files = Iterator[tuple[str, bytes]]
"""Names with `/`, and what the files hold."""

TAR_PICTURES = 1024
"""Of one tar shard."""


def class_table(picture: Picture | None) -> Files:
    """`classes.csv`: the id of each class, its name, its colour, and its id in formats that keep 0 for nothing."""
    if picture is None:
        return
    rows = ["id,name,red,green,blue,category_id"]
    for number, (name, colour) in enumerate(zip(picture.space.classes, picture.space.palette, strict=True)):
        quoted = f'"{name}"' if "," in name else name
        rows.append(f"{number},{quoted},{colour[0]},{colour[1]},{colour[2]},{number + 1}")
    yield "classes.csv", ("\n".join(rows) + "\n").encode()


def folder_files(pictures: Iterable[Picture]) -> Files:
    """`images/NAME.png` and `labels/NAME.png`, the bytes as they are stored, and `classes.csv`."""
    picture = None
    for picture in pictures:
        yield f"images/{picture.name}{picture.extension}", picture.image
        yield f"labels/{picture.name}.png", picture.label_png
    yield from class_table(picture)


def webdataset_files(pictures: Iterable[Picture]) -> Files:
    """`part-00000.tar` and on, with `key.png`, `key.label.png` and `key.json` of each picture.

    A key has no dots or folders, by which readers part names; the id is in the JSON.
    """
    waiting: list[Picture] = []
    number = 0
    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == TAR_PICTURES:
            yield f"part-{number:05d}.tar", _tar(waiting)
            waiting, number = [], number + 1
    if waiting:
        yield f"part-{number:05d}.tar", _tar(waiting)


def _tar(pictures: Iterable[Picture]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for picture in pictures:
            sample = picture.row.get("sample") or 0
            key = safe_name(picture.row["id"], sample, several=picture.name.endswith(f"-s{sample}"))
            members = {
                picture.extension: picture.image,
                ".label.png": picture.label_png,
                ".json": json.dumps(picture.about).encode(),
            }
            for suffix, data in members.items():
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
