"""Scores as rows of tables, for programs: what `import spadework` gives as pyarrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.compare import Comparison
from evaluation.scoring.scores import Scores, SetScores, ratio


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
                    **_ends(labels.intervals),
                    **_ends({name: found.intervals.get("frechet") for name, found in distances.items() if found}),
                    **_ends({"lpips_diversity": part.lpips.interval} if part.lpips else {}),
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


def comparison_rows(found: Comparison) -> list[dict[str, Any]]:
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
