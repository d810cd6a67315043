"""What `evaluate`, `compare` and `study` of `import spadework` give: scores, and the same as pyarrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation import compare
from evaluation.report.tables import summary
from evaluation.scoring.image_scores import FILE_NAME
from evaluation.scoring.scores import Scores, SetScores, ratio
from evaluation.scoring.textures import texture_rows
from evaluation.study.page import study_rows
from evaluation.study.page import summary as study_summary
from evaluation.study.study import StudyResult
from pipeline.data.frames import to_table
from pipeline.errors import InputError


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; as text, the result in a sentence or two."""

    folder: Path
    """Of report.html, report.md, report.json, scores.parquet and texture.csv."""
    scores: Scores

    def __str__(self) -> str:
        return summary(self.scores)

    def to_table(self, rows: Literal["sets", "classes", "texture", "pictures"] = "sets") -> pa.Table:
        """The scores; shares of 1, null where they are undefined.

        "sets": a row for each set of pictures (the synthesized ones first, the photographs, which are the ceiling,
        last) and protocol, with a column for each score and `..._low` and `..._high` for its 95 % interval.
        "classes": a row for each set, protocol and class, with `iou` and the `share` of known pixels.
        "texture": a row for each set, class and period in pixels, as in texture.csv.
        "pictures": a row for each synthesized picture, as in scores.parquet.

        Raises `InputError` for other `rows`.
        """
        if rows == "pictures":
            return pq.read_table(self.folder / FILE_NAME)
        if rows == "texture":
            return to_table(texture_rows((part.name, part.texture) for part in self.scores.sets))
        if rows not in ("sets", "classes"):
            raise InputError(f"rows is '{rows}'; take sets, classes, texture or pictures")
        return to_table(set_rows(self.scores) if rows == "sets" else class_rows(self.scores))


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; as text, a line for each run after the first."""

    folder: Path
    """Of compare.html, compare.md and compare.json."""
    found: compare.Comparison

    def __str__(self) -> str:
        return "\n".join(compare.verdict(item, self.found.rows[0]["name"]) for item in self.found.differences)

    def to_table(self) -> pa.Table:
        """A row for each run: its scores, shares of 1, with `..._low` and `..._high` for the 95 % interval, and their
        differences from the first run, `..._change` with interval and `..._change_p`; null for the first."""
        return to_table(comparison_rows(self.found))


@dataclass(frozen=True)
class Study:
    """What `study` found; as text, the result in a sentence or two."""

    folder: Path
    """Of study.html, study.json, study.csv and study.tex."""
    found: StudyResult

    def __str__(self) -> str:
        return study_summary(self.found)

    def to_table(self) -> pa.Table:
        """A row for each row of the study, as in study.csv."""
        return to_table(study_rows(self.found))


def set_rows(scores: Scores) -> list[dict[str, Any]]:
    """A row for each set and protocol: shares of 1, and `..._low` and `..._high` for each 95 % interval."""
    rows = []
    for protocol in scores.protocols:
        ceiling = scores.ceiling.labels[protocol.name].mean_iou
        for part in scores.sets:
            labels = part.labels[protocol.name]
            distances = {"segmenter_frechet": part.segmenter, "fid": part.inception.get(protocol.name)}
            rows.append(
                {
                    **_name(part, protocol.name),
                    "pictures": part.pictures,
                    "label_maps": part.label_maps,
                    "mean_iou": labels.mean_iou,
                    "of_ceiling": ratio(labels.mean_iou, ceiling),
                    "accuracy": labels.accuracy,
                    "accuracy_void_as_error": labels.accuracy_void_as_error,
                    "frequency_weighted_iou": labels.frequency_weighted_iou,
                    "boundary_f": labels.boundary_f,
                    **{name: found.frechet if found else None for name, found in distances.items()},
                    "lpips_diversity": part.lpips.mean if part.lpips else None,
                    "power_factor": part.texture.power_factor if part.texture else None,
                    "lattice_factor": part.texture.lattice_factor if part.texture else None,
                    **_ends(labels.intervals),
                    **_ends({name: found.intervals.get("frechet") for name, found in distances.items() if found}),
                    **_ends({"lpips_diversity": part.lpips.interval} if part.lpips else {}),
                    **_ends(part.texture.intervals if part.texture else {}),
                }
            )
    return rows


def class_rows(scores: Scores) -> list[dict[str, Any]]:
    """A row for each set, protocol and class: `iou`, and the `share` of the known pixels."""
    return [
        {**_name(part, protocol.name), "class": name, "iou": iou, "share": labels.class_share[name]}
        for protocol in scores.protocols
        for part in scores.sets
        for labels in (part.labels[protocol.name],)
        for name, iou in labels.class_iou.items()
    ]


def comparison_rows(found: compare.Comparison) -> list[dict[str, Any]]:
    """A row for each run: its scores, and with `..._change` and `..._change_p` how they differ from the first run's."""
    changes = {item.name: item.changes for item in found.differences}
    rows = []
    for run in found.rows:
        row = {name: value for name, value in run.items() if name != "intervals"} | _ends(run["intervals"])
        for name, change in changes.get(run["name"], {}).items():
            row |= {f"{name}_change": change.value, f"{name}_change_p": change.p}
            row |= _ends({f"{name}_change": change.interval})
        rows.append(row)
    return rows


def _name(part: SetScores, protocol: str) -> dict[str, str]:
    return {"set": part.name, "role": part.role, "protocol": protocol}


def _ends(intervals: Mapping[str, Any]) -> dict[str, float]:
    """`name_low` and `name_high` of each interval that there is."""
    found: dict[str, float] = {}
    for name, interval in intervals.items():
        if interval is not None:
            found |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    return found
