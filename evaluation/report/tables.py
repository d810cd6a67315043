"""Scores as the tables of a report: what is shown, in words and figures, for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.metrics.boundaries import TOLERANCE
from evaluation.metrics.cmmd import SCALE, SIGMA
from evaluation.metrics.feature_metrics import FeatureScores
from evaluation.report.curves import CurveTable, curve_table, features_of
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scores import Scores, SetScores, ratio
from pipeline.pages.format import NONE, factor, interval, number, percent
from pipeline.pages.tables import Cell, Row, Table, file_name


@dataclass(frozen=True)
class Column:
    """A score in a table."""

    title: str
    note: str
    """What it means, in a sentence."""
    cells: tuple[str, ...]
    """One for each set."""
    intervals: tuple[str, ...] = ()
    """Small print below the cells."""
    best: int | None = None
    """The set that does best, photographs aside."""
    lower_is_better: bool = False
    values: tuple[float | None, ...] = ()
    """Of the cells, unrounded, where they are figures."""
    ends: tuple[tuple[float, float] | None, ...] = ()
    """Of the intervals."""

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↓" if self.lower_is_better else "↑"


def columns_table(name: str, columns: Mapping[str, Column], sets: Sequence[SetScores]) -> Table:
    """The columns as a table with a row for each set."""
    rows = []
    for place, part in enumerate(sets):
        cells = []
        for column in columns.values():
            cells.append(
                Cell(
                    column.cells[place],
                    (column.intervals[place],) if column.intervals else (),
                    column.values[place] if column.values else None,
                    column.ends[place] if column.ends else None,
                    "best" if column.best == place else "",
                )
            )
        rows.append(Row(part.name, tuple(cells), part.role))
    return Table(name, "pictures", tuple(f"{column.title} {column.arrow}" for column in columns.values()), tuple(rows))


def class_table(scores: Scores) -> Table:
    """IoU of each class in each set, by the first protocol."""
    labels = [part.labels[scores.main_protocol.name] for part in scores.sets]
    rows = [
        Row(name, tuple(Cell(percent(part.class_iou[name]), value=part.class_iou[name]) for part in labels))
        for name in scores.classes
    ]
    return Table("classes", "IoU", tuple(part.name for part in scores.sets), tuple(rows))


ABOVE_CEILING = (
    "Above the ceiling is a warning: the pictures show what such a network looks for more plainly than photographs do."
)


def summary(scores: Scores) -> str:
    """The result in words: agreement with the label maps, distance to the photographs, texture."""
    name = scores.main_protocol.name
    mean_ious = [part.labels[name].mean_iou for part in scores.sets]
    text = (
        f"A segmentation network finds the classes of the label maps in the synthesized pictures with a mean IoU of "
        f"{percent(mean_ious[0])}. In the real photographs of the same label maps it reaches {percent(mean_ious[-1])}, "
        f"the ceiling: the synthesized pictures are at {percent(ratio(mean_ious[0], mean_ious[-1]), 0)} of it."
    )
    if (ratio(mean_ious[0], mean_ious[-1]) or 0) > 1:
        text += f" {ABOVE_CEILING}"
    others = [
        f"{part.name} reaches {percent(mean_iou)} ({percent(ratio(mean_iou, mean_ious[-1]), 0)} of the ceiling)"
        for part, mean_iou in zip(scores.sets[1:-1], mean_ious[1:-1], strict=True)
    ]
    text += f" For comparison, {' and '.join(others)}." if others else ""
    features = scores.synthesized.inception.get(name) or scores.synthesized.segmenter
    if features is not None and features.precision is not None:
        text += (
            f" {percent(features.precision, 0)} of them lie among the photographs, and {percent(features.coverage, 0)} "
            "of the photographs have one near."
        )
    texture = scores.synthesized.texture
    if texture is not None and texture.power_factor is not None:
        text += f" {texture_sentence(texture.power_factor, texture.lattice_factor)}"
    return text


def texture_sentence(power_factor: float | None, lattice_factor: float | None) -> str:
    """The factors of `TextureScores` in words.

    >>> texture_sentence(1.5, 2.25)[:72]
    "The power of their texture is off the photographs' by a factor of 1.50, "
    """
    return (
        f"The power of their texture is off the photographs' by a factor of {number(power_factor)}, and their lattice "
        f"scores are {number(lattice_factor)} times the photographs'."
    )


def score_columns(scores: Scores) -> dict[str, Column]:
    """The main table, by key: agreement with the label maps, distances, texture; without what was not measured."""
    protocol = scores.main_protocol
    labels = [part.labels[protocol.name] for part in scores.sets]
    rule = {
        "present": "classes that the label maps contain",
        "union": "classes in label maps or predictions",
        "all": "all classes",
    }[protocol.averaging]

    def column(title: str, note: str, name: str) -> Column:
        return _column(
            title, note, [getattr(part, name) for part in labels], [part.intervals.get(name) for part in labels]
        )

    columns = {
        "mean_iou": column(
            "mean IoU",
            f"Intersection over union of predicted and true class, averaged over the {rule}; from one confusion matrix "
            "of the whole set.",
            "mean_iou",
        ),
        "of_ceiling": _column(
            "of ceiling",
            "Mean IoU as a share of that of the real photographs.",
            [ratio(part.mean_iou, labels[-1].mean_iou) for part in labels],
            [*(part.intervals.get("of_ceiling") for part in labels[:-1]), None],
        ),
        "accuracy": column("accuracy", "Pixels of the right class, void left out.", "accuracy"),
        "accuracy_void_as_error": column(
            "void as error",
            "The same with every void pixel counted as wrong, as the SPADE paper does on Cityscapes.",
            "accuracy_void_as_error",
        ),
        "frequency_weighted_iou": column(
            "weighted IoU",
            "IoU averaged with the share of the pixels that each class has.",
            "frequency_weighted_iou",
        ),
        "boundary_f": column(
            "boundary F",
            f"How well the borders of classes agree, to {TOLERANCE:.2%} of the diagonal; mean over classes.",
            "boundary_f",
        ),
        "segmenter_frechet": _column(
            "Fréchet",
            f"{scores.settings['segmenter_frechet']}. Distance to the real photographs.",
            [part.segmenter_frechet for part in scores.sets],
            [part.segmenter.intervals.get("frechet") if part.segmenter else None for part in scores.sets],
            show=number,
            lower_is_better=True,
        ),
    }
    if columns["accuracy_void_as_error"].cells == columns["accuracy"].cells:
        del columns["accuracy_void_as_error"]  # there is no void
    inception = [part.inception.get(protocol.name) for part in scores.sets]
    if any(inception):
        columns["fid"] = _column(
            "FID",
            f"Fréchet distance on Inception features ({protocol.fid_features} resizing) to the real photographs.",
            [part.frechet if part else None for part in inception],
            [part.intervals.get("frechet") if part else None for part in inception],
            show=number,
            lower_is_better=True,
        )
    for name, title, note in (
        (
            "power_factor",
            "power",
            "by which factor an octave's power is off the photographs', up or down.",
        ),
        ("lattice_factor", "lattice", "how many times the photographs' lattice scores the pictures' are."),
    ):
        textures = [part.texture for part in scores.sets]
        values = [getattr(part, name) if part else None for part in textures]
        if any(value is not None for value in values):
            columns[name] = _column(
                title,
                f"Texture: {note} A geometric mean over classes; ×1 is best.",
                values,
                [part.intervals.get(name) if part else None for part in textures[:-1]] + [None],
                show=factor,
                lower_is_better=True,
            )
    diversity = _diversity_column(scores)
    return columns if diversity is None else columns | {"diversity": diversity}


def _diversity_column(scores: Scores) -> Column | None:
    """LPIPS where its weights were given, else distances on the segmenter's features; None without samples."""
    lpips = [part.lpips for part in scores.sets]
    if any(lpips):
        return _column(
            "diversity",
            f"Mean {scores.settings['lpips']} distance between pictures of one label map.",
            [part.mean if part else None for part in lpips],
            [part.interval if part else None for part in lpips],
            show=number,
        )
    features = [part.segmenter for part in scores.sets]
    if not any(part is not None and part.diversity is not None for part in features):
        return None
    return _column(
        "diversity",
        "On the segmenter's features, for want of LPIPS weights: mean distance between pictures of one label map, as a "
        "share of that between photographs.",
        [part.diversity if part else None for part in features],
        [part.intervals.get("diversity") if part else None for part in features],
    )


