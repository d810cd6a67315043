"""What the names of files in a release end in: found where label maps and photographs fit in one way only.

`x_gtFine_labelIds.png` and `x_leftImg8bit.png` are of one record. Of several kinds of file beside the label maps
(`_color`, `_instanceIds`) only those that can be read as label maps of these classes are candidates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

SHARE = 8
"""An ending counts that at least one name in so many has, and two names have where there are two."""
MOST = 40
"""Endings that are looked at, the most frequent ones."""
SAMPLED = 3
"""Files of each ending that are read to see whether they are label maps."""


@dataclass(frozen=True)
class Endings:
    """What the names of each kind of file end in; "" where names are whole."""

    label: str = ""
    image: str = ""
    instance: str = ""


Files = Mapping[str, Path]
Fits = Callable[[Path], bool]
"""Whether a file can be read as a label map of the data set."""


def find_endings(
    labels: Files,
    images: Files | None,
    instances: Files | None,
    *,
    fits: Fits,
    given: Collection[str] = (),
) -> Endings:
    """The endings by which files pair, each "" where whole names do.

    `given` are the kinds (`label`, `image`, `instance`) whose names have lost their ending already, as the user named
    it. Kinds may have files in common, where they lie in one folder. Raises `InputError` where several ways fit, with
    the option that settles it.
    """
    whole = {kind: [""] for kind in given}
    label, image = "", ""
    if images is not None:
        ours, theirs = whole.get("label") or _endings(labels), whole.get("image") or _endings(images)
        label, image = _match_photographs(labels, images, fits, ours, theirs)
    elif "label" not in given and (kinds := _kinds(labels)):
        able = _able(labels, kinds, fits)
        label = able[0] if len(able) == 1 else ""
    if instances is None or "instance" in given:
        return Endings(label, image)
    return Endings(label, image, _match_instances(labels, instances, label))


def strip(files: Files, ending: str) -> dict[str, Path]:
    """The files whose names have an ending, by their names without it."""
    return {name.removesuffix(ending): files[name] for name in sorted(_having(files, ending))}


def _match_photographs(
    labels: Files, images: Files, fits: Fits, ours: Sequence[str], theirs: Sequence[str]
) -> tuple[str, str]:
    counted = _count(labels, images, ours, theirs)
    if set(labels.values()) & set(images.values()):  # A file is not its own label map.
        counted = {pair: count for pair, count in counted.items() if pair[0] != pair[1]}
    pairs = _shortest(counted)
    if not pairs or ("", "") in pairs:
        return "", ""
    able = _able(labels, sorted({label for label, _ in pairs}), fits)
    pairs = [pair for pair in pairs if pair[0] in able]
    if len({label for label, _ in pairs}) > 1:
        raise _ambiguous("label maps", "--label-suffix", [label for label, _ in pairs])
    if len(pairs) > 1:
        raise _ambiguous("photographs", "--image-suffix", [image for _, image in pairs])
    return pairs[0]


def _match_instances(labels: Files, instances: Files, label: str) -> str:
    bases = _bases(labels, label)
    counts = {ending: len(_bases(instances, ending) & bases) for ending in _endings(instances)}
    if set(labels.values()) & set(instances.values()):
        counts.pop(label, None)
    able = [ending for ending, count in counts.items() if count and 2 * count >= max(counts.values())]
    if "" in able or not able:
        return ""
    named = [ending for ending in able if "inst" in ending.lower()]
    if len(named or able) > 1:
        raise _ambiguous("instance maps", "--instance-suffix", named or able)
    return (named or able)[0]


def _able(labels: Files, endings: Sequence[str], fits: Fits) -> list[str]:
    """Those of the endings whose files are label maps, going by their names and by some of the files."""
    if len(endings) < 2:
        return list(endings)
    named = [ending for ending in endings if "inst" not in ending.lower()]
    able = [
        ending
        for ending in named or endings
        if all(fits(path) for _, path in sorted(strip(labels, ending).items())[:SAMPLED])
    ]
    return able or list(endings)


def _ambiguous(what: str, option: str, endings: Sequence[str]) -> InputError:
    unique = sorted(set(endings))
    listed = ", ".join(f"*{ending}" for ending in unique[:4])
    given = next(ending for ending in unique if ending)
    return InputError(f"{what} may be {listed}; say which with {option}, such as {option} {given}")


def _count(labels: Files, images: Files, ours: Sequence[str], theirs: Sequence[str]) -> dict[tuple[str, str], int]:
    """How many files pair by each pair of endings, of those by which most files of one kind do."""
    label_bases = {ending: _bases(labels, ending) for ending in ours}
    image_bases = {ending: _bases(images, ending) for ending in theirs}
    counted = {}
    for label, some in label_bases.items():
        for image, others in image_bases.items():
            count = len(some & others)
            if count and 2 * count >= min(len(some), len(others)):
                counted[label, image] = count
    return counted


def _shortest(counted: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The pairs of endings by which at least half as many files pair as by the best, without longer forms of one.

    >>> _shortest({("_gt", "_img"): 6, ("_19_gt", "_19_img"): 6, ("_b_gt", "_c_img"): 1})
    [('_gt', '_img')]
    """
    best = max(counted.values(), default=0)
    kept = {pair: count for pair, count in counted.items() if 2 * count >= best}
    return [
        (label, image)
        for (label, image), count in kept.items()
        if not any(
            (label, image) != (other, another) and label.endswith(other) and image.endswith(another) and more >= count
            for (other, another), more in kept.items()
        )
    ]


def _kinds(labels: Files) -> list[str]:
    """The last words of names, where every record has a file with each of them (`_labelIds`, `_color`); else none."""
    found: dict[str, set[str]] = {}
    for name in labels:
        split = re.fullmatch(r"(.*[^/])([_.-][^_./-]+)", name)
        if split is None:
            return []
        found.setdefault(split[2], set()).add(split[1])
    return sorted(found) if len(found) > 1 and len({frozenset(bases) for bases in found.values()}) == 1 else []


def _endings(names: Collection[str]) -> list[str]:
    """The endings that many names share, from a separator on, and "" for whole names."""
    counts: Counter[str] = Counter()
    for name in names:
        last = name.rpartition("/")[2]
        counts.update(last[place.start() :] for place in re.finditer(r"[_.-]", last) if place.start())
    least = max(len(names) / SHARE, min(2, len(names)))
    return ["", *(ending for ending, count in counts.most_common(MOST) if count >= least)]


def _having(names: Collection[str], ending: str) -> set[str]:
    return {name for name in names if name.endswith(ending) and not name.removesuffix(ending).endswith("/")} - (
        {ending} if ending else set()
    )


def _bases(names: Collection[str], ending: str) -> set[str]:
    return {name.removesuffix(ending) for name in _having(names, ending)}
