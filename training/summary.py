"""One self-contained page about a run: what it came to, its curves, its last samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from pipeline.pages.line_chart import LineChart, Point, Series, line_chart
from pipeline.pages.render import data_uri, write_page
from pipeline.recipe_file import dump_recipe
from training.run_folder import RunFolder

Curve = list[tuple[float, float]]
"""Points (step, value)."""

POINTS = 300
"""A curve is thinned to the means of so many stretches."""


def write_summary(folder: RunFolder, recipe: Recipe, *, failure: str = "") -> None:
    """Write `summary.html` from what the run's folder holds, and the `failure` that ended the run, if one did.

    Nothing where no step has been reported yet.
    """
    entries = folder.read_stats()
    if not entries:
        return
    write_page(
        folder.summary,
        Path(__file__).with_name("summary.html.j2"),
        name=recipe.name,
        failure=failure,
        facts=_facts(recipe, entries),
        charts=[(title, _chart(title, curves)) for title, curves in _charts(entries).items()],
        samples=_samples(folder),
        recipe=dump_recipe(recipe),
    )


def _facts(recipe: Recipe, entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The table at the top."""
    last, seconds = entries[-1], sum(entry["seconds"] for entry in entries)
    size = recipe.training.batch_size
    facts = [
        ("Steps", f"{last['step']} of {recipe.training.steps}, {size} pictures each"),
        ("Pictures", f"{recipe.data.width}x{recipe.data.height}"),
        ("Time in steps", f"{seconds / 60:.1f} minutes: {last['step'] * size / seconds:.1f} images/s"),
        ("Waiting for data", f"{_share(entries, 'data_wait'):.1%} of that"),
    ]
    together = [entry for entry in entries if "communication" in entry]
    if together:
        share = _share(together, "communication")
        facts.append(
            ("Waiting for other workers", f"{share:.1%} of the time: for their part of a sum, and for the sum")
        )
    validated = [entry for entry in entries if "validation" in entry]
    if validated:
        by = recipe.training.best_by
        best = (min if by == "frechet" else max)(validated, key=lambda entry: entry["validation"][by])
        for name, entry in (("Last validation", validated[-1]), (f"Best by {by}", best)):
            scores = ", ".join(f"{key} {value:.4g}" for key, value in entry["validation"].items())
            facts.append((name, f"{scores} (step {entry['step']})"))
    facts += [("Rolled back", failure) for failure in last["failures"]]
    return facts


def _share(entries: Sequence[Mapping[str, Any]], name: str) -> float:
    """The share of the time of all entries, of which each has its own."""
    return sum(entry[name] * entry["seconds"] for entry in entries) / sum(entry["seconds"] for entry in entries)


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
        if "communication" in entry:
            values |= {("Waiting for other workers", "share of the time"): entry["communication"]}
        for (title, name), value in values.items():
            title = {"generator": "Generator's losses", "discriminator": "Discriminator's losses"}.get(title, title)
            # Distances and shares do not share an axis.
            title += " (distance)" if name == "frechet" else ""
            if math.isfinite(value):
                found.setdefault(title, {}).setdefault(name, []).append((entry["step"], value))
    return found


def _chart(title: str, curves: Mapping[str, Curve]) -> LineChart:
    """Curves that are thinned, each with its last value."""
    series = [
        Series(name, [Point(*point) for point in thin(curve)], colour, note=f"{curve[-1][1]:.4g}")
        for colour, (name, curve) in enumerate(curves.items(), 1)
    ]
    return line_chart(f"{title} by step", series)


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


def _samples(folder: RunFolder) -> dict[str, Any] | None:
    """The last grid of samples; None without any."""
    found = sorted((folder.path / "samples").glob("step-*.png"))
    if not found:
        return None
    step = int(found[-1].stem.removeprefix("step-"))
    return {"step": step, "source": data_uri(found[-1].read_bytes(), "image/png")}