@dataclass(frozen=True)
class DistanceTable:
    """The distances on one kind of features."""

    features: str
    """Whose they are, in a word or two."""
    note: str
    columns: dict[str, Column]
    table: Table
    curves: CurveTable | None
    """Of the synthesized pictures."""


def distance_titles(scores: Scores) -> dict[str, dict[str, str]]:
    """What the distances are called, by the name of the features and by key."""
    common = {"cmmd": "CMMD", "mind": "MIND", "mind_corrected": "MIND, corrected"}
    titles = {
        "segmenter": {"frechet": "Fréchet distance", "kernel_distance": "kernel distance"},
        "Inception": {"frechet": "FID", "kernel_distance": "KID"},
    }
    for name, kind in scores.settings.get("features", {}).items():
        titles[name] = {"frechet": f"FD-{kind['title']}", "kernel_distance": f"KD-{kind['title']}"}
    return {name: own | common for name, own in titles.items()}


def distance_tables(scores: Scores) -> list[DistanceTable]:
    """Those on the segmenter's features, on Inception's, and on each network of `--features`; those there are."""
    notes = {
        "segmenter": "On what the segmenter itself sees; not FID, KID or their kin, which are of Inception’s features.",
        "Inception": f"On FID’s Inception network, {scores.main_protocol.fid_resizer} resizing.",
    }
    notes |= {name: f"{kind['network']}." for name, kind in scores.settings.get("features", {}).items()}
    tables = []
    for name, titles in distance_titles(scores).items():
        columns = _distance_columns([features_of(scores, part, name) for part in scores.sets[:-1]], titles)
        if columns:
            key = f"on_{file_name(name)}"
            curves = curve_table(f"curves_{key}", features_of(scores, scores.synthesized, name), titles)
            table = columns_table(f"distances_{key}", columns, scores.sets[:-1])
            tables.append(DistanceTable(name, notes[name], columns, table, curves))
    return tables


