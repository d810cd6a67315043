"""Whether pictures and photographs of one id are of one label map: ids alone do not say so."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluation.scoring.picture_sets import KEY_COLUMNS, PictureSet
from pipeline.data.images import resize_ids
from pipeline.data.records import decode_label, picture_bytes
from pipeline.data.shards import iter_shard
from pipeline.errors import InputError
from pipeline.runtime.stages import in_order

Likeness = Literal["same", "other unknown", "other"]
"""Of two label maps: the same, the same but where either is don't-care, or others."""

STRAY = 0.001
"""The share of pixels that may differ by more than the way of resizing explains."""


@dataclass(frozen=True)
class Pairs:
    """What was found out about the label maps of the pairs."""

    marks: dict[str, str]
    """`mark` of the synthesized pictures' label map (of the first sample), by id."""
    reference_marks: dict[str, str]
    """The same of the photographs'."""
    warnings: tuple[str, ...] = ()


def mark(label: np.ndarray) -> str:
    """Size and checksum of the ids of a label map `[H, W]`, whatever their integer type.

    >>> mark(np.zeros((2, 3), np.uint8)) == mark(np.zeros((2, 3), np.uint16))
    True
    """
    digest = hashlib.blake2b(np.ascontiguousarray(label, "<i4").tobytes(), digest_size=8).hexdigest()
    return f"{label.shape[1]}x{label.shape[0]} {digest}"


def size_of(found: str) -> str:
    """The size in a `mark`, WIDTHxHEIGHT."""
    return found.split(" ")[0]


def likeness(one: np.ndarray, other: np.ndarray, dont_care: int | None) -> Likeness:
    """Whether two maps of stored ids, `[h, w]` and `[H, W]`, are one label map, perhaps resized.

    The smaller is what nearest neighbours make of the larger. Where that was done in several steps, or from the pixels'
    corners, each of its ids must be found in the larger within a pixel of the smaller, but for a share of `STRAY`.
    Pixels that are don't-care in either are left out.
    """
    height, width = (min(sides) for sides in zip(one.shape, other.shape, strict=True))
    coarse, fine = (one, other) if one.size <= other.size else (other, one)
    seen, nearest = (resize_ids(ids, height, width).astype(np.int64) for ids in (coarse, fine))
    unknown = np.zeros(seen.shape, bool) if dont_care is None else (seen == dont_care) | (nearest == dont_care)
    differs = (seen != nearest) & ~unknown
    if unknown.all() and (seen != nearest).any():
        return "other"
    if _strays(seen, fine, *np.nonzero(differs)) > STRAY * (~unknown).sum():
        return "other"
    return "same" if differs.any() or (seen == nearest).all() else "other unknown"


def _strays(seen: np.ndarray, fine: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> int:
    """How many of these pixels of `seen` have an id that `fine` does not have there, nor a pixel of `seen` around."""
    wanted = seen[rows, columns]
    found = np.zeros(len(wanted), bool)
    ranges = []
    for places, small, large in zip((rows, columns), seen.shape, fine.shape, strict=True):
        span = -(-3 * large // small)  # a pixel of the smaller, and one on both sides of it
        first = (places - 1) * large // small
        ranges.append([(first + offset).clip(0, large - 1) for offset in range(span + 1)])
    for row in ranges[0]:
        for column in ranges[1]:
            found |= fine[row, column] == wanted
    return int((~found).sum())


def compare_label_maps(
    synthesized: PictureSet, photographs: PictureSet, baselines: Mapping[str, PictureSet], ids: frozenset[str]
) -> Pairs:
    """Read the label maps of all sets and refuse (`InputError`) those that differ from the photograph's of their id.

    Nothing but checksums is kept, and the encoded label maps of pairs whose checksums do not settle it.
    """
    sets = {"": synthesized, **baselines}
    marks = {
        name: {(key, sample): mark(label) for key, sample, _, label in read_label_maps(pictures, ids)}
        for name, pictures in sets.items()
    }
    samples: dict[str, dict[str, set[str]]] = {name: {} for name in sets}
    for name, found in marks.items():
        for (key, _), value in found.items():
            samples[name].setdefault(key, set()).add(value)
    reference_marks: dict[str, str] = {}
    open_pairs: dict[str, dict[str, bytes]] = {name: {} for name in sets}
    for key, _, data, label in read_label_maps(photographs, ids):
        reference_marks[key] = mark(label)
        resized = {size_of(reference_marks[key]): reference_marks[key]}
        for name in sets:
            for value in samples[name].get(key, ()):
                size = size_of(value)
                if size not in resized:
                    width, height = map(int, size.split("x"))
                    resized[size] = mark(resize_ids(label, height, width))
                if value != resized[size]:
                    open_pairs[name][key] = data
    warnings = []
    for name, pictures in sets.items():
        others, unknown = _settle(pictures, open_pairs[name], photographs.space.dont_care)
        what = f"baseline '{name}'" if name else "the synthesized pictures"
        if others:
            raise InputError(
                f"{len(others)} of {len(ids)} label maps of {what} ({pictures}) are others than those of the same "
                f"ids in {photographs} ({list_names(others)}); give the data set whose label maps were synthesized"
            )
        if unknown:
            warnings.append(
                f"{len(unknown)} label maps of {what} are don't-care elsewhere than the photographs' "
                f"({list_names(unknown)}), so other pixels count"
            )
    return Pairs({key: value for (key, _), value in reversed(marks[""].items())}, reference_marks, tuple(warnings))


def _settle(
    pictures: PictureSet, references: Mapping[str, bytes], dont_care: int | None
) -> tuple[list[str], list[str]]:
    """The ids whose label map is another than the reference's, and those that differ in don't-care alone."""
    others: dict[str, None] = {}
    unknown: dict[str, None] = {}
    if references:
        for key, _, _, label in read_label_maps(pictures, frozenset(references)):
            match likeness(label, decode_label(references[key]), dont_care):
                case "other":
                    others[key] = None
                case "other unknown":
                    unknown[key] = None
    return sorted(others), sorted(unknown)


def list_names(names: Sequence[str]) -> str:
    """The first three, in quotes."""
    return ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if names[3:] else "")


def read_label_maps(pictures: PictureSet, ids: frozenset[str]) -> Iterator[tuple[str, int, bytes, np.ndarray]]:
    """Id, sample, bytes and stored ids `[H, W]` of the label maps of some `ids`, in order.

    Raises `InputError`, which names a label map that is missing or broken.
    """
    columns = (*KEY_COLUMNS, "label")
    rows = (row for shard in pictures.plan.shards for _, row in iter_shard(shard, columns) if row["id"] in ids)
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as decoders:
        yield from in_order(decoders, _decode, rows, ahead=2 * threads)


def _decode(row: Mapping[str, Any]) -> tuple[str, int, bytes, np.ndarray]:
    try:
        data = picture_bytes(row["label"])
        if data is None:
            raise InputError("is empty; evaluation needs one for every picture")
        return row["id"], int(row.get("sample") or 0), data, decode_label(data)
    except InputError as error:
        raise InputError(f"picture '{row['id']}': label {error}") from None
