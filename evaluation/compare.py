"""Runs side by side: their scores, and whether they differ by more than the choice of label maps explains."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.boundaries import mean_boundary_f
from evaluation.report import TEMPLATES
from evaluation.report.side_by_side import side_by_side
from evaluation.runs import Run, read_run, refuse_other_label_maps, refuse_other_protocol
from evaluation.scoring.independence import REMEDY, SENTENCES, Independence
from evaluation.scoring.label_sums import LabelSums, draws
from pipeline.data.atomic import write_atomic
from pipeline.errors import InputError
from pipeline.pages.format import NONE, factor, interval, number, percent
from pipeline.pages.render import write_page
from pipeline.pages.tables import Cell, Row, Table, Tone, render_markdown

REPLICATES = 2000
FEW_LABEL_MAPS = 50
"""Fewer are a small sample: percentiles of a bootstrap over them are too close together."""
FEW_OF_A_CLASS = 10
"""Label maps with a class: fewer are no sample of it."""


@dataclass(frozen=True)
class Change:
    """A score's difference from the first run; shares of 1."""

    value: float
    interval: tuple[float, float]
    """95%."""
    p: float
    """Two-sided bootstrap p-value of no difference."""

    @property
    def significant(self) -> bool:
        """Whether chance would hardly do it."""
        return self.p < 0.05


@dataclass(frozen=True)
class Difference:
    """How a run differs from the first, on the label maps that both have."""

    name: str
    label_maps: int
    changes: dict[str, Change]
    """By the names of `SCORES`, those that both runs have."""


SCORES = {
    "mean_iou": "mean IoU",
    "accuracy": "accuracy",
    "frequency_weighted_iou": "weighted IoU",
    "boundary_f": "boundary F",
}
"""What is tested, and what it is called."""


@dataclass(frozen=True)
class Comparison:
    """Everything that `compare` found."""

    rows: list[dict[str, Any]]
    """Of each run: name, title, pictures, `SCORES`, independence (of the segmenter from the generator), ceiling,
    segmenter_frechet, fid, diversity, power_factor, lattice_factor; intervals by name."""
    differences: list[Difference]
    warnings: list[str]
    protocol: str
    segmenter: str
    """Name and hash."""


def compare(reports: Sequence[str | Path], out: Path) -> Comparison:
    """Compare report folders, local or at URIs, with the first of them; write `compare.json`, `compare.md` and
    `compare.html` to `out`.

    Differences are tested by a paired bootstrap over the label maps that both runs have. Raises `InputError` where a
    folder is no report, protocols or segmenters differ, ids stand for other label maps, or no label map is shared.
    """
    if len(reports) < 2:
        raise InputError("give two reports or more to compare")
    runs = _unique_names([read_run(report) for report in reports])
    unchecked = []
    for run in runs[1:]:
        refuse_other_protocol(runs[0], run)
        unchecked += refuse_other_label_maps(runs[0], run)
    segmenter = runs[0].report["settings"]["segmenter"]
    found = Comparison(
        rows=[_row(run) for run in runs],
        differences=[_difference(runs[0], run) for run in runs[1:]],
        warnings=[*_warnings(runs), *unchecked],
        protocol=runs[0].protocol.name,
        segmenter=f"{segmenter['name']} (sha256 {str(segmenter['weights_sha256'])[:16]}…)",
    )
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "compare.json", json.dumps(asdict(found), indent=2, allow_nan=False) + "\n")
    write_atomic(out / "compare.md", render_markdown_page(found))
    write_page(
        out / "compare.html",
        TEMPLATES / "compare.html.j2",
        tables=[score_table(found), difference_table(found)],
        found=found,
        pictures=side_by_side(runs),
    )
    return found


