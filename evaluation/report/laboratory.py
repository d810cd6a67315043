"""The laboratory: what each published protocol says of the same pictures, beside the figures that its paper prints."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.report.published import Published, published_tables
from evaluation.scoring.scores import Scores
from pipeline.pages.format import NONE, number, percent
from pipeline.pages.tables import Table, render_markdown, text_table


@dataclass(frozen=True)
class Publication:
    """A paper or program whose protocol is a preset."""

    name: str
    protocols: dict[str, str]
    """The preset by data set."""
    method: str | None = None
    """Its row among the published figures; None without one."""
    notes: dict[str, str] | None = None
    """By data set: where the publication is inconsistent, or what it leaves open."""
    own: dict[str, Published] | None = None
    """Figures by data set that are not among the published tables."""


_SPADE = {"COCO-Stuff": "spade", "ADE20K": "spade-ade20k", "Cityscapes": "spade-cityscapes"}
_SDM = (
    "Its program shrinks pictures and photographs to 256x256 (scikit-image) before FID's own resizing, which no preset "
    "does; it has no program for mIoU."
)
_SCP_DIFF = "Of larger pictures (512 pixels high); its repository has no program for scores."
_VOID = "The paper counts void pixels as errors: with them left out others measure 93.5 for its 81.9."

PUBLICATIONS = (
    Publication(
        "SPADE",
        _SPADE,
        "SPADE",
        {"COCO-Stuff": "A mean IoU of 35.2 in the paper's text, 37.4 in its table.", "Cityscapes": _VOID},
    ),
    Publication("CC-FPSE", _SPADE, "CC-FPSE", {"Cityscapes": "Counts void pixels as errors, as SPADE does."}),
    Publication(
        "OASIS",
        {"COCO-Stuff": "oasis", "ADE20K": "oasis-ade20k", "Cityscapes": "oasis"},
        "OASIS",
        {"ADE20K": "48.8 is with the segmenter's five scales."},
    ),
    Publication(
        "OASIS, single scale",
        {"ADE20K": "oasis-ade20k-single"},
        notes={"ADE20K": "The weights of the row above, scored at 256 with one scale."},
        own={"ADE20K": Published("OASIS", 42.76, None, None)},
    ),
    Publication(
        "GAN-compression",
        {"COCO-Stuff": "gan-compression", "Cityscapes": "gan-compression-cityscapes"},
        notes={"Cityscapes": "Of its compressed generator; the full one has 61.04."},
        own={"Cityscapes": Published("GAN-compression", 61.22, None, None)},
    ),
    Publication(
        "imaginaire",
        {"COCO-Stuff": "imaginaire"},
        notes={"COCO-Stuff": "Averages over 182 ids, of which 11 never occur and score 0."},
    ),
    Publication(
        "CLADE", {"Cityscapes": "clade"}, notes={"Cityscapes": "Measures FID from the statistics of a training set."}
    ),
    Publication(
        "SDM",
        {"COCO-Stuff": "native", "ADE20K": "native", "Cityscapes": "native"},
        notes=dict.fromkeys(("COCO-Stuff", "ADE20K", "Cityscapes"), _SDM),
        own={
            "COCO-Stuff": Published("SDM", None, None, 15.9),
            "ADE20K": Published("SDM", None, None, 27.5),
        },
    ),
    Publication(
        "SCP-Diff",
        {"ADE20K": "native", "Cityscapes": "native"},
        notes={
            "ADE20K": _SCP_DIFF,
            "Cityscapes": _SCP_DIFF + " Its README has 10.53 under mIoU and 94.65 under FID: the heads are exchanged.",
        },
        own={
            "ADE20K": Published("SCP-Diff", 25.61, 71.79, 12.66),
            "Cityscapes": Published("SCP-Diff", 67.92, 94.65, 10.53),
        },
    ),
)
"""In the order of the table. What a publication does not state of its protocol is left as `native` has it."""


@dataclass(frozen=True)
class LaboratoryRow:
    """A protocol's figures of the synthesized pictures, and a paper's of its own."""

    publication: str
    protocol: str
    data_set: str
    ours: tuple[str, str, str]
    """Mean IoU, accuracy and FID."""
    ceiling: str
    """The mean IoU of the photographs."""
    paper: tuple[str, str, str]
    note: str


def laboratory_rows(scores: Scores) -> list[LaboratoryRow]:
    """A row for each publication whose protocol was scored by; none unless there are two protocols of theirs or more.

    On a data set that papers publish figures on, only its own protocols; on another one all of them, without figures.
    """
    scored = {protocol.name: protocol for protocol in scores.protocols}
    tables = {table.data_set: table for table in published_tables(tuple(scores.settings["data_classes"]))}
    rows: list[LaboratoryRow] = []
    for publication in PUBLICATIONS:
        for data_set, name in publication.protocols.items():
            if name not in scored or (tables and data_set not in tables):
                continue
            protocol = scored[name]
            labels, photographs = (part.labels[name] for part in (scores.synthesized, scores.ceiling))
            table = tables.get(data_set)
            figures = (publication.own or {}).get(data_set)
            if figures is None and table is not None:
                figures = next((row for row in table.rows if row.method == publication.method), None)
            rows.append(
                LaboratoryRow(
                    publication.name,
                    name,
                    data_set,
                    (
                        percent(labels.mean_iou),
                        percent(labels.headline_accuracy(protocol)),
                        number(scores.synthesized.fid(protocol)),
                    ),
                    percent(photographs.mean_iou),
                    _paper(figures if table is not None else None),
                    _new_note(publication, data_set, rows),
                )
            )
    return rows if len({row.protocol for row in rows} - {"native"}) > 1 else []


def laboratory_table(scores: Scores) -> Table | None:
    """The rows as a table; None without rows."""
    rows = [
        (row.publication, row.data_set, row.protocol, row.ours[0], row.ceiling, *row.ours[1:], " / ".join(row.paper))
        for row in laboratory_rows(scores)
    ]
    heads = ("on", "preset", "mean IoU ↑", "photographs", "accuracy ↑", "FID ↓", "the paper’s own")
    return text_table("laboratory", "protocol of", heads, rows) if rows else None


def laboratory_lines(scores: Scores) -> list[str]:
    """The same as lines of Markdown, notes below; empty without rows."""
    table = laboratory_table(scores)
    if table is None:
        return []
    notes = [f"- {row.publication}, {row.data_set}: {row.note}" for row in laboratory_rows(scores) if row.note]
    return [*render_markdown(table), "", NOTE, *notes]


NOTE = (
    "Mean IoU / accuracy / FID. A paper's own figures are of its own pictures, with the segmenter that it names; they "
    "are shown only on the data set that they are of."
)


def _new_note(publication: Publication, data_set: str, rows: list[LaboratoryRow]) -> str:
    """The note on a data set; empty where a row above has the same one."""
    note = (publication.notes or {}).get(data_set, "")
    return "" if any((row.publication, row.note) == (publication.name, note) for row in rows) else note


def _paper(figures: Published | None) -> tuple[str, str, str]:
    if figures is None:
        return (NONE, NONE, NONE)
    one, two, three = (
        NONE if figure is None else f"{figure:g}" for figure in (figures.mean_iou, figures.accuracy, figures.fid)
    )
    return (one, two, three)