def _distance_columns(found: Sequence[FeatureScores | None], titles: dict[str, str]) -> dict[str, Column]:
    """By key, without the photographs' own row; empty where a set has none."""
    parts = [item for item in found if item is not None]
    if not parts or len(parts) < len(found):
        return {}
    columns = {}
    for key, title, note in (
        ("frechet", titles["frechet"], "Distance between the two sets as Gaussians."),
        (
            "kernel_distance",
            titles["kernel_distance"],
            "Unbiased squared MMD with a cubic kernel; the interval is over subsets.",
        ),
        (
            "cmmd",
            titles["cmmd"],
            f"Squared MMD with a Gaussian kernel (sigma {SIGMA:g}), times {SCALE:g}, as its authors take it: biased, "
            "so that equal distributions are a little apart.",
        ),
        (
            "mind",
            titles["mind"],
            "Sliced Wasserstein distance, 1,000 directions, as published; too high for few pictures.",
        ),
        (
            "mind_corrected",
            titles["mind_corrected"],
            "Without what sets of this size are apart even if drawn alike; may be negative.",
        ),
        ("precision", "precision", "Pictures that lie among the photographs."),
        ("recall", "recall", "Photographs that lie among the pictures."),
        ("density", "density", "Like precision, weighted by how many photographs are near."),
        ("coverage", "coverage", "Photographs with a picture near them."),
        (
            "diversity",
            "diversity",
            "Distance between pictures of one label map, relative to that between photographs.",
        ),
    ):
        lower = key in DISTANCES
        column = _column(
            title,
            note,
            [getattr(part, key) for part in parts],
            [part.intervals.get(key) for part in parts],
            show=number if lower else percent,
            lower_is_better=lower,
            ceiling=False,
        )
        if any(cell != NONE for cell in column.cells):
            columns[key] = column
    return columns


DISTANCES = ("frechet", "kernel_distance", "cmmd", "mind", "mind_corrected")
"""The scores on features of which less is better."""


def protocol_columns(scores: Scores) -> dict[str, Column]:
    """Mean IoU, headline accuracy and FID by every protocol, and how far they are from the first; empty with one."""
    if len(scores.protocols) < 2:
        return {}
    return {
        protocol.name: Column(
            protocol.name,
            _in_words(protocol),
            tuple(_figures(part, protocol) for part in scores.sets),
            tuple(
                "" if protocol is scores.main_protocol else _from_first(part, scores.main_protocol, protocol)
                for part in scores.sets
            ),
        )
        for protocol in scores.protocols
    }


def _figures(part: SetScores, protocol: Protocol) -> str:
    labels = part.labels[protocol.name]
    text = f"{percent(labels.mean_iou)} / {percent(labels.headline_accuracy(protocol))}"
    fid = part.fid(protocol)
    return text if fid is None else f"{text} / {number(fid)}"


def _from_first(part: SetScores, first: Protocol, protocol: Protocol) -> str:
    """The differences in points (of FID in its own units)."""
    one, other = part.labels[first.name], part.labels[protocol.name]
    pairs = [
        (one.mean_iou, other.mean_iou, 100),
        (one.headline_accuracy(first), other.headline_accuracy(protocol), 100),
    ]
    if part.fid(protocol) is not None:
        pairs.append((part.fid(first), part.fid(protocol), 1))
    shown = [NONE if a is None or b is None else f"{scale * (b - a):+.1f}" for a, b, scale in pairs]
    return " / ".join(shown)


def _in_words(protocol: Protocol) -> str:
    seen = {"picture": "as it is", "label": "at the label map's size"}.get(
        str(protocol.input_size), f"at a long side of {protocol.input_size}"
    )
    return (
        f"The segmenter sees the picture {seen}; compared at the {protocol.label_size}'s size; classes averaged: "
        f"{protocol.averaging}; void pixels {'are errors' if protocol.void_is_error else 'left out'}."
    )


def _column(
    title: str,
    note: str,
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None] = (),
    *,
    show: Callable[[float | None], str] = percent,
    lower_is_better: bool = False,
    ceiling: bool = True,
) -> Column:
    """With `ceiling` the last value is no competitor."""
    known = {index: value for index, value in enumerate(values[:-1] if ceiling else values) if value is not None}
    best = (min if lower_is_better else max)(known, key=lambda index: known[index]) if len(known) > 1 else None
    texts = tuple(interval(pair, show) for pair in intervals)
    cells = tuple(map(show, values))
    return Column(
        title, note, cells, texts if any(texts) else (), best, lower_is_better, tuple(values), tuple(intervals)
    )