def render_markdown_page(found: Comparison) -> str:
    """The tables as Markdown."""
    lines = ["# Comparison", "", f"Protocol {found.protocol}, segmenter {found.segmenter}.", ""]
    lines += render_markdown(score_table(found))
    lines += ["", *(f"- {verdict(item, found.rows[0]['name'])}" for item in found.differences)]
    lines += ["", *(f"> {line}" for line in found.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def score_table(found: Comparison) -> Table:
    """Every score of every run; what no run has is left out."""
    shown: list[tuple[str, str, Callable[[float | None], str]]] = [("pictures", "pictures", str)]
    shown += [(f"{title} ↑", name, percent) for name, title in SCORES.items()]
    shown.insert(2, ("ceiling", "ceiling", percent))
    shown += [("Fréchet, segmenter ↓", "segmenter_frechet", number), ("FID ↓", "fid", number)]
    shown += [("texture power ↓", "power_factor", factor), ("lattice ↓", "lattice_factor", factor)]
    shown += [("LPIPS diversity ↑", "diversity", number)]
    shown = [column for column in shown if any(row[column[1]] is not None for row in found.rows)]
    rows = []
    for row in found.rows:
        cells = []
        for _, name, show in shown:
            ends = row["intervals"].get(name)
            cells.append(Cell(show(row[name]), (interval(ends, show),), row[name], ends and (ends[0], ends[1])))
        rows.append(Row(row["name"], tuple(cells)))
    return Table("scores", "run", tuple(title for title, _, _ in shown), tuple(rows))


def difference_table(found: Comparison) -> Table:
    """How every other run differs from the first, in points; significant differences are bold."""
    rows = []
    for item in found.differences:
        cells = [Cell(str(item.label_maps), value=item.label_maps)]
        for name in SCORES:
            change = item.changes.get(name)
            if change is None:
                cells += [Cell(NONE), Cell(NONE)]
                continue
            low, high = (100 * end for end in change.interval)
            tone: Tone = "best" if change.significant else ""
            small = (f"{low:+.1f} to {high:+.1f}",)
            cells.append(Cell(f"{100 * change.value:+.1f}", small, 100 * change.value, (low, high), tone))
            cells.append(Cell(f"p = {change.p:.3g}", value=change.p))
        rows.append(Row(item.name, tuple(cells)))
    heads = [head for title in SCORES.values() for head in (title, f"{title}: p")]
    return Table("differences", "run", ("label maps", *heads), tuple(rows))


def verdict(item: Difference, first: str) -> str:
    """A difference in words."""
    parts = []
    for name, change in item.changes.items():
        low, high = change.interval
        sure = "significant" if change.significant else "not significant"
        parts.append(
            f"{SCORES[name]} {100 * change.value:+.1f} points "
            f"({100 * low:+.1f} to {100 * high:+.1f}, p = {change.p:.3g}, {sure})"
        )
    return f"{item.name} against {first}, on {item.label_maps} label maps of both: " + ", ".join(parts)


def _unique_names(runs: list[Run]) -> list[Run]:
    """Folder names where they differ, else paths."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, name=run.path) for run in runs]


def _row(run: Run) -> dict[str, Any]:
    generated, real = run.report["sets"][0], run.report["sets"][-1]
    name = run.protocol.name
    labels, segmenter, lpips = generated["labels"][name], generated["segmenter"], generated["lpips"]
    texture = generated.get("texture") or {}  # none in reports of earlier versions
    inception = generated["inception"].get(name)
    intervals = labels["intervals"] | texture.get("intervals", {})
    for key, part in (("segmenter_frechet", segmenter), ("fid", inception)):
        if part is not None:
            intervals[key] = part["intervals"].get("frechet")
    if lpips is not None:
        intervals["diversity"] = lpips["interval"]
    return {
        "name": run.name,
        "title": run.report["title"],
        "pictures": generated["pictures"],
        **{key: labels[key] for key in SCORES},
        "independence": _independence(run),
        "ceiling": real["labels"][name]["mean_iou"],
        "segmenter_frechet": None if segmenter is None else segmenter["frechet"],
        "fid": None if inception is None else inception["frechet"],
        "diversity": None if lpips is None else lpips["mean"],
        **{key: texture.get(key) for key in ("power_factor", "lattice_factor")},
        "intervals": intervals,
    }


def _independence(run: Run) -> Independence:
    """Of the segmenter from what the pictures' generator learned by; unknown in reports of earlier versions."""
    return run.report.get("independence", {}).get(run.report["sets"][0]["name"], "unknown")


def _difference(one: Run, other: Run) -> Difference:
    """A paired bootstrap: both runs are read on the same resampled label maps."""
    shared = sorted(set(one.results.ids.tolist()) & set(other.results.ids.tolist()))
    if len(shared) < 2:
        raise InputError(f"{other.path} and {one.path} share {len(shared)} label maps; compare runs on the same ones")
    position = {name: index for index, name in enumerate(shared)}
    readers = [_Reader(run, position) for run in (one, other)]

    def difference(times: np.ndarray) -> np.ndarray:
        return readers[1].read(times) - readers[0].read(times)

    whole = difference(np.ones((1, len(shared)), np.int64))[:, 0]
    drawn = np.concatenate([difference(times) for times in draws(len(shared), REPLICATES)], 1)
    changes = {}
    for name, value, values in zip(SCORES, whole, drawn, strict=True):
        values = values[~np.isnan(values)]
        if np.isnan(value) or not len(values):
            continue
        low, high = np.percentile(values, [2.5, 97.5])
        # Two-sided: twice the smaller tail beyond zero, with the usual correction by one replicate.
        p = 2 * min((values <= 0).sum() + 1, (values >= 0).sum() + 1) / (len(values) + 1)
        changes[name] = Change(float(value), (float(low), float(high)), min(1.0, float(p)))
    return Difference(other.name, len(shared), changes)


class _Reader:
    """The `SCORES` of a run on weighted label maps."""

    def __init__(self, run: Run, position: dict[str, int]) -> None:
        self.sums = LabelSums.of(run.results, run.protocol.name, position)
        self.averaging = run.protocol.averaging

    def read(self, times: np.ndarray) -> np.ndarray:
        """float64 `[scores, R]` where label maps count `times`, `[R, maps]`."""
        totals, boundaries = self.sums.totals(times)
        return np.stack(
            [
                totals.mean_iou(self.averaging),
                totals.accuracy(),
                totals.frequency_weighted_iou(),
                mean_boundary_f(boundaries),
            ]
        )


def _warnings(runs: Sequence[Run]) -> list[str]:
    first = set(runs[0].results.ids.tolist())
    judged = [run for run in runs if _independence(run) == "not independent"]
    return [
        *(f"{run.name}: {SENTENCES['not independent']}; {REMEDY}" for run in judged),
        *(
            f"{run.name} has other label maps than {runs[0].name}: its row is of all of them, the difference of shared "
            "ones"
            for run in runs[1:]
            if set(run.results.ids.tolist()) != first
        ),
        *_small_samples(runs),
    ]


def _small_samples(runs: Sequence[Run]) -> Iterator[str]:
    """What rests on too few label maps or pictures."""
    shared = set.intersection(*(set(run.results.ids.tolist()) for run in runs))
    if len(shared) < FEW_LABEL_MAPS:
        yield (
            f"small sample: all runs share {len(shared)} label maps. A bootstrap over fewer than {FEW_LABEL_MAPS} "
            "gives intervals that are too narrow and p-values that are too small; compare runs on more"
        )
    results = runs[0].results
    confusions = results.confusions[runs[0].protocol.name]
    maps: Counter[int] = Counter()
    places = {name: place for place, name in enumerate(results.ids.tolist()) if name in shared}
    for place in places.values():
        maps.update(np.flatnonzero(confusions.matrix(place).target_pixels).tolist())
    names = runs[0].report["sets"][0]["labels"][runs[0].protocol.name]["class_iou"]
    rare = [f"{name} ({maps[place]})" for place, name in enumerate(names) if 0 < maps[place] < FEW_OF_A_CLASS]
    if rare and len(shared) >= FEW_LABEL_MAPS:
        yield (
            f"small sample: these classes are in fewer than {FEW_OF_A_CLASS} label maps, so that chance moves their "
            f"IoU, and the mean with it: {', '.join(rare[:8])}{', ...' if rare[8:] else ''}"
        )
    counts = {run.report["sets"][0]["pictures"] for run in runs}
    if len(counts) > 1 and any(run.report["sets"][0]["segmenter"] for run in runs):
        yield (
            f"runs have {min(counts)} to {max(counts)} pictures: the fewer, the larger a Fréchet distance by that "
            "alone; compare distances of as many"
        )
