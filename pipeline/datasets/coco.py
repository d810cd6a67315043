"""Annotations of COCO (Lin et al. 2014) to label and instance maps: polygons, run lengths, and panoptic PNGs.

The format: https://cocodataset.org/#format-data. Several annotations of a pixel: the smallest one is in front.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import ValidationError

from pipeline.data.images import MAX_PIXELS, Resample, check_upright, decode_image, decode_instance
from pipeline.data.records import DatasetInfo, Record, check_sizes
from pipeline.datasets.convert import Converted, Skipped, Summary, count_pixels, write_dataset
from pipeline.datasets.files import decode_file, read_file, to_row
from pipeline.datasets.run_lengths import decode_mask
from pipeline.datasets.splits import divide
from pipeline.datasets.text_file import read_text
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.json_text import read_json


@dataclass(frozen=True)
class Annotation:
    """A region of an image."""

    id: int
    label: int
    """Its class, as a position in the label space."""
    crowd: bool
    segmentation: Any = None
    """Polygons, or run lengths; None of a segment in a panoptic PNG."""


@dataclass(frozen=True)
class CocoSource:
    """An image of an annotation file, with what is known about it."""

    id: str
    height: int
    width: int
    annotations: tuple[Annotation, ...]
    image: Path | None = None
    panoptic: Path | None = None
    """The PNG of its segments."""


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file holds."""

    path: Path
    categories: Mapping[int, int]
    """From the file's ids to positions in `space.classes`."""
    space: LabelSpace
    things: frozenset[int]
    """Classes whose segments are objects; of a file of instances all."""
    images: Mapping[int, Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]
    panoptic: bool


