"""Sets of pictures once more, as files in the formats of other tools."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.exports.coco import coco_files, panoptic_files
from pipeline.exports.formats import Files, folder_files, webdataset_files
from pipeline.exports.pictures import Picture, PictureSet
from pipeline.exports.voc import voc_files
from pipeline.exports.yolo import yolo_files

ExportKind = Literal["folder", "webdataset", "coco", "panoptic", "yolo", "voc"]

FORMATS: dict[ExportKind, Callable[[Iterable[Picture]], Files]] = {
    "folder": folder_files,
    "webdataset": webdataset_files,
    "coco": coco_files,
    "panoptic": panoptic_files,
    "yolo": yolo_files,
    "voc": voc_files,
}


def export_into(folder: Folder, pictures: PictureSet, kind: ExportKind) -> None:
    """Write `pictures` to the subfolder `kind` of a folder; one that is there already is kept.

    On this machine it appears whole or not at all. Raises `InputError` where the pictures do not fit the format, or
    the file of one would have the name of another's folder.
    """
    local = folder.local
    if local is not None and (local / kind).exists():
        return
    if kind != "webdataset":  # Its keys have no folders.
        pictures.check_names()
    if local is None:
        for name, data in FORMATS[kind](pictures):
            folder.put(f"{kind}/{name}", data)
        return
    temporary = local / f".{kind}.{os.getpid()}.tmp"
    try:
        for name, data in FORMATS[kind](pictures):
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if temporary.exists():
            temporary.replace(local / kind)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def export(
    sets: Sequence[str | Path], out: str | Path, kinds: Sequence[ExportKind], *, label_column: str = "label"
) -> int:
    """Write finished, filtered or joined sets to `out`/KIND for each of `kinds`; returns how many pictures there are.

    `sets` are folders, files, patterns or URIs. Raises `InputError` where one is unfinished, classes differ, two
    pictures have one id, or `out` has such an export already.
    """
    pictures = PictureSet.open([str(location) for location in sets], label_column=label_column)
    folder = Folder(out)
    for kind in kinds:
        if folder.local and (folder.local / kind).exists():
            raise InputError(f"{folder.local / kind} exists already; give another --out")
    for kind in kinds:
        export_into(folder, pictures, kind)
    return pictures.count
