"""The recipes that ship: they load, and their labels are those that the data sets write."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pipeline.config import load_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["landscape", "camvid", "coco_stuff", "ade20k", "cityscapes"])
def test_a_recipe_has_the_labels_that_its_data_set_writes(name: str) -> None:
    space = importlib.import_module(f"pipeline.datasets.{name}").SPACE
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    assert recipe.labels == space
    assert recipe.data.train == Path("data", name, "train.parquet")
    assert recipe.data.validation == Path("data", name, "validation.parquet")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_states_its_hardware(path: Path) -> None:
    assert load_recipe(path).name == path.stem
    assert "# Hardware:" in path.read_text()