def read_coco(path: Path, *, dont_care: int | None = None) -> CocoFile:
    """An annotation file; classes are its categories in the order of their ids, and what has none is don't-care.

    The don't-care id is 255 (65535 with so many classes) unless given. Raises `InputError` for a file of another kind.
    """
    try:
        fields = read_json(read_text(path, "annotation file"))
        images = {image["id"]: image for image in fields["images"]}
        categories = sorted(fields["categories"], key=lambda category: category["id"])
        annotations = fields["annotations"]
        panoptic = bool(annotations) and "segments_info" in annotations[0]
        for image in images.values():
            image["file_name"], image["height"], image["width"]
        names = [category["name"] for category in categories]
        numbers = {category["id"]: number for number, category in enumerate(categories)}
        things = frozenset(numbers[category["id"]] for category in categories if category.get("isthing", 1))
        colours = [tuple(category.get("color", ())) for category in categories]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no COCO annotation file: {' '.join(str(error).split())}") from None
    except KeyError as error:
        raise InputError(f"{path} is no COCO annotation file: it lacks {error}") from None
    if not names:
        raise InputError(f"{path} has no categories; give an annotation file with classes")
    if dont_care is None:
        dont_care = 255 if len(names) <= 255 else 65535
    palette: Any = tuple(colours) if all(len(colour) == 3 for colour in colours) else ()
    try:
        space = LabelSpace(classes=tuple(names), palette=palette, dont_care=dont_care, instance_edges=bool(things))
    except ValidationError as error:
        raise InputError(f"{path}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    return CocoFile(path, numbers, space, things, images, annotations, panoptic)


def prepare(
    annotations: Path,
    out: Path,
    *,
    images: Path | None = None,
    panoptic: Path | None = None,
    dont_care: int | None = None,
    validation: float = 0.1,
    split: Path | None = None,
    group_by: str | None = None,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert a COCO annotation file with the folder of its `images`; returns what was written.

    `panoptic` is the folder of a panoptic file's PNGs (None: beside the file, with its name). `size` is height and
    width, to which photographs are resized by `resample`; how records are divided says `divide` of `splits.py`. An
    image without annotations is left out. Raises `InputError` for a file of another kind, and as `write_dataset`.
    """
    file = read_coco(annotations, dont_care=dont_care)
    folder = (panoptic or annotations.with_suffix("")) if file.panoptic else None
    if folder is not None and not folder.is_dir():
        raise InputError(f"the folder {folder} of the panoptic PNGs does not exist; give it with --instances")
    sources, skipped = _sources(file, images, folder)
    if not sources:
        raise InputError(
            f"{annotations} has no image that can be used; the first: {skipped[0].id}: {skipped[0].reason}"
        )
    splits = divide(sources, validation=validation, split=split, group_by=group_by)
    splits[0].skipped.extend(skipped)
    notes: dict[str, Any] = {"source": "coco"}
    if size is not None:
        notes |= {"size": [size[1], size[0]], "label_filter": "nearest", "image_filter": resample}
    convert = partial(convert_coco, space=file.space, things=file.things, size=size, resample=resample)
    return write_dataset(out, DatasetInfo(file.space, notes), convert, splits, workers=workers, skip_bad=skip_bad)


def _sources(file: CocoFile, images: Path | None, folder: Path | None) -> tuple[list[CocoSource], list[Skipped]]:
    """The images that can be used, by name, and those that cannot."""
    found: dict[Any, list[Annotation]] = defaultdict(list)
    pngs: dict[Any, Path] = {}
    try:
        for entry in file.annotations:
            if folder is not None:
                pngs[entry["image_id"]] = folder / entry["file_name"]
            for part in entry["segments_info"] if folder is not None else (entry,):
                label, crowd = file.categories[part["category_id"]], bool(part.get("iscrowd", 0))
                region = None if folder is not None else _segmentation(entry)
                found[entry["image_id"]].append(Annotation(int(part["id"]), label, crowd, region))
        sources, skipped = [], []
        for number, image in sorted(file.images.items(), key=lambda pair: pair[1]["file_name"]):
            name = str(PurePosixPath(image["file_name"]).with_suffix(""))
            photograph = None if images is None else images / image["file_name"]
            if photograph is not None and not photograph.is_file():
                photograph = images / PurePosixPath(image["file_name"]).name  # type: ignore[operator]
            if not found[number]:
                skipped.append(Skipped(name, "no annotations"))
            elif photograph is not None and not photograph.is_file():
                skipped.append(Skipped(name, "no photograph of that name"))
            else:
                size = int(image["height"]), int(image["width"])
                sources.append(CocoSource(name, *size, tuple(found[number]), photograph, pngs.get(number)))
    except KeyError as error:
        raise InputError(f"{file.path} is no COCO annotation file: an annotation lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{file.path} is no COCO annotation file: {' '.join(str(error).split())}") from None
    return sources, skipped


def _segmentation(entry: Mapping[str, Any]) -> Any:
    if not entry.get("segmentation"):
        raise InputError(
            f"annotation {entry['id']} has no segmentation; a box says nothing of the pixels in it, so add masks"
        )
    return entry["segmentation"]


def convert_coco(
    source: CocoSource,
    *,
    space: LabelSpace,
    things: frozenset[int],
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
) -> Converted:
    """One image to a row with label map, instance map and photograph, resized to `size` (height, width) if given.

    Objects have ids after those of all classes; other pixels have the id of their class. Raises `InputError`, which
    names the file.
    """
    given = {name: path for name, path in (("image", source.image), ("panoptic", source.panoptic)) if path is not None}
    data: dict[str, Any] = {name: read_file(path) for name, path in given.items()}
    image = decode_file(data, "image", given, decode_image) if source.image else None
    if source.image:
        decode_file(data, "image", given, check_upright)
    segments = decode_file(data, "panoptic", given, decode_instance) if source.panoptic else None
    _check_size(source)
    assert space.dont_care is not None
    label = np.full((source.height, source.width), space.dont_care, np.uint8 if space.dont_care < 256 else np.uint16)
    instance = label.astype(np.int32)
    number = space.dont_care
    try:
        for annotation, mask in _masks(source, segments):
            label[mask] = annotation.label
            instance[mask] = annotation.label
            if annotation.label in things and not annotation.crowd:
                number += 1
                instance[mask] = number
    except InputError as error:
        raise InputError(f"{source.id}: {error}") from None
    record = Record(source.id, label, instance if space.instance_edges else None, image)
    check_sizes(record)
    data = {"label": label, "instance": record.instance, "image": data.get("image")}
    data = {name: value for name, value in data.items() if value is not None}
    pixels = count_pixels(label, space)
    return to_row(record, data, given, space=space, pixels=pixels, size=size, resample=resample)


def _check_size(source: CocoSource) -> None:
    """Refuse (`InputError`) a size that is no picture's, before maps of it are made."""
    size = f"{source.id}: the annotation file says {source.width}x{source.height}"
    if source.height < 1 or source.width < 1:
        raise InputError(f"{size}, which no picture has; mend its width and height")
    if source.height * source.width > MAX_PIXELS:
        raise InputError(f"{size}, more than {MAX_PIXELS} pixels; mend its width and height, or cut it into tiles")


def _masks(source: CocoSource, segments: np.ndarray | None) -> Iterator[tuple[Annotation, np.ndarray]]:
    """Each annotation with its pixels, bool `[H, W]`: the largest first, as smaller ones are in front."""
    if segments is not None:
        if segments.shape != (source.height, source.width):
            raise InputError(
                f"its segments are {segments.shape[1]}x{segments.shape[0]}, but the annotation file says "
                f"{source.width}x{source.height}; take the files of one release"
            )
        known = {annotation.id: annotation for annotation in source.annotations}
        if unknown := sorted(set(np.unique(segments).tolist()) - {0} - set(known)):
            raise InputError(f"segment {unknown[0]} of its PNG is not in segments_info; take the files of one release")
        yield from ((annotation, segments == number) for number, annotation in sorted(known.items()))
        return
    found = [(annotation, _mask(annotation, source.height, source.width)) for annotation in source.annotations]
    yield from sorted(found, key=lambda pair: (-int(pair[1].sum()), pair[0].id))


def _mask(annotation: Annotation, height: int, width: int) -> np.ndarray:
    try:
        return decode_mask(annotation.segmentation, height, width)
    except ValueError as error:
        raise InputError(f"the segmentation of annotation {annotation.id} {error}; mend or remove it") from None
