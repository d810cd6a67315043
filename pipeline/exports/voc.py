"""The format of Pascal VOC (Everingham et al. 2010): boxes in XML, and masks of classes and of objects."""

from __future__ import annotations

import io
import logging
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from pipeline.datasets.instances import find_owners
from pipeline.errors import InputError
from pipeline.exports.formats import Files, class_table
from pipeline.exports.pictures import Picture
from pipeline.labels import LabelSpace, distinct_colours

log = logging.getLogger(__name__)

VOID = 255
"""Of pixels that belong to no class."""
VOID_COLOUR = (224, 224, 192)
"""What it is shown in, in the files of VOC."""
MOST_IDS = 254
"""Of classes, or of a picture's objects: between the background, 0, and void."""


def voc_files(pictures: Iterable[Picture]) -> Files:
    """`JPEGImages`, `SegmentationClass`, `SegmentationObject`, `Annotations`, `ImageSets`, `labelmap.txt`.

    A mask holds ids of classes + 1, as 0 is the background of VOC, which does not occur; what is don't-care is 255.
    Pictures keep their format, whatever the folder is called. Of a picture with more than 254 objects the mask holds
    the first 254, and the XML all; a warning says how many pictures have more. Raises `InputError` for more than 254
    classes.
    """
    names = []
    crowded: list[tuple[str, int]] = []
    picture = None
    for picture in pictures:
        if len(picture.space.classes) > MOST_IDS:
            raise InputError(f"VOC's masks hold {MOST_IDS} classes, and there are {len(picture.space.classes)}")
        names.append(picture.name)
        colours = _colours(picture.space)
        known = picture.label < len(picture.space.classes)
        mask = np.where(known, picture.label.astype(np.int32) + 1, VOID).astype(np.uint8)
        if len(picture.objects) > MOST_IDS:
            crowded.append((picture.name, len(picture.objects)))
        owners = find_owners(picture.objects, picture.label.shape) + 1
        yield f"JPEGImages/{picture.name}{picture.extension}", picture.image
        yield f"SegmentationClass/{picture.name}.png", _png(mask, colours)
        objects = [_colour_of(number) for number in range(VOID)]
        yield (
            f"SegmentationObject/{picture.name}.png",
            _png(np.where(owners < VOID, owners, 0).astype(np.uint8), objects),
        )
        yield f"Annotations/{picture.name}.xml", _xml(picture)
    if picture is None:
        return
    if crowded:
        log.warning(
            "VOC's masks of objects hold %d, and %d pictures have more, such as %s with %d: there the rest is "
            "background, and in Annotations only; export as coco to have all",
            MOST_IDS,
            len(crowded),
            *crowded[0],
        )
    listed = "".join(f"{name}\n" for name in names).encode()
    yield "ImageSets/Main/train.txt", listed
    yield "ImageSets/Segmentation/train.txt", listed
    classes = [("background", (0, 0, 0)), *zip(picture.space.classes, _colours(picture.space)[1:], strict=True)]
    classes.append(("ignored", VOID_COLOUR))
    lines = [f"{name}:{','.join(map(str, colour))}::\n" for name, colour in classes]
    yield "labelmap.txt", "".join(["# label:color_rgb:parts:actions\n", *lines]).encode()
    yield from class_table(picture)


def _colours(space: LabelSpace) -> list[tuple[int, int, int]]:
    """A colour for the background and for each class: the set's own where they tell classes apart."""
    colours = [tuple(colour) for colour in space.palette]
    if len({*colours, (0, 0, 0)}) <= len(colours):
        colours = list(distinct_colours(len(colours)))
    return [(0, 0, 0), *colours]  # type: ignore[list-item]


def _colour_of(number: int) -> tuple[int, int, int]:
    """The colour of an object, as in VOC's files: the bits of its number, three at a time, from the highest bit on."""
    red, green, blue = (
        sum((number >> (3 * step + channel) & 1) << (7 - step) for step in range(8)) for channel in range(3)
    )
    return red, green, blue


def _png(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> bytes:
    picture = Image.fromarray(indices)
    padded = [*colours, *[(0, 0, 0)] * (VOID - len(colours)), VOID_COLOUR]
    picture.putpalette([value for colour in padded for value in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _xml(picture: Picture) -> bytes:
    height, width = picture.label.shape
    path = PurePosixPath(f"{picture.name}{picture.extension}")
    root = ET.Element("annotation")
    for tag, text in (("folder", "JPEGImages"), ("filename", str(path))):
        ET.SubElement(root, tag).text = text
    size = ET.SubElement(root, "size")
    for tag, number in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, tag).text = str(number)
    ET.SubElement(root, "segmented").text = "1"
    for part in picture.objects:
        entry = ET.SubElement(root, "object")
        left, top, box_width, box_height = part.box
        whole = part.is_whole(height, width)
        for tag, text in (("name", picture.space.classes[part.label]), ("pose", "Unspecified")):
            ET.SubElement(entry, tag).text = text
        ET.SubElement(entry, "truncated").text = str(int(not whole))
        ET.SubElement(entry, "difficult").text = "0"
        box = ET.SubElement(entry, "bndbox")  # The first pixel is 1, and the last one is in the box.
        for tag, number in (
            ("xmin", left + 1),
            ("ymin", top + 1),
            ("xmax", left + box_width),
            ("ymax", top + box_height),
        ):
            ET.SubElement(box, tag).text = str(number)
    ET.indent(root)
    return ET.tostring(root) + b"\n"
