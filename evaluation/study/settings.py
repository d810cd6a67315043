"""A study file: which recipes are compared, with which seeds, at which budget, by which segmenter and protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.config.settings import NonNegativeInt, Seed, Settings
from pipeline.errors import InputError
from pipeline.recipe_file import parse_settings, read_yaml_file

Text = Annotated[str, Field(min_length=1)]
Override = Annotated[str, Field(pattern=r"^[^=\s]+=")]
"""`section.field=value`, as `--set` takes it."""


class Row(Settings):
    """One thing that is compared."""

    recipe: Text | None = None
    """Its own recipe; None: that of the study."""
    set: tuple[Override, ...] = ()
    """Overrides, after those of the study."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """Its own, where the study's are too many to afford; what the page says of such rows is the weaker for it."""


class Budget(Settings):
    """How long every training takes; one of the three."""

    steps: PositiveInt | None = None
    """Optimiser steps."""
    images: PositiveInt | None = None
    """Pictures seen, the last step's rounded up: rows with larger batches take fewer steps."""
    minutes: PositiveFloat | None = None
    """Of steps, by the clock. Learning rates go by the steps of a row's recipe, at whose end it stops, if earlier."""

    @model_validator(mode="after")
    def _check(self) -> Budget:
        given = [name for name in Budget.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{' and '.join(given) or 'nothing'} is given; give one of steps, images and minutes")
        return self

    def __str__(self) -> str:
        name = next(name for name in Budget.model_fields if getattr(self, name) is not None)
        return f"{getattr(self, name):g} {name}" if name == "minutes" else f"{getattr(self, name):,} {name}"


class SegmenterChoice(Settings):
    """The network that scores the pictures of all rows."""

    kind: Text = "deeplab"
    """As `evaluate --segmenter` takes it."""
    weights: Text | None = None
    """What `train-segmenter` wrote, or a local file of its weights ..."""
    recipe: Text | None = None
    """... or a recipe, with whose section `segmenter` one is trained before all else, on the recipe's photographs."""

    @model_validator(mode="after")
    def _check(self) -> SegmenterChoice:
        if (self.weights is None) == (self.recipe is None) and not (self.kind.startswith("hf:") and not self.recipe):
            both = "both weights and a recipe are" if self.weights else "neither weights nor a recipe is"
            raise ValueError(f"{both} given; give weights, or a recipe with which the segmenter is trained")
        if self.recipe is not None and self.kind != "deeplab":
            raise ValueError(
                f"a segmenter of the kind '{self.kind}' is not trained here; give weights, or kind deeplab"
            )
        return self


class ProtocolChoice(Settings):
    """How pictures become scores."""

    name: Text = "native"
    """One of `evaluate --protocol`."""
    set: tuple[Override, ...] = ()
    """Its fields overridden, as `evaluate --set` does."""


class Study(Settings):
    """Everything that a study depends on, apart from the machine."""

    name: Text
    """For people: shown on the page."""
    recipe: Text | None = None
    """Of all rows that name none of their own. Paths are relative to where the command runs, as in recipes."""
    overrides: tuple[Override, ...] = ()
    """Of every row's recipe."""
    rows: Annotated[dict[Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,60}$")], Row], Field(min_length=1)]
    """By name. In files a list of overrides will do, and nothing for the recipe as it is."""
    reference: Text
    """The row from which the others' differences are told."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Of the trainings; every row has one with each, unless it has seeds of its own."""
    budget: Budget
    segmenter: SegmenterChoice
    protocol: ProtocolChoice = ProtocolChoice()
    vgg_weights: Text | None = None
    """VGG19 of the perceptual loss, as `train --vgg-weights` takes it."""
    trunk_weights: Text | None = None
    """A frozen backbone, as `train --trunk-weights` takes it."""
    synthesis_seed: NonNegativeInt = 0
    """Of the styles and the noise of the pictures that are scored."""
    examples: Annotated[int, Field(ge=0, le=50)] = 6
    """Label maps whose pictures the page shows, side by side."""

    @model_validator(mode="after")
    def _check(self) -> Study:
        if self.reference not in self.rows:
            raise ValueError(f"reference is '{self.reference}', and the rows are {', '.join(self.rows)}")
        for seeds in (self.seeds, *(row.seeds for row in self.rows.values() if row.seeds)):
            if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
                raise ValueError(f"seeds has {twice[0]} twice, which would be the same training")
        for name, row in self.rows.items():
            if row.recipe is None and self.recipe is None:
                raise ValueError(f"row '{name}' has no recipe; give the study one, or the row")
        said = {"training.seed": "seeds"} | ({} if self.budget.minutes else {"training.steps": "budget"})
        for override in (*self.overrides, *(each for row in self.rows.values() for each in row.set)):
            field = override.partition("=")[0].strip()
            if field in said:
                raise ValueError(f"{override} is what {said[field]} says, for all rows alike; take it out")
        return self

    def seeds_of(self, row: str) -> tuple[int, ...]:
        """The seeds of a row's trainings."""
        return self.rows[row].seeds or self.seeds


def load_study(path: Path) -> Study:
    """Read a study file. Raises `InputError`, one line that names the field, the value and the valid choices."""
    fields = read_yaml_file(path, what="study")
    if not isinstance(fields, dict):
        raise InputError(f"study {path} must be a mapping of fields: {', '.join(Study.model_fields)}")
    if isinstance(rows := fields.get("rows"), dict):
        fields["rows"] = {name: _read_row(row) for name, row in rows.items()}
    return parse_settings(Study, fields, source=str(path))


def _read_row(row: Any) -> Any:
    """A list of overrides, or nothing, as `Row` has them."""
    return {} if row is None else {"set": row} if isinstance(row, list) else row
