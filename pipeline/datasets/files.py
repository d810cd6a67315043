"""Data sets of files: which belong together, and how one group of them becomes a record."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.images import (
    Palette,
    Resample,
    check_upright,
    decode_image,
    decode_instance,
    decode_label,
    encode_png,
    is_plain,
)
from pipeline.data.records import DatasetInfo, Record, check_sizes, resize_record
from pipeline.data.schema import DISPARITY_FIELD, RECORD_FIELDS
from pipeline.datasets.convert import Converted, Skipped, Split, Summary, count_pixels, write_dataset
from pipeline.datasets.id_maps import OTHERS
from pipeline.datasets.instance_ids import zero_is_none
from pipeline.datasets.instances import number_regions
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")

CLUTTER = ("__MACOSX", "@eaDir", "Thumbs.db")
"""What systems leave beside pictures; like hidden files and folders (.ipynb_checkpoints, .DS_Store) no records."""


LOOKED_AT = 16
"""Pairs of maps that are looked at to see what numbers an instance map has where there is no object."""


@dataclass(frozen=True)
class Source:
    """The files of one record."""

    id: str
    label: Path
    image: Path | None = None
    instance: Path | None = None
    disparity: Path | None = None


def convert_source(
    source: Source,
    *,
    space: LabelSpace,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    palette: Palette | None = None,
    relabel: Mapping[int, int] | None = None,
    things: Sequence[int] = (),
    own_ids: bool = False,
) -> Converted:
    """Read, check and where need be resize (`size`: height, width; photographs by `resample`) the files of one record.

    Files that need no change keep their bytes, so that photographs are not compressed twice; label maps whose ids other
    readers would not find in the same way are encoded anew. `palette` reads RGB label maps; `relabel` maps stored ids
    to other ones, and with `own_ids` takes those of what is no object along, which are the ids of its class in instance
    maps; of the classes `things` the connected regions become instances. Raises `InputError`, which names the file.
    """
    paths = {
        "label": source.label,
        "instance": source.instance,
        "image": source.image,
        "disparity": source.disparity,
    }
    given = {name: path for name, path in paths.items() if path is not None}
    data: dict[str, Any] = {name: read_file(path) for name, path in given.items()}
    record = Record(
        source.id,
        label=decode_file(data, "label", given, partial(decode_label, palette=palette)),
        instance=decode_file(data, "instance", given, decode_instance) if source.instance else None,
        image=decode_file(data, "image", given, decode_image) if source.image else None,
        disparity=decode_file(data, "disparity", given, decode_label) if source.disparity else None,
    )
    if source.image:
        decode_file(data, "image", given, check_upright)
    check_sizes(record)
    try:
        if relabel is not None:
            stored, record = record, replace(record, label=relabelled(record.label, relabel))
            if own_ids and stored.instance is not None:
                data["instance"] = renumbered(stored.instance, stored.label, record.label)
                record = replace(record, instance=data["instance"])
        pixels = count_pixels(record.label, space)
    except InputError as error:
        raise InputError(f"{source.label}: {error}") from None
    if palette or relabel or not is_plain(data["label"], record.label):
        data["label"] = record.label
    if things:
        data["instance"] = number_regions(record.label, things, space)
        record = replace(record, instance=data["instance"])
    return to_row(record, data, given, space=space, pixels=pixels, size=size, resample=resample)


def to_row(
    record: Record,
    data: dict[str, Any],
    given: Mapping[str, Path],
    *,
    space: LabelSpace,
    pixels: np.ndarray,
    size: tuple[int, int] | None,
    resample: Resample,
) -> Converted:
    """A record as a row, resized where `size` (height, width) says so, with its `pixels` of each class.

    `data` has its pictures as arrays, or as the bytes of the files `given`, which stay where nothing is resized. Raises
    `InputError` for ids that a PNG does not hold.
    """
    if size is not None and record.label.shape != size:
        record = resize_record(record, *size, resample=resample)
        data = {name: getattr(record, name) for name in data}
        pixels = count_pixels(record.label, space)
    cells = {}
    for name, value in data.items():
        if isinstance(value, np.ndarray):
            try:
                cells[name] = {"bytes": encode_png(value), "path": f"{record.id}.png"}
            except InputError as error:
                raise InputError(f"{given.get(name, record.id)} {error}") from None
        else:
            cells[name] = {"bytes": value, "path": given[name].name}
    return Converted({"id": record.id, **cells}, pixels)


def read_file(path: Path) -> bytes:
    """The bytes of a file; `InputError` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); repair or remove it") from None


def decode_file(data: Mapping[str, Any], name: str, paths: Mapping[str, Path], decode: Callable[[bytes], Any]) -> Any:
    """One of a record's files, decoded; `InputError` with its name where that fails."""
    try:
        return decode(data[name])
    except InputError as error:
        raise InputError(f"{paths[name]} {error}") from None


def relabelled(label: np.ndarray, relabel: Mapping[int, int]) -> np.ndarray:
    """A label map `[H, W]` with the ids that the stored ones become; `InputError` for one that the table lacks."""
    stored, places = np.unique(label, return_inverse=True)
    if OTHERS not in relabel and (unknown := sorted(set(stored.tolist()) - set(relabel))):
        raise InputError(
            f"label map has id {unknown[0]}, which this data set does not have; map it, or leave the file out"
        )
    table = np.array([relabel.get(number, relabel.get(OTHERS, 0)) for number in stored.tolist()])
    return table.astype(np.uint8 if table.max() < 256 else np.uint16)[places].reshape(label.shape)


