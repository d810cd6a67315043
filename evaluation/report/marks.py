"""What people's marks say, in words and as Markdown."""

from __future__ import annotations

import json

from evaluation.report.format import percent
from evaluation.scoring.marks import SHARE, MarkScores


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
    lines = [mark_note(marks), "", "| mark | pictures | pixels that agree |", "| --- | ---: | ---: |"]
    lines += [f"| {row.mark} | {row.pictures} | {percent(row.accuracy)} |" for row in marks.counts]
    if marks.classes:
        lines += ["", "| pictures with | good or better | bad or worse | of them bad |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {row.name} | {row.good} | {row.bad} | {percent(row.bad_share, 0)} |" for row in marks.classes]
    return lines


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
