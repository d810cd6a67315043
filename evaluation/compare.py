"""Runs side by side: their scores, and whether they differ by more than the choice of label maps explains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.judgements import FILE_NAME as JUDGEMENTS
from evaluation.judgements import Judgements
from evaluation.protocols import Protocol
from evaluation.report import render_template, write_text
from evaluation.report_format import number, percent
from pipeline.errors import InputError

REPLICATES = 2000


@dataclass(frozen=True)
class Run:
    """A report, read back."""

    name: str
    path: Path
    report: dict[str, Any]
    judgements: Judgements

    @property
    def protocol(self) -> Protocol:
        """The one of the headlines."""
        return Protocol.model_validate(self.report["protocols"][0])


@dataclass(frozen=True)
class Difference:
    """How a run differs from the first, on the label maps that both have. Shares of 1."""

    name: str
    label_maps: int
    mean_iou: float
    mean_iou_interval: tuple[float, float]
    mean_iou_p: float
    """Two-sided bootstrap p-value of no difference."""
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_p: float


@dataclass(frozen=True)
class Comparison:
    """Everything that `compare` found."""

    rows: list[dict[str, Any]]
    """Scores of each run: name, pictures, mean_iou, ceiling, accuracy, segmenter_frechet, fid."""
    differences: list[Difference]
    warnings: list[str]


def compare(reports: Sequence[Path], out: Path) -> Comparison:
    """Compare report folders with the first of them; write `compare.json`, `compare.md` and `compare.html` to `out`.

    Differences are tested by a paired bootstrap over the label maps that both runs have. Raises `InputError` where a
    folder is no report, protocols or segmenters differ, or no label map is shared.
    """
    if len(reports) < 2:
        raise InputError("give two reports or more to compare")
    runs = _unique_names([_read(Path(path)) for path in reports])
    for run in runs[1:]:
        _refuse_other_protocol(runs[0], run)
    found = Comparison([_row(run) for run in runs], [_difference(runs[0], run) for run in runs[1:]], _warnings(runs))
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "compare.json", json.dumps(asdict(found), indent=2, allow_nan=False) + "\n")
    write_text(out / "compare.md", render_markdown(found))
    write_text(out / "compare.html", render_template("compare.html.j2", found=found, verdict=verdict))
    return found


def render_markdown(found: Comparison) -> str:
    """The tables as Markdown."""
    lines = ["# Comparison", "", "| | pictures | mean IoU | ceiling | accuracy | Fréchet, segmenter | FID |"]
    lines += ["| --- |" + " ---: |" * 6]
    for row in found.rows:
        shown = [percent(row["mean_iou"]), percent(row["ceiling"]), percent(row["accuracy"])]
        shown += [number(row["segmenter_frechet"]), number(row["fid"])]
        lines.append(f"| {row['name']} | {row['pictures']} | " + " | ".join(shown) + " |")
    lines += ["", *(f"- {verdict(item, found.rows[0]['name'])}" for item in found.differences)]
    lines += ["", *(f"> {line}" for line in found.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def verdict(item: Difference, first: str) -> str:
    """A difference in words."""
    low, high = item.mean_iou_interval
    sure = "significant" if item.mean_iou_p < 0.05 else "not significant"
    return (
        f"{item.name} against {first}: mean IoU {100 * item.mean_iou:+.1f} points "
        f"(95% interval {100 * low:+.1f} to {100 * high:+.1f}, p = {item.mean_iou_p:.3g}, {sure}), "
        f"accuracy {100 * item.accuracy:+.1f} points (p = {item.accuracy_p:.3g}), "
        f"on {item.label_maps} label maps of both"
    )


def _read(path: Path) -> Run:
    folder = path.parent if path.is_file() else path
    try:
        report = json.loads((folder / "report.json").read_text())
        judgements = Judgements.load(folder / JUDGEMENTS)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path} is no whole report of `evaluate` ({reason})") from None
    return Run(folder.resolve().name, folder, report, judgements)


def _unique_names(runs: list[Run]) -> list[Run]:
    """Folder names where they differ, else paths."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [Run(str(run.path), run.path, run.report, run.judgements) for run in runs]


def _refuse_other_protocol(one: Run, other: Run) -> None:
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


def _row(run: Run) -> dict[str, Any]:
    made, real = run.report["sets"][0], run.report["sets"][-1]
    name = run.protocol.name
    return {
        "name": run.name,
        "title": run.report["title"],
        "pictures": made["pictures"],
        "mean_iou": made["labels"][name]["mean_iou"],
        "ceiling": real["labels"][name]["mean_iou"],
        "accuracy": made["labels"][name]["accuracy"],
        "segmenter_frechet": made["segmenter"]["frechet"] if made["segmenter"] else None,
        "fid": made["inception"]["frechet"] if made["inception"] else None,
    }


def _difference(one: Run, other: Run) -> Difference:
    """A paired bootstrap: both runs are read on the same resampled label maps."""
    shared = sorted(set(one.judgements.ids.tolist()) & set(other.judgements.ids.tolist()))
    if len(shared) < 2:
        raise InputError(f"{other.path} and {one.path} share {len(shared)} label maps; compare runs on the same ones")
    position = {name: index for index, name in enumerate(shared)}
    random = np.random.default_rng(0)
    readers = [_Reader(run.judgements, run.protocol, position) for run in (one, other)]
    whole = [reader.read(np.ones(len(shared), np.int64)) for reader in readers]
    drawn = []
    for _ in range(REPLICATES):
        times = np.bincount(random.integers(0, len(shared), len(shared)), minlength=len(shared))
        drawn.append(readers[1].read(times) - readers[0].read(times))
    values = np.array(drawn)
    difference = whole[1] - whole[0]
    low, high = np.nanpercentile(values, [2.5, 97.5], axis=0)
    # Two-sided: twice the smaller tail beyond zero, with the usual correction by one replicate.
    p = [2 * min((part <= 0).sum() + 1, (part >= 0).sum() + 1) / (REPLICATES + 1) for part in values.T]
    return Difference(
        name=other.name,
        label_maps=len(shared),
        mean_iou=float(difference[0]),
        mean_iou_interval=(float(low[0]), float(high[0])),
        mean_iou_p=min(1.0, float(p[0])),
        accuracy=float(difference[1]),
        accuracy_interval=(float(low[1]), float(high[1])),
        accuracy_p=min(1.0, float(p[1])),
    )


class _Reader:
    """Mean IoU and accuracy of a run on weighted label maps."""

    def __init__(self, made: Judgements, protocol: Protocol, position: dict[str, int]) -> None:
        self.confusions = made.confusions[protocol.name]
        self.averaging = protocol.averaging
        self.position = np.array([position.get(name, -1) for name in made.ids.tolist()])

    def read(self, times: np.ndarray) -> np.ndarray:
        weights = np.where(self.position >= 0, times[self.position], 0)
        matrix = self.confusions.total(weights)
        return np.array([matrix.mean_iou(self.averaging), matrix.accuracy()])


def _warnings(runs: Sequence[Run]) -> list[str]:
    first = set(runs[0].judgements.ids.tolist())
    return [
        f"{run.name} has other label maps than {runs[0].name}: its row is of all of them, the difference of shared ones"
        for run in runs[1:]
        if set(run.judgements.ids.tolist()) != first
    ]
