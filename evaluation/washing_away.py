"""What generators make of label maps of a single class: normalisation washes them away, SPADE does not (Fig. 3)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evaluation.report import TEMPLATES
from pipeline.checkpoints.file import load_checkpoint, resolve_checkpoint
from pipeline.config import Recipe
from pipeline.data.atomic import write_atomic
from pipeline.errors import InputError
from pipeline.networks.baselines.washing_away import layer_spreads, one_class_maps, with_plain_instance_norm
from pipeline.networks.generators import AnyGenerator
from pipeline.networks.noise import region_styles
from pipeline.networks.normalise import InstanceNorm
from pipeline.pages.line_chart import LineChart, Point, Series, line_chart
from pipeline.pages.render import write_page
from pipeline.pages.tables import Cell, Row, Table
from pipeline.runtime.seeding import record_seeds, style_noise

SCHEMA = 1
WASHED = 1 / 127.5
"""Pictures of two classes that differ by less everywhere are the same in 8 bits; of a range from -1 to 1."""
FLOOR = -9
"""The lowest power of ten of the figure; what is less, zero among it, lies there."""


@dataclass(frozen=True)
class Washing:
    """Of one generator."""

    name: str
    kind: str
    checkpoint: str
    """sha256."""
    spreads: dict[str, float]
    """By layer, in the order in which they run: the largest difference between two classes in any feature, after every
    convolution and normalisation; `picture` last, whose range is -1 to 1."""
    plain_spreads: dict[str, float] | None
    """The same with instance norms as everybody computes them, whose rounding noise grows; None where there is none."""
    colours: dict[str, tuple[float, ...]]
    """By class: the picture's mean colour, RGB 0 to 255."""

    @property
    def washed_away(self) -> bool:
        """Whether pictures of all classes are the same."""
        return self.spreads["picture"] < WASHED


@dataclass(frozen=True)
class WashingAway:
    """Everything that `show_washing_away` found."""

    classes: tuple[str, ...]
    size: tuple[int, int]
    generators: tuple[Washing, ...]

    def summary(self) -> str:
        """What each generator does, in a sentence."""
        parts = []
        for each in self.generators:
            if each.washed_away:
                parts.append(f"{each.name} draws the same for every class")
            else:
                parts.append(
                    f"{each.name} tells classes apart, by up to {each.spreads['picture'] / 2:.0%} of the range"
                )
        return "; ".join(parts) + "."


@torch.no_grad()
def show_washing_away(checkpoints: Sequence[str | Path], out: Path) -> WashingAway:
    """Draw a label map of nothing else for each class with each generator, all with the same style and noise, and write
    `washing_away.html` and `washing_away.json` to the folder `out`.

    Instance normalisation subtracts from every feature what a map of one class made of it, which is a constant; so
    what generators are given at the input alone is gone. Raises `InputError` where checkpoints are unreadable, or not
    of the same classes.
    """
    loaded = [load_checkpoint(resolve_checkpoint(checkpoint)) for checkpoint in checkpoints]
    if not loaded:
        raise InputError("give one checkpoint or more (--checkpoint)")
    first = loaded[0].recipe
    for each in loaded[1:]:
        if each.recipe.labels.classes != first.labels.classes:
            raise InputError(
                f"'{each.recipe.name}' is of other classes than '{first.name}'; give generators of the same data set"
            )
    names = [each.recipe.name for each in loaded]
    names = [name if names.count(name) == 1 else f"{name} ({index + 1})" for index, name in enumerate(names)]
    classes = first.labels.classes
    found: list[Washing] = []
    drawn: list[np.ndarray] = []
    for name, each in zip(names, loaded, strict=True):
        recipe = each.recipe
        if recipe.generator.kind == "sims":
            raise InputError(
                f"{name} mends what was pasted from a memory bank, and draws no label map alone; leave it out"
            )
        codes = one_class_maps(recipe.labels, recipe.data.height, recipe.data.width)[: len(classes)]
        pictures = torch.cat([_with_draws(each.generator, recipe)(one[None]) for one in codes])
        pixels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        drawn.append(pixels)
        plain = None
        if any(isinstance(module, InstanceNorm) for module in each.generator.modules()):
            plain = _spreads(with_plain_instance_norm(each.generator), recipe, codes)
        means = pixels.reshape(len(pixels), -1, 3).mean(1)
        found.append(
            Washing(
                name=name,
                kind=recipe.generator.kind,
                checkpoint=each.sha256,
                spreads=_spreads(each.generator, recipe, codes),
                plain_spreads=plain,
                colours={label: tuple(mean) for label, mean in zip(classes, means.round(2).tolist(), strict=True)},
            )
        )
    result = WashingAway(classes, (first.data.height, first.data.width), tuple(found))
    _write(out, result, drawn, first)
    return result


