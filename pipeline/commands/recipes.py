"""The verb `recipes`: those that come with spadework, a first one for data of one's own, and the schema for editors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from pipeline.command_line import DATA, OUT, RECIPE, Verbs
from pipeline.command_output import tell


@click.group(cls=Verbs)
def recipes() -> None:
    """Recipes: what a run depends on. Those of spadework go by their names: `spadework train camvid`."""


@recipes.command("list")
def list_() -> None:
    """List the recipes that come with spadework.

    \b
    Example:
      spadework recipes list
    """
    from pipeline.recipe_file import load_recipe
    from pipeline.shipped_recipes import shipped_recipes

    rows = []
    for name, path in shipped_recipes().items():
        data = load_recipe(path).data
        rows.append((name, f"{data.width}x{data.height}", read_about(path)))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:{width}}  {size:>9}  {about}" for name, size, about in rows]
    tell("\n".join(lines), recipes=[{"name": name, "size": size, "about": about} for name, size, about in rows])


def read_about(path: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#") or line == "#":
            break
        lines.append(line[1:].strip())
    return re.split(r"\.(?= [A-Z]|$)", " ".join(lines))[0]


@recipes.command()
@click.argument("recipe", type=RECIPE)
def show(recipe: Path) -> None:
    """Print a recipe as it is written, comments and all.

    \b
    Example:
      spadework recipes show camvid
    """
    from pipeline.recipe_file import load_recipe

    tell(recipe.read_text().rstrip("\n"), recipe=load_recipe(recipe))


@recipes.command()
@click.argument("train", type=DATA)
@click.option("--validation", type=DATA, help="Records to score by  [default: validation.parquet beside it, or in it]")
@click.option("--out", type=OUT, default="mine.yaml", show_default=True, help="File for the recipe.")
def new(train: str, validation: str | None, out: Path) -> None:
    """Write a first recipe for prepared data, with sizes and widths for this machine; it trains as it is.

    TRAIN is a Parquet file that prepare made, or the folder of it and its validation.parquet.

    \b
    Example:
      spadework recipes new data/mine --out first.yaml
    """
    from pipeline.datasets.starter import StarterRecipe

    if validation is None and "://" not in train and "*" not in train:
        folder = Path(train) if Path(train).is_dir() else Path(train).parent
        if (folder / "validation.parquet").is_file():
            validation = str(folder / "validation.parquet")
        if Path(train).is_dir() and (folder / "train.parquet").is_file():
            train = str(folder / "train.parquet")
    told = StarterRecipe.open(out).write_for(train, None if validation == train else validation)
    tell(told, recipe=out)


@recipes.command()
def schema() -> None:
    """Print the JSON schema of recipes, by which editors complete fields and show what each is for.

    \b
    Example:
      spadework recipes schema
    """
    from pipeline.recipe_schema import recipe_schema

    schema = recipe_schema()
    tell(json.dumps(schema, indent=1), schema=schema)
