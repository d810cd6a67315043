"""What the ids of label files become: tables that users write, and those of releases by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.text_file import read_lines
from pipeline.errors import InputError
from pipeline.label_sets import LABEL_SETS

MAX_ID = 65535
"""Of label maps, which have 16 bits at most."""
OTHERS = -1
"""Stands in an id map for every stored id that it does not name."""

_TRAINED_ON = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of Cityscapes that are scored, in the order of their trainIds 0 to 18 (`labels.py` of cityscapesScripts)."""


@dataclass(frozen=True)
class NamedIdMap:
    """The id map of a release, with the classes that come of it."""

    ids: Mapping[int, int]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    dont_care: int


NAMED_ID_MAPS = {
    "cityscapes-train": NamedIdMap(
        ids={stored: number for number, stored in enumerate(_TRAINED_ON)} | {OTHERS: 255},
        classes=tuple(LABEL_SETS["cityscapes"].classes[stored] for stored in _TRAINED_ON),
        colours=tuple(LABEL_SETS["cityscapes"].palette[stored] for stored in _TRAINED_ON),
        dont_care=255,
    )
}
"""By the name that `--map-ids` takes."""


def read_id_map(path: Path) -> dict[int, int]:
    """From stored ids to those of the data set: a line `stored new` for each, with or without a comma between.

    `* new` says what all others become (`OTHERS`). Lines that start with # do not count. Several ids may become one.
    Raises `InputError`, which names the line, also for new ids above 65535.
    """
    found: dict[int, int] = {}
    for number, line in read_lines(path, "id map"):
        pair = re.fullmatch(r"(\d{1,9}|\*)[\s,:]+(\d{1,5})", line)
        if pair is None:
            raise InputError(f"id map {path}, line {number}: '{line}' is not 'stored new', such as '33 3'")
        stored, new = OTHERS if pair[1] == "*" else int(pair[1]), int(pair[2])
        if new > MAX_ID:
            raise InputError(f"id map {path}, line {number}: {new} is more than {MAX_ID}, the largest id of label maps")
        if found.setdefault(stored, new) != new:
            raise InputError(f"id map {path}, line {number}: id {pair[1]} becomes {found[stored]} above; keep one line")
    if not found:
        raise InputError(f"id map {path} is empty; write lines such as '33 3'")
    return found