def _with_draws(generator: AnyGenerator, recipe: Recipe) -> Callable[[torch.Tensor], torch.Tensor]:
    """The generator with one style and one noise for all label maps."""
    settings, z = recipe.generator, None
    seeds = record_seeds(0, ["uniform"]) if settings.takes_seeds else None
    if settings.style_dim and settings.region_styles == "none":
        z = style_noise(0, "uniform", 0, settings.style_dim)[None]

    def draw(codes: torch.Tensor) -> torch.Tensor:
        label_input = generator.label_input(codes)
        own = z
        if settings.region_styles != "none":
            own = region_styles(record_seeds(0, ["uniform"]), 1, settings.style_dim)
            own = own.expand(-1, label_input.region_count, -1)
        pictures: torch.Tensor = generator(label_input, own, seeds)
        return pictures

    return draw


def _spreads(network: nn.Module, recipe: Recipe, codes: torch.Tensor) -> dict[str, float]:
    return layer_spreads(network, codes, draw=_with_draws(network, recipe))  # type: ignore[arg-type]


def _write(out: Path, found: WashingAway, drawn: Sequence[np.ndarray], recipe: Recipe) -> None:
    out.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {"schema": SCHEMA, "summary": found.summary(), **asdict(found)}
    for own, each in zip(fields["generators"], found.generators, strict=True):
        own["washed_away"] = each.washed_away
    write_atomic(out / "washing_away.json", json.dumps(fields, indent=2, allow_nan=False) + "\n")
    height, width = found.size
    palette = np.array(recipe.labels.palette, np.uint8)
    rows = [
        {
            "name": label,
            "map": np.broadcast_to(palette[number], (height, width, 3)).copy(),
            "pictures": [pictures[number] for pictures in drawn],
        }
        for number, label in enumerate(found.classes)
    ]
    write_page(
        out / "washing_away.html",
        TEMPLATES / "washing_away.html.j2",
        tables=[_table(found)],
        found=found,
        summary=found.summary(),
        rows=rows,
        chart=_chart(found),
    )


def _table(found: WashingAway) -> Table:
    """How far classes are apart in the picture, by generator."""
    rows = []
    for each in found.generators:
        share = each.spreads["picture"] / 2
        plain = None if each.plain_spreads is None else each.plain_spreads["picture"] / 2
        cells = (Cell(each.kind), Cell(f"{share:.3g}", (f"{plain:.3g}" if plain is not None else "",), value=share))
        rows.append(Row(each.name, (*cells, Cell("yes" if each.washed_away else "no"))))
    return Table("washing_away", "generator", ("kind", "difference", "washed away"), tuple(rows))


def _chart(found: WashingAway) -> LineChart:
    """The spread after each layer, on a logarithmic scale."""
    series: list[Series] = []
    for colour, each in enumerate(found.generators, 1):
        series.append(_series(each.name, each.spreads, colour))
        if each.plain_spreads is not None:
            name = f"{each.name}, instance norm in ordinary arithmetic"
            series.append(_series(name, each.plain_spreads, colour, dashed=True))
    top = max(1, *(math.ceil(point.y) for line in series for point in line.points))
    return line_chart(
        "Difference between classes by layer",
        series,
        x_ticks=[(0, "first layer"), (1, "picture")],
        y_ticks=[(power, "0" if power == FLOOR else f"1e{power}") for power in range(FLOOR, top + 1, 3)],
    )


def _series(name: str, spreads: dict[str, float], colour: int, *, dashed: bool = False) -> Series:
    last = max(1, len(spreads) - 1)
    points = [
        Point(place / last, _power(value), text=f"{name}, {layer}: {value:.3g}")
        for place, (layer, value) in enumerate(spreads.items())
    ]
    return Series(name, points, colour, dashed)


def _power(value: float) -> float:
    """Of ten, FLOOR at least."""
    return max(float(FLOOR), math.log10(value)) if value > 0 else float(FLOOR)
