"""Recipes by name, the schema that editors use, and a first recipe for prepared data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

import cli
from pipeline.checkpoints.file import resolve_checkpoint
from pipeline.datasets.landscape import dataset as landscape
from pipeline.recipe_file import RecipeLoader, load_recipe
from pipeline.recipe_schema import recipe_schema
from pipeline.shipped_recipes import FOLDER, find_recipe, find_study, shipped_recipes


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.main, ["recipes", *words])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without configs/, as where a wheel is used."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_recipes_are_found_by_name(elsewhere: Path) -> None:
    assert find_recipe("camvid") == find_recipe("configs/camvid.yaml") == FOLDER / "camvid.yaml"
    assert load_recipe(Path("camvid")).name == "camvid"
    assert find_study("pictures_landscape") == FOLDER / "studies" / "pictures_landscape.yaml"
    assert resolve_checkpoint("untrained:demo") == f"untrained:{FOLDER / 'demo.yaml'}"
    # What is there goes before; a folder of data is not meant.
    (elsewhere / "camvid").mkdir()
    assert find_recipe("camvid") == FOLDER / "camvid.yaml"
    (elsewhere / "camvid" / "generator.safetensors").touch()
    assert find_recipe("camvid") == Path("camvid")
    (elsewhere / "demo").touch()
    assert find_recipe("demo") == Path("demo")
    for other in ("nowhere", "nowhere.yaml", "runs/camvid", "configs/camvid", "/camvid", "", "s3://a/camvid"):
        assert find_recipe(other) == Path(other)


def test_list_and_show() -> None:
    lines = run("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    camvid = next(line for line in lines if line.startswith("camvid "))
    about = "Street scenes of CamVid (367 photographs), 11 classes: a real data set that two CPU cores can manage"
    assert re.fullmatch(rf"camvid +128x96  {re.escape(about)}", camvid)
    assert run("show", "camvid").output == (FOLDER / "camvid.yaml").read_text()
    missing = run("show", "camvit")
    assert missing.exit_code == 2
    assert missing.stderr == (
        "Error: recipe camvit does not exist; give a file, or a name of `spadework recipes list`\n"
    )


def test_new_writes_a_recipe_for_prepared_data(elsewhere: Path) -> None:
    landscape.prepare(elsewhere / "data", train=2, validation=1, height=64, width=96, seed=0, workers=1)
    result = run("new", "data", "--out", "first.yaml")
    assert result.exit_code == 0, result.output
    recipe = load_recipe(Path("first.yaml"))
    assert (recipe.data.train, recipe.data.validation) == ("data/train.parquet", "data/validation.parquet")
    assert (recipe.data.height, recipe.data.width, recipe.labels) == (64, 96, landscape.SPACE)
    assert run("new", "data", "--out", "first.yaml").exit_code == 2
    alone = run("new", "data/validation.parquet", "--out", "alone.yaml")
    assert alone.exit_code == 0
    assert "There are no validation records" in Path("alone.yaml").read_text()


def problems(fields: object) -> list[str]:
    checker = jsonschema.Draft202012Validator(recipe_schema())
    return [error.message for error in checker.iter_errors(fields)]


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_schema_takes_what_is_taken(name: str) -> None:
    assert problems(yaml.load(shipped_recipes()[name].read_text(), RecipeLoader)) == []


def test_the_schema_refuses_what_is_refused_and_says_what_fields_are_for() -> None:
    schema = json.loads(run("schema").output)
    assert schema == recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    fields = yaml.load(shipped_recipes()["camvid"].read_text(), RecipeLoader)
    for section, wrong in (
        ("labels", "street"),
        ("data", {**fields["data"], "heigth": 3}),
        ("training", {**fields["training"], "precision": "bf17"}),
        ("generator", {**fields["generator"], "channels": 0}),
        ("generator", {"kind": "crn", "hidden": 4}),
    ):
        assert problems({**fields, section: wrong}), section
    channels = schema["$defs"]["GeneratorSettings"]["properties"]["channels"]
    assert channels["description"].startswith("Width of the last block; earlier ones have up to 16 times as many")
    described = [
        "description" in value for part in schema["$defs"].values() for value in part.get("properties", {}).values()
    ]
    assert sum(described) > 0.9 * len(described)
