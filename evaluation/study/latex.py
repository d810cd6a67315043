"""The table of a study for a paper, in LaTeX with booktabs."""

from __future__ import annotations

from statistics import fmean

from evaluation.study.statistics import SCORES, RowScore
from evaluation.study.study import StudyResult
from pipeline.pages.format import number
from pipeline.pages.tables import escape
from pipeline.runtime.digits import plural


def render_latex(found: StudyResult) -> str:
    """A `table` with a line for each row: mean and, small, the spread between seeds; a star marks what differs
    significantly from the reference."""
    arrows = {True: r"$\downarrow$", False: r"$\uparrow$"}
    titles = [f"{score.title} {arrows[score.lower_is_better]}" for score in SCORES.values()]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\begin{{tabular}}{{l{'r' * (len(titles) + 3)}}}",
        "\\toprule",
        " & ".join(["", *titles, "parameters (M)", "GMAC", "seconds"]) + r" \\",
        "\\midrule",
    ]
    for row in found.rows:
        cells = [_cell(name, score) for name, score in row.scores.items()]
        cells += [f"{row.parameters / 1e6:.3g}", number(row.gmac), f"{fmean(row.seconds):.0f}"]
        mark = "$^\\dagger$" if row.independence == "not independent" else ""
        fewer = f" ({len(row.seeds)} {plural('seed', len(row.seeds))})" if len(row.seeds) != len(found.seeds) else ""
        lines.append(" & ".join([escape(row.name) + mark + fewer, *cells]) + r" \\")
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else "One seed, an anecdote"
    what = escape(f"{found.name}: {seeds}, {found.budget} each, {found.label_maps} label maps")
    caption = (
        f"{what}; $\\pm$ is the standard "
        f"deviation between seeds, $^*$ a significant difference from {escape(found.reference)} ($p < 0.05$, not "
        "corrected for the number of comparisons)."
    )
    if any(row.independence == "not independent" for row in found.rows):
        caption += " $^\\dagger$ is judged by a network that it learned by: not independent."
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", f"\\caption{{{caption}}}", "\\end{table}", ""])


def _cell(name: str, score: RowScore) -> str:
    own, change = score.estimate, score.gain
    if own is None:
        return "--"
    times = 100 if SCORES[name].unit == "share" else 1
    star = "$^*$" if change is not None and change.significant else ""
    spread = "" if own.spread is None else f" {{\\scriptsize $\\pm$ {times * own.spread:.2g}}}"
    return f"{times * own.value:.1f}{star}{spread}" if times == 100 else f"{number(own.value)}{star}{spread}"