def renumbered(instance: np.ndarray, stored: np.ndarray, label: np.ndarray) -> np.ndarray:
    """An instance map in which what is no object has the id of its class, after the `stored` label map became `label`.

    All of them are `[H, W]`. Objects keep their ids, but for those that are now ids of classes in the map: these move
    behind all others.

    >>> stored, label = np.array([[7, 8, 26, 26]]), np.array([[0, 1, 13, 13]])
    >>> renumbered(np.array([[7, 8, 26001, 13]]), stored, label).tolist()
    [[0, 1, 26001, 26002]]
    """
    objects = instance != stored
    found = np.where(objects, instance, label).astype(np.int32)
    free = int(max(instance.max(initial=0), label.max(initial=0))) + 1
    for number, taken in enumerate(np.intersect1d(instance[objects], label).tolist(), start=free):
        found[objects & (instance == taken)] = number
    return found


def list_pictures(
    folder: Path, *, suffix: str = "", extensions: Collection[str] = PICTURE_SUFFIXES, what: str = "pictures"
) -> dict[str, Path]:
    """The pictures under a folder by name: their path in it without the extension (and without `suffix` before it).

    Linked folders are followed, except one that leads back to a folder above it; hidden files and folders and
    `CLUTTER` are left out. Raises `InputError`, which names a file whose name is not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"folder {folder} does not exist")
    found: dict[str, Path] = {}
    for path in sorted(_walk(folder, ())):
        if path.suffix.lower() not in extensions or not path.stem.endswith(suffix):
            continue
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"{os.fsencode(path)!r}: the file's name is not UTF-8; rename it") from None
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
        if name in found:
            raise InputError(f"{found[name]} and {path} have the same name '{name}'; keep one of them")
        found[name] = path
    if not found:
        raise InputError(f"folder {folder} has no {what} (such as *{suffix}.png)")
    return found


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files under a folder; `above` are the real paths of the folders that led to it."""
    real = folder.resolve()
    if real in above:
        return
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in CLUTTER:
            continue
        if path.is_dir():
            yield from _walk(path, (*above, real))
        else:
            yield path


def pair(
    labels: Mapping[str, Path],
    images: Mapping[str, Path] | None = None,
    instances: Mapping[str, Path] | None = None,
    disparities: Mapping[str, Path] | None = None,
) -> tuple[list[Source], list[Skipped]]:
    """Label maps with the other files of the same name, and the names that lack one of them."""
    given = {"label map": labels, "photograph": images, "instance map": instances, "disparity": disparities}
    kinds = {kind: files for kind, files in given.items() if files is not None}
    sources, skipped = [], []
    for name in sorted(set().union(*kinds.values())):
        missing = [kind for kind, files in kinds.items() if name not in files]
        if missing:
            skipped.append(Skipped(name, f"no {' and no '.join(missing)} of that name"))
        else:
            others = (files[name] if files else None for files in (images, instances, disparities))
            sources.append(Source(name, labels[name], *others))
    return sources, skipped


def convert_files(
    out: Path,
    name: str,
    space: LabelSpace,
    splits: Sequence[Split],
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
    palette: Palette | None = None,
    relabel: Mapping[int, int] | None = None,
    things: Sequence[int] = (),
) -> Summary:
    """`write_dataset` for splits of `Source`s; `name` is kept in the metadata, with how the files were changed.

    The other options are those of `convert_source`. Returns what was written. Raises `InputError` for a bad file (with
    `skip_bad` it is left out), where nothing is left for a split, and where `out` holds a split of an earlier
    preparation.
    """
    notes: dict[str, Any] = {"source": name}
    if size is not None:
        notes |= {"size": [size[1], size[0]], "label_filter": "nearest", "image_filter": resample}
    if relabel is not None:
        notes["relabelled"] = {
            "*" if stored == OTHERS else str(stored): number for stored, number in relabel.items() if stored != number
        }
    own_ids = False
    numbered = [source for split in splits for source in split.items if source.instance is not None]
    if relabel is not None and numbered:
        own_ids = not zero_is_none(_stored_maps(numbered[:LOOKED_AT], palette))
        notes["instances"] = {"no object": "the id of its class" if own_ids else "0"}
    if things:
        notes["instances"] = {"connected regions of": [space.classes[number] for number in things]}
    convert = partial(
        convert_source,
        space=space,
        size=size,
        resample=resample,
        palette=palette,
        relabel=relabel,
        things=things,
        own_ids=own_ids,
    )
    disparity = any(source.disparity for split in splits for source in split.items)
    fields = (*RECORD_FIELDS, DISPARITY_FIELD) if disparity else RECORD_FIELDS
    info = DatasetInfo(space, notes)
    return write_dataset(out, info, convert, splits, fields=fields, workers=workers, skip_bad=skip_bad)


def _stored_maps(sources: Iterable[Source], palette: Palette | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Label and instance maps as they are stored; those that are broken are told of when their record is converted."""
    for source in sources:
        assert source.instance is not None
        try:
            label = decode_label(source.label.read_bytes(), palette)
            instance = decode_instance(source.instance.read_bytes())
        except (InputError, OSError):
            continue
        if label.shape == instance.shape:
            yield label, instance
