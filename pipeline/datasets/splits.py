"""Which records are held out of training: by a hash of their names or groups, or as a file says."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from pipeline.datasets.convert import Skipped, Split
from pipeline.datasets.text_file import read_lines
from pipeline.errors import InputError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": None,
}
"""What a split file may call a record's split; None is left out."""


class Named(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """Its name in the data set."""


Item = TypeVar("Item", bound=Named)


def read_split(path: Path) -> dict[str, str | None]:
    """From names to `train`, `validation` or None (left out); a file of names alone lists the validation records.

    A line has a name and, after a comma or blanks, its split; names may be those of files, with folders and extension.
    Lines that start with # do not count. Raises `InputError`, which names the line.
    """
    found: dict[str, str | None] = {}
    alone: bool | None = None
    for number, line in read_lines(path, "split"):
        entry = re.fullmatch(r"(.*\S)[\s,;]+([A-Za-z]+)", line)
        named = entry is not None and entry[2].lower() in SPLITS
        if alone is None:
            alone = not named
        if alone == named:
            told = "has a split, and lines above have none" if named else "has no split (train or validation)"
            raise InputError(f"split {path}, line {number}: '{line}' {told}; write 'NAME SPLIT' in all lines, or none")
        name, split = (entry[1].rstrip(" ,;\t"), SPLITS[entry[2].lower()]) if entry and named else (line, "validation")
        if found.setdefault(name, split) != split:
            raise InputError(f"split {path}, line {number}: '{name}' is in another split above; keep one line")
    if not found:
        raise InputError(f"split {path} is empty; write lines such as 'frame_7 validation'")
    if alone:
        found[""] = "train"  # what all others are
    return found


def divide(
    items: Sequence[Item],
    *,
    validation: float,
    split: Path | None = None,
    group_by: str | None = None,
    endings: Sequence[str] = (),
) -> list[Split]:
    """The items as splits `train` and `validation`; one without items is left out.

    A share `validation` is held out by a hash of the names, so that adding files moves none of the others, or of what
    the pattern `group_by` finds in them (its first group, if it has one), so that a group is never on both sides. A
    file `split` (see `read_split`) says it name by name instead; there `endings` may follow the ids. Raises
    `InputError` for a pattern that is none or does not fit, for a file of other names, and one that divides a group.
    """
    group = _grouping(group_by) if group_by is not None else lambda name: name
    groups = {item.id: group(item.id) for item in items}
    chosen: Mapping[str, str | None]
    skipped: list[Skipped] = []
    if split is None:
        chosen = {
            name: "validation" if _hash(group) < validation * 2**32 else "train" for name, group in groups.items()
        }
    else:
        chosen, skipped = _choose(items, split, endings)
        _refuse_divided(chosen, groups, split)
    splits = [Split(name, [item for item in items if chosen[item.id] == name]) for name in ("train", "validation")]
    splits = [part for part in splits if part.items]
    if not splits:
        raise InputError(f"split {split} puts no record into train or validation; there is {min(groups)}")
    splits[0].skipped.extend(skipped)
    return splits


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _grouping(pattern: str) -> Callable[[str], str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group-by '{pattern}' is no regular expression ({error})") from None

    def find(name: str) -> str:
        found = expression.search(name)
        if found is None or not found[min(1, expression.groups)]:
            raise InputError(
                f"--group-by '{pattern}' finds nothing in '{name}'; write what all names have, such as '^[^_]*'"
            )
        return found[min(1, expression.groups)]

    return find


def _choose(items: Sequence[Named], path: Path, endings: Sequence[str]) -> tuple[dict[str, str | None], list[Skipped]]:
    """The split of each item by a file; names may be given with folders above, endings and extensions."""
    given = read_split(path)
    others = given.pop("", None)
    wanted: dict[str, set[str | None]] = defaultdict(set)
    below: dict[str, set[str | None]] = defaultdict(set)
    """The same without some of the folders before the names."""
    for name, split in given.items():
        plain = PurePosixPath(name)
        text = str(plain.with_suffix("")) if re.fullmatch(r"\.[A-Za-z]{3,4}", plain.suffix) else str(plain)
        for full, *tails in {tuple(_tails(text.removesuffix(ending))) for ending in ("", *endings)}:
            wanted[full].add(split)
            for tail in tails:
                below[tail].add(split)
    chosen: dict[str, str | None] = {}
    known = False
    for item in items:
        named = next((wanted[key] for key in _tails(item.id) if key in wanted), below.get(item.id))
        known |= named is not None
        if named and len(named) > 1:
            raise InputError(f"split {path} has '{item.id}' in two splits; write the folders before the name")
        chosen[item.id] = next(iter(named)) if named else others
    if not known:
        raise InputError(f"split {path} names no record: it has {min(given)}, and there is {min(chosen)}")
    return chosen, [Skipped(name, f"in no split of {path}") for name, split in chosen.items() if split is None]


def _tails(name: str) -> list[str]:
    """A name, and what is left of it without the folders before it."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _refuse_divided(chosen: Mapping[str, str | None], groups: Mapping[str, str], path: Path) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name, split in chosen.items():
        if split is None:
            continue
        first, of = seen.setdefault(groups[name], (name, split))
        if of != split:
            raise InputError(
                f"split {path} has '{first}' in {of} and '{name}' in {split}, which --group-by puts together"
            )
