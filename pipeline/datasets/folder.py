"""Any folder of label maps, with folders of photographs and instance maps that have the same file names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import Source, convert_files, list_pictures, pair
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.json_text import read_json

DONT_CARE_NAMES = ("dont-care", "don't care", "dont_care")
"""Names in a palette file for colours that mean "unknown"."""

NAMED_FIRST = r"name\s*,\s*r(ed)?\s*,\s*g(reen)?\s*,\s*b(lue)?"
"""The heading of a CSV palette whose lines start with the name, as class_dict.csv of CamVid."""


@dataclass(frozen=True)
class PaletteFile:
    """A palette: class names, their first colours, and every colour's id."""

    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ids: Mapping[tuple[int, int, int], int]
    dont_care: int | None


def read_palette(path: Path) -> PaletteFile:
    """Read colours and names, in the order of the ids.

    Text has a line `red green blue name` for each colour, or after a heading `name,r,g,b` lines in that order; lines
    that start with # are comments (a # inside a name belongs to it). JSON is an object from names to
    `[red, green, blue]`. A name that comes again gives its class another colour; the name dont-care gives the
    don't-care id (255, or 65535 with so many classes). Raises `InputError`, which names the line.
    """
    rows = _palette_rows(path, _read_text(path, "palette"))
    names: dict[str, tuple[int, int, int]] = {}
    for name, colour in rows:
        if name not in DONT_CARE_NAMES:
            names.setdefault(name, colour)
    if not names:
        raise InputError(f"palette {path} has no classes; write lines such as '128 64 128 road'")
    unknown = None
    if len(names) < len({name if name not in DONT_CARE_NAMES else "" for name, _ in rows}):
        unknown = 255 if len(names) <= 255 else 65535
    numbers = {name: number for number, name in enumerate(names)}
    ids: dict[tuple[int, int, int], int] = {}
    for name, colour in rows:
        number = numbers.get(name, unknown)
        assert number is not None
        if ids.setdefault(colour, number) != number:
            raise InputError(f"palette {path} has the colour {' '.join(map(str, colour))} for two classes; change one")
    return PaletteFile(tuple(names), tuple(names.values()), ids, unknown)


