"""One self-contained page about a run: what it came to, its curves, its last samples."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config import Recipe
from pipeline.data.atomic import write_atomic
from pipeline.recipe_file import dump_recipe
from training.run_folder import RunFolder

Curve = list[tuple[float, float]]
"""Points (step, value)."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 220, 56, 24, 8
POINTS = 300
"""A curve is thinned to the means of so many stretches."""
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .15em 1em .15em 0; text-align: left; vertical-align: top }
figure { display: inline-block; margin: 0 1em 1em 0 } figcaption { font-weight: 600 }
img { max-width: 100% } pre { background: #f6f6f6; padding: 1em; overflow-x: auto } text { font-size: 11px }
"""


def write_summary(folder: RunFolder, recipe: Recipe, *, failure: str = "") -> None:
    """Write `summary.html` from what the run's folder holds, and the `failure` that ended the run, if one did.

    Nothing where no step has been reported yet.
    """
    entries = folder.read_stats()
    if not entries:
        return
    write_atomic(folder.summary, _page(folder, recipe, entries, failure))


def _page(folder: RunFolder, recipe: Recipe, entries: Sequence[Mapping[str, Any]], failure: str) -> str:
    title = html.escape(f"Training: {recipe.name}")
    facts = [*_facts(recipe, entries), *([("Ended by", failure)] if failure else [])]
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts)
    figures = "".join(chart(name, curves) for name, curves in _charts(entries).items())
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><table>{rows}</table><h2>Curves</h2>{figures}{_samples(folder)}"
        f"<details><summary>Recipe</summary><pre>{html.escape(dump_recipe(recipe))}</pre></details></html>\n"
    )


def _facts(recipe: Recipe, entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The table at the top."""
    last, seconds = entries[-1], sum(entry["seconds"] for entry in entries)
    size = recipe.training.batch_size
    facts = [
        ("Steps", f"{last['step']} of {recipe.training.steps}, {size} pictures each"),
        ("Pictures", f"{recipe.data.width}x{recipe.data.height}"),
        ("Time in steps", f"{seconds / 60:.1f} minutes: {last['step'] * size / seconds:.1f} images/s"),
        (
            "Waiting for data",
            f"{sum(entry['data_wait'] * entry['seconds'] for entry in entries) / seconds:.1%} of that",
        ),
    ]
    validated = [entry for entry in entries if "validation" in entry]
    if validated:
        by = recipe.training.best_by
        best = (min if by == "frechet" else max)(validated, key=lambda entry: entry["validation"][by])
        for name, entry in (("Last validation", validated[-1]), (f"Best by {by}", best)):
            scores = ", ".join(f"{key} {value:.4g}" for key, value in entry["validation"].items())
            facts.append((name, f"{scores} (step {entry['step']})"))
    facts += [("Rolled back", failure) for failure in last["failures"]]
    return facts


def _charts(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """The curves of each chart, by name."""
    found: dict[str, dict[str, Curve]] = {}
    for entry in entries:
        values = {tuple(name.split("/", 1)): value for name, value in entry["losses"].items()}
        groups = (
            ("scores", "Discriminator's scores"),
            ("gradient_norm", "Gradient norms"),
            ("validation", "Validation"),
        )
        for group, title in groups:
            values |= {(title, name): value for name, value in entry.get(group, {}).items()}
        values |= {("Images per second", "images/s"): entry["images_per_second"]}
        values |= {("Waiting for data", "share of the time"): entry["data_wait"]}
        for (title, name), value in values.items():
            title = {"generator": "Generator's losses", "discriminator": "Discriminator's losses"}.get(title, title)
            # Distances and shares do not share an axis.
            title += " (distance)" if name == "frechet" else ""
            found.setdefault(title, {}).setdefault(name, []).append((entry["step"], value))
    return found


def chart(title: str, curves: Mapping[str, Curve]) -> str:
    """Curves as an inline SVG picture with axes and a legend."""
    thinned = {name: thin(curve) for name, curve in curves.items()}
    points = [point for curve in thinned.values() for point in curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    right = right if right > left else left + 1

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (point[0] - left) / (right - left) * (WIDTH - LEFT - 8)
        y = TOP + (high - point[1]) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = []
    for share in (0, 0.5, 1):
        value, step = low + share * (high - low), left + share * (right - left)
        (_, y), (x, _) = place((left, value)), place((step, low))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
        anchor = "end" if share == 1 else "middle"
        parts.append(f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">{step:.0f}</text>')
    legend = []
    for number, (name, curve) in enumerate(thinned.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x},{y}" for x, y in map(place, curve))
        if len(curve) == 1:
            x, y = place(curve[0])
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        legend.append(f'<span style="color:{colour}">{html.escape(name)} {curve[-1][1]:.4g}</span>')
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}<br>{' &nbsp; '.join(legend)}</figure>"


def thin(curve: Curve) -> Curve:
    """A curve of at most `POINTS` points, each the mean of a stretch of it.

    >>> thin([(1, 2.0), (2, 4.0)])
    [(1, 2.0), (2, 4.0)]
    >>> thin([(float(x), float(x)) for x in range(600)])[:2]
    [(0.5, 0.5), (2.5, 2.5)]
    """
    size = -(-len(curve) // POINTS)
    stretches = [curve[start : start + size] for start in range(0, len(curve), size)]
    if size == 1:
        return curve
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in stretches]


def _samples(folder: RunFolder) -> str:
    """The last grid of samples, in the page itself."""
    found = sorted((folder.path / "samples").glob("step-*.png"))
    if not found:
        return ""
    data = base64.b64encode(found[-1].read_bytes()).decode()
    step = int(found[-1].stem.removeprefix("step-"))
    return (
        f"<h2>Samples after {step} steps</h2><p>Label maps, photographs, and below what the averaged weights make of "
        f'them.</p><img alt="samples" src="data:image/png;base64,{data}">'
    )
