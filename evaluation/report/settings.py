"""What the scores of a report depend on, as tables: the fields of the protocols, and every other setting and hash."""

from __future__ import annotations

from typing import Any

from evaluation.report.published import Published, PublishedTable
from evaluation.scoring.independence import SENTENCES
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scores import Scores, SetScores
from pipeline.pages.format import NONE, plain
from pipeline.pages.tables import Cell, Row, Table, file_name


def field_table(scores: Scores) -> Table:
    """Every field of every protocol, and the weights that all of them use; what differs from the first is bold."""
    rows = [
        (
            name.replace("_", " ").replace("fid ", "FID "),
            [plain(getattr(protocol, name)) for protocol in scores.protocols],
        )
        for name in Protocol.model_fields
        if name != "name"
    ]
    for title, digest in (
        ("segmenter weights", scores.settings["segmenter"]["weights_sha256"]),
        ("Inception weights", scores.settings["inception_sha256"]),
    ):
        text = "none given" if digest is None else f"sha256 {digest[:16]}…"
        rows.append((title, [text] * len(scores.protocols)))
    return Table(
        "protocol_fields",
        "field",
        tuple(protocol.name for protocol in scores.protocols),
        tuple(
            Row(name, tuple(Cell(value, tone="best" if value != values[0] else "") for value in values))
            for name, values in rows
        ),
        "fields",
    )


def published_table(scores: Scores, published: PublishedTable) -> Table:
    """What papers publish on a data set, this report's own figures above; per cent."""
    rows: list[Row] = []
    for row in (own_row(scores), *published.rows):
        cells = [Cell(NONE if one is None else f"{one:g}", value=one) for one in (row.mean_iou, row.accuracy, row.fid)]
        rows.append(Row(row.method, tuple(cells), "" if rows else "own"))
    name = f"published_on_{file_name(published.data_set)}"
    return Table(name, "method", ("mean IoU ↑", "accuracy ↑", "FID ↓"), tuple(rows))


def own_row(scores: Scores) -> Published:
    """This report's figures, to stand above the published ones; per cent."""
    labels = scores.synthesized.labels[scores.main_protocol.name]
    shares = (labels.mean_iou, labels.headline_accuracy(scores.main_protocol))
    mean_iou, accuracy = (None if share is None else round(100 * share, 1) for share in shares)
    fid = scores.synthesized.fid(scores.main_protocol)
    name = f"this report, protocol “{scores.main_protocol.name}”"
    return Published(name, mean_iou, accuracy, None if fid is None else round(fid, 1))


def style_note(scores: Scores) -> str:
    """Whether pictures and photographs are in the same style, as the job that made the pictures says."""
    made = scores.synthesized.source["made"]
    kind = made.get("style", {}).get("kind")
    if kind == "column":
        return "Each synthesized picture is in the style of its photograph."
    if kind in ("photograph", "other row", "interpolation"):
        return "The synthesized pictures are in the style of other photographs than those beside them."
    return (
        "The synthesized pictures were not given the style of their photographs, so colours and light may differ; "
        "where the generator takes a style, synthesize --style-column image gives it."
    )


def setting_rows(scores: Scores) -> list[tuple[str, str]]:
    """Every setting and hash as name and text."""
    rows = _flatten({key: value for key, value in scores.settings.items() if key != "data_classes"})
    rows += [(f"{name}: judged", SENTENCES[verdict]) for name, verdict in scores.independence.items()]
    for part in scores.sets:
        rows += [(f"{part.name}: {name}", value) for name, value in _flatten(_brief(part))]
    for name, ids in scores.unpaired.items():
        if ids:
            rows.append((f"unpaired {name}", ", ".join(ids[:20]) + (" ..." if ids[20:] else "")))
    return rows


def _brief(part: SetScores) -> dict[str, Any]:
    """Where a set came from, without the list of its files."""
    source = {key: value for key, value in part.source.items() if key != "files"}
    return {"pictures": part.pictures, "label maps": part.label_maps, **source}


def _flatten(fields: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in fields.items():
        name = f"{prefix}{key}".replace("_", " ")
        if key.endswith("class_iou"):  # one row, not as many as there are classes
            rows.append((name, ", ".join(f"{part} {plain(item)}" for part, item in value.items())))
        elif isinstance(value, dict):
            rows += _flatten(value, f"{name}, ")
        elif value is not None:
            rows.append((name, plain(value)))
    return rows