def _palette_rows(path: Path, text: str) -> list[tuple[str, tuple[int, int, int]]]:
    rows: list[tuple[str, Any]] = []
    if path.suffix.lower() == ".json":
        try:
            rows = list(read_json(text).items())
        except (ValueError, AttributeError) as error:
            raise InputError(f"palette {path} is not a JSON object from names to [red, green, blue]: {error}") from None
    else:
        named_first = False
        for number, line in enumerate(text.splitlines(), start=1):
            line = line.strip()
            found = re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)", line)
            named = re.fullmatch(r"([^,]*[^,\s])\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)", line)
            if line.startswith("#"):
                continue
            if found:
                rows.append((found[4], [int(found[1]), int(found[2]), int(found[3])]))
            elif named and named_first:
                rows.append((named[1], [int(named[2]), int(named[3]), int(named[4])]))
            elif not rows and re.fullmatch(NAMED_FIRST, line, re.IGNORECASE):
                named_first = True
            elif line:
                raise InputError(f"palette {path}, line {number}: '{line}' is not 'red green blue name'")
    for name, colour in rows:
        if not (
            isinstance(colour, list) and len(colour) == 3 and all(isinstance(v, int) and 0 <= v < 256 for v in colour)
        ):
            raise InputError(f"palette {path}: the colour of '{name}' is {colour}; give three numbers from 0 to 255")
    return [(name, tuple(colour)) for name, colour in rows]


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of the ids; empty lines and lines that start with # do not count.

    Raises `InputError` where the file cannot be read.
    """
    lines = [line.strip() for line in _read_text(path, "class list").splitlines()]
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_id_map(path: Path) -> dict[int, int]:
    """From stored ids to those of the data set: a line `stored new` for each, with or without a comma between.

    Lines that start with # do not count. Several ids may become one. Raises `InputError`, which names the line.
    """
    found: dict[int, int] = {}
    for number, line in enumerate(_read_text(path, "id map").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pair = re.fullmatch(r"\s*(\d{1,9})[\s,:]+(\d{1,5})\s*", line)
        if pair is None:
            raise InputError(f"id map {path}, line {number}: '{line.strip()}' is not 'stored new', such as '33 3'")
        stored, new = int(pair[1]), int(pair[2])
        if found.setdefault(stored, new) != new:
            raise InputError(f"id map {path}, line {number}: id {stored} becomes {found[stored]} above; keep one line")
    if not found:
        raise InputError(f"id map {path} is empty; write lines such as '33 3'")
    return found


def _read_text(path: Path, kind: str) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise InputError(f"{kind} {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} cannot be read: {error}") from None


def prepare(
    labels: Path,
    out: Path,
    *,
    images: Path | None = None,
    instances: Path | None = None,
    classes: Path | None = None,
    palette: Path | None = None,
    map_ids: Path | None = None,
    dont_care: int | None = None,
    label_suffix: str = "",
    image_suffix: str = "",
    instance_suffix: str = "",
    validation: float = 0.1,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert folders of files that belong together by name; returns what was written.

    `size` is height and width, to which photographs are resized by `resample`.

    Names are compared without their extension and the suffix given for their kind (`_gtFine_labelIds`). The class
    names come from the file `classes` or `palette`; `map_ids` is a file for `read_id_map`. A share `validation` of
    the records, chosen by a hash of their names, goes to validation.parquet (0: none, 1: all), the rest to
    train.parquet.

    Raises `InputError` where the class names are unknown or differ, no label map is found, and as `convert_files`.
    """
    colours = read_palette(palette) if palette else None
    names = read_classes(classes) if classes else colours.classes if colours else None
    if names is None:
        raise InputError("the class names are unknown; give --classes with a name a line, or --palette")
    if classes and colours and names != colours.classes:
        raise InputError(
            f"{classes} and {palette} name different classes; give one of them, or the same names in order"
        )
    if dont_care is None and colours:
        dont_care = colours.dont_care
    shown = colours.colours if colours else ()
    try:
        space = LabelSpace(classes=names, palette=shown, dont_care=dont_care, instance_edges=instances is not None)
    except ValidationError as error:
        raise InputError(f"{classes or palette}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    maps = list_pictures(labels, suffix=label_suffix)
    photographs = list_pictures(images, suffix=image_suffix) if images else None
    numbered = list_pictures(instances, suffix=instance_suffix) if instances else None
    sources, skipped = pair(maps, photographs, numbered)
    if not sources:
        others = next(files for files in (photographs, numbered) if files and not files.keys() & maps.keys())
        raise InputError(
            f"no file of {labels} has a partner of the same name: there is {min(maps)}, and {min(others)}; name what "
            "they end in with --label-suffix, --image-suffix and --instance-suffix"
        )
    kept, held = _divide(sources, validation)
    splits = [Split("train", kept), Split("validation", held)]
    splits = [split for split in splits if split.items]
    splits[0].skipped.extend(skipped)
    return convert_files(
        out,
        "folder",
        space,
        splits,
        size=size,
        resample=resample,
        workers=workers,
        skip_bad=skip_bad,
        palette=colours.ids if colours else None,
        relabel=read_id_map(map_ids) if map_ids else None,
    )


def _divide(sources: list[Source], share: float) -> tuple[list[Source], list[Source]]:
    """Which records are held out depends on their names alone, so that adding files moves none of the others."""
    held = [
        int.from_bytes(hashlib.sha256(source.id.encode()).digest()[:4], "big") < share * 2**32 for source in sources
    ]
    return (
        [source for source, out in zip(sources, held, strict=True) if not out],
        [source for source, out in zip(sources, held, strict=True) if out],
    )
