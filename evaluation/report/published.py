"""Published scores of semantic image synthesis, to put beside ours: mean IoU, accuracy and FID as the papers give them.

They are comparable with a report only where the protocol is the same (segmenter, sizes, void rule, photographs), which
most of the papers do not state.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.datasets import ade20k, cityscapes, coco_stuff


@dataclass(frozen=True)
class Published:
    """One method on one data set; per cent, None where the paper has no figure."""

    method: str
    mean_iou: float | None
    accuracy: float | None
    fid: float | None


@dataclass(frozen=True)
class PublishedTable:
    """What is known about a data set."""

    data_set: str
    notes: tuple[str, ...]
    rows: tuple[Published, ...]


def _rows(text: str) -> tuple[Published, ...]:
    rows = []
    for line in text.strip().splitlines():
        method, *figures = (cell.strip() for cell in line.split("|"))
        rows.append(Published(method, *(None if figure == "-" else float(figure) for figure in figures)))
    return tuple(rows)


_COCO_STUFF = PublishedTable(
    "COCO-Stuff",
    (
        "Segmenter: DeepLabV2 ResNet-101, trained on COCO-Stuff 164k; mean over the classes that occur.",
        "CC-FPSE feeds the 256x256 picture, GAN-compression enlarges it to the label map's size.",
    ),
    _rows("""
        CRN       | 23.7 | 40.4 | 70.4
        pix2pixHD | 14.6 | 45.8 | 111.5
        SPADE     | 37.4 | 67.9 | 22.6
        CC-FPSE   | 41.6 | 70.7 | 19.2
        OASIS     | 44.1 | -    | 17.0
        DP-SIMS   | -    | -    | 13.6
    """),
)
_ADE20K = PublishedTable(
    "ADE20K",
    (
        "Segmenter: UPerNet ResNet-101, five scales; mean over all 150 classes.",
        "OASIS's own weights score 48.8 with five scales and 42.8 with one, at 256.",
    ),
    _rows("""
        CRN       | 22.4 | 68.8 | 73.3
        pix2pixHD | 20.3 | 69.2 | 81.8
        SPADE     | 38.5 | 79.9 | 33.9
        CC-FPSE   | 43.7 | 82.9 | 31.7
        OASIS     | 48.8 | -    | 28.3
        DP-SIMS   | 54.3 | -    | 22.7
    """),
)
_ADE20K_OUTDOOR = PublishedTable(
    "ADE20K-outdoor",
    ("The outdoor scenes of ADE20K only, with the same segmenter.",),
    _rows("""
        CRN       | 16.5 | 68.6 | 99.0
        SIMS      | 13.1 | 74.7 | 67.7
        pix2pixHD | 17.4 | 71.6 | 97.8
        SPADE     | 30.8 | 82.9 | 63.3
        OASIS     | 40.4 | -    | 48.6
    """),
)
_CITYSCAPES = PublishedTable(
    "Cityscapes",
    (
        "Segmenter: DRN-D-105 on 19 classes; mean over those that occur.",
        "SPADE's accuracy counts void pixels as errors; with them left out others measure 93.5 for its 81.9.",
    ),
    _rows("""
        CRN       | 52.4 | 77.1 | 104.7
        SIMS      | 47.2 | 75.5 | 49.7
        pix2pixHD | 58.3 | 81.4 | 95.0
        SPADE     | 62.3 | 81.9 | 71.8
        CC-FPSE   | 65.5 | 82.3 | 54.3
        OASIS     | 69.3 | -    | 47.7
        DP-SIMS   | 76.3 | -    | 38.2
    """),
)

_TABLES = {
    coco_stuff.SPACE.classes: (_COCO_STUFF,),
    ade20k.SPACE.classes: (_ADE20K, _ADE20K_OUTDOOR),
    cityscapes.SPACE.classes: (_CITYSCAPES,),
}


def published_tables(classes: tuple[str, ...]) -> tuple[PublishedTable, ...]:
    """The published scores on the data set that has these classes, and on its subsets; empty for unknown ones."""
    return _TABLES.get(classes, ())
