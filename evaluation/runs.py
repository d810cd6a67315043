"""Reports of `evaluate`, read back, and whether two of them may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.report.gallery import FILE_NAME as PICTURES
from evaluation.scoring.image_results import FILE_NAME as IMAGE_RESULTS
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.label_maps import list_names, size_of
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scores import SCHEMA
from pipeline.data.storage import Folder, base_name, first_line
from pipeline.errors import InputError
from pipeline.runtime.json_text import read_json


@dataclass(frozen=True)
class Run:
    """A report, read back."""

    name: str
    path: str
    report: dict[str, Any]
    results: ImageResults
    pictures: pa.Table | None = None
    """Those of its gallery, as `gallery_table` makes them; None where the report has none."""

    @property
    def protocol(self) -> Protocol:
        """The one of the headlines."""
        return Protocol.model_validate(self.report["protocols"][0])


def read_run(location: str | Path) -> Run:
    """The report in a folder, or beside a local file of one; `InputError` where there is no whole one."""
    folder = Folder(location)
    if folder.local and folder.local.is_file():
        folder = Folder(folder.local.parent)

    def content(name: str) -> bytes:
        found = folder.read(name)
        if found is None:
            raise FileNotFoundError(f"it has no {name}")
        return found

    try:
        report = read_json(content("report.json"))
        current = report["schema"] == SCHEMA
        results = ImageResults.parse(content(IMAGE_RESULTS), IMAGE_RESULTS) if current else None
        kept = folder.read(PICTURES)
        pictures = None if kept is None else pq.read_table(pa.BufferReader(kept))
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(f"{location} is no whole report of `evaluate` ({first_line(error)}); run it again") from None
    if results is None:
        raise InputError(f"{location} is of another version of spadework; run the same evaluate again")
    name = base_name(folder.local.resolve() if folder.local else folder.location)
    return Run(name, str(location), report, results, pictures)


def refuse_other_protocol(one: Run, other: Run) -> None:
    """Refuse (`InputError`) runs that were scored by other protocols or segmenters."""
    if one.protocol != other.protocol:
        ours, theirs = one.protocol.model_dump(), other.protocol.model_dump()
        field = next(name for name in ours if ours[name] != theirs[name])
        raise InputError(
            f"{other.path} was scored by another protocol than {one.path} ({field}: {theirs[field]} there, "
            f"{ours[field]} here); scores of different protocols are not comparable"
        )
    ours, theirs = (run.report["settings"]["segmenter"]["weights_sha256"] for run in (one, other))
    if ours != theirs:
        raise InputError(
            f"{other.path} was scored by another segmenter than {one.path} (sha256 {str(theirs)[:8]}..., "
            f"{str(ours)[:8]}...); scores of different segmenters are not comparable"
        )


def refuse_other_label_maps(one: Run, other: Run) -> list[str]:
    """Refuse (`InputError`) runs in which an id stands for two label maps; returns warnings where that cannot be told.

    A label map is the same if what the pictures were made of is, or what stands beside the photograph: the first
    differs where label maps were resized to the pictures in other ways, the second where reference sets are of two
    sizes.
    """
    first, second = _marks(one), _marks(other)
    if not first or not second:
        old = other if first else one
        return [f"{old.name} was made before label maps were kept: that its ids stand for the same ones is not checked"]
    others, unknown = [], 0
    for name in sorted(first.keys() & second.keys()):
        pairs = list(zip(first[name], second[name], strict=True))
        comparable = [size_of(ours) == size_of(theirs) for ours, theirs in pairs]
        if any(ours == theirs for ours, theirs in pairs):
            continue
        if any(comparable):
            others.append(name)
        else:
            unknown += 1
    if others:
        raise InputError(
            f"{other.path} is of other label maps than {one.path}: {len(others)} of the ids that both have stand for "
            f"others ({list_names(others)}); compare runs on the same data set"
        )
    if unknown:
        return [
            f"{unknown} label maps of {other.name} and {one.name} are of two sizes, so that they are the same is not "
            "checked"
        ]
    return []


def _marks(run: Run) -> dict[str, tuple[str, str]]:
    """By id: the label map that pictures were made of, and that of the photograph; empty for older reports."""
    generated = run.results
    if generated.label_marks is None or generated.reference_marks is None:
        return {}
    found = zip(generated.ids.tolist(), generated.label_marks.tolist(), generated.reference_marks.tolist(), strict=True)
    return {name: (own, reference) for name, own, reference in found}
