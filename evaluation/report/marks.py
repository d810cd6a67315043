"""What people's marks say, in words and as Markdown."""

from __future__ import annotations

import json

from evaluation.scoring.marks import SHARE, MarkScores
from pipeline.pages.format import percent
from pipeline.pages.tables import Cell, Row, Table, render_markdown


def mark_note(marks: MarkScores) -> str:
    """Above the tables: what was marked, and what the tables count."""
    same = "none is" if not marks.same_weights else f"{marks.same_weights} are"
    return (
        f"{marks.pictures} pictures that people marked, from {', '.join(marks.sources)}; {same} of the weights that "
        "made the synthesized pictures of this report. In the first table, beside that, the share of pixels "
        "in which the segmenter sees what the label map has; in the second, a class counts where it has "
        f"{SHARE:.0%} of the label map. Whoever marks chooses what to mark: shares are of these pictures, not of all."
    )


def mark_lines(marks: MarkScores) -> list[str]:
    """Both tables as lines of Markdown."""
    lines = [mark_note(marks)]
    for table in mark_tables(marks):
        lines += ["", *render_markdown(table)]
    return lines


def mark_tables(marks: MarkScores) -> list[Table]:
    """`marks`, how many pictures have which; `marked_classes`, which marks have pictures with a class, if any has."""
    counts = [
        Row(row.mark, (Cell(str(row.pictures), value=row.pictures), Cell(percent(row.accuracy), value=row.accuracy)))
        for row in marks.counts
    ]
    tables = [Table("marks", "mark", ("pictures", "pixels that agree"), tuple(counts))]
    if marks.classes:
        rows = [
            Row(
                row.name,
                (
                    Cell(str(row.good), value=row.good),
                    Cell(str(row.bad), value=row.bad),
                    Cell(percent(row.bad_share, 0), value=row.bad_share),
                ),
            )
            for row in marks.classes
        ]
        heads = ("good or better", "bad or worse", "of them bad")
        tables.append(Table("marked_classes", "pictures with", heads, tuple(rows)))
    return tables


def style_words(style: str | None) -> str:
    """The style of a record in words.

    >>> style_words('{"seed": 5}'), style_words('{"z": [0.5, 1]}'), style_words(None)
    ('seed 5', 'a style vector', 'no style')
    """
    if style is None:
        return "no style"
    try:
        fields = json.loads(style)
    except ValueError:
        return style
    if not isinstance(fields, dict):
        return style
    if "z" in fields:
        return "a style vector"
    return f"seed {fields['seed']}" if "seed" in fields else f"style: {fields.get('kind', style)}"
