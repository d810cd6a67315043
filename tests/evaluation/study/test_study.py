"""Study files, and a tiny study from its file to its page: killed and resumed, and nothing done twice."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli import main
from evaluation.scoring.protocols import Protocol
from evaluation.study.cells import Cell
from evaluation.study.page import write_study
from evaluation.study.settings import Study, load_study
from evaluation.study.study import StudyResult, read_recipes, run_study
from pipeline.errors import InputError
from pipeline.recipe_file import load_recipe
from tests.evaluation.conftest import SPACE, draw, write_records
from tests.pages import check_page
from training.budget import Spent, train_within
from training.step import GanStep


def write(path: Path, fields: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


@pytest.fixture
def fields(tmp_path: Path, data: Path, trained: Path) -> dict[str, Any]:
    """A study of two rows and two seeds, of three steps each."""
    recipe = {
        "name": "tiny",
        "labels": SPACE.model_dump(mode="json"),
        "data": {
            "train": str(data / "train.parquet"),
            "validation": str(data / "validation.parquet"),
            "height": 32,
            "width": 32,
        },
        "generator": {"channels": 2, "hidden": 4, "style_dim": 2},
        "discriminator": {"channels": 4, "layers": 2},
        "training": {"steps": 9, "batch_size": 2, "checkpoint_every": 1, "log_every": 1, "sample_every": 100},
    }
    return {
        "name": "tiny & small",
        "recipe": str(write(tmp_path / "recipe.yaml", recipe)),
        "overrides": ["training.learning_rate=0.001"],
        "rows": {"plain": None, "noise": ["generator.noise=true"]},
        "reference": "plain",
        "seeds": [0, 1],
        "budget": {"steps": 3},
        "segmenter": {"weights": str(trained)},
        "examples": 2,
    }


def study_of(tmp_path: Path, fields: dict[str, Any]) -> Study:
    return load_study(write(tmp_path / "study.yaml", fields))


def measured(found: StudyResult) -> list[Any]:
    """All but the clock's figures and the places of the pictures."""
    return [replace(row, seconds=(), images_per_second=(), images=()) for row in found.rows]


@pytest.mark.slow
def test_a_killed_study_ends_as_an_undisturbed_one_and_does_nothing_twice(
    tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path, fields)
    whole = run_study(study, tmp_path / "whole", trainer=train_within)
    steps, step = [], GanStep.__call__

    def stops(self: GanStep, *given: Any, **options: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:  # the last of the second training's three
            raise KeyboardInterrupt
        return step(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(GanStep, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, tmp_path / "parts", trainer=train_within)
    assert len(list((tmp_path / "parts" / "cells").glob("*/training.json"))) == 1
    steps.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            GanStep, "__call__", lambda self, *given, **options: (steps.append(1), step(self, *given, **options))[1]
        )
        resumed = run_study(study, tmp_path / "parts", trainer=train_within)
    assert len(steps) == 4 * 3 - 5
    assert measured(resumed) == measured(whole)
    assert [row.steps for row in whole.rows] == [(3, 3), (3, 3)]

    # Nothing is left to do, whoever asks; and of a study with one more row only that row.
    monkeypatch.setattr("evaluation.study.cells.evaluate", lambda *_, **__: pytest.fail("scored again"))
    assert run_study(study, tmp_path / "parts", trainer=_refuse).rows == resumed.rows
    more = study_of(tmp_path, fields | {"rows": {**fields["rows"], "wide": ["generator.hidden=8"]}})
    with pytest.raises(RuntimeError, match="8"):
        run_study(more, tmp_path / "parts", trainer=_refuse)

    write_study(tmp_path / "page", whole, examples=2)
    _check_page(tmp_path / "page", whole)


def _refuse(recipe: Any, out: Path, **_: Any) -> Spent:
    raise RuntimeError(f"trained again, hidden {recipe.generator.hidden}")


def _check_page(folder: Path, found: StudyResult) -> None:
    page = (folder / "study.html").read_text()
    check_page(page)
    assert page.count("data:image/png;base64,") == 2 * (2 + len(found.rows))
    assert "2 seeds are too few for a claim" in page
    assert "http" not in page
    content = json.loads((folder / "study.json").read_text())
    assert content["summary"].endswith("Of 2 seeds, 3 steps each.")
    with (folder / "study.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == ["plain", "noise"]
    noise = found.rows[1].scores["mean_iou"]
    assert float(lines[1]["mean_iou_gain_p"]) == noise.gain.p
    assert float(lines[1]["mean_iou_seed_1"]) == noise.seeds[1]
    assert lines[0]["mean_iou_gain"] == ""
    # The noise has a scale for each of the channels before each normalisation, and nothing else.
    assert 0 < int(lines[1]["parameters"]) - int(lines[0]["parameters"]) < 1000
    assert float(lines[0]["gmac"]) > 0
    table = (folder / "study.tex").read_text()
    assert r"\caption{tiny \& small: 2 seeds" in table
    assert table.count(r"\\") == 3


@pytest.mark.slow
def test_the_command_trains_its_segmenter_calls_one_seed_an_anecdote_and_ends_by_the_clock(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    segmenter = yaml.safe_load(Path(fields["recipe"]).read_text())
    segmenter["segmenter"] = {"backbone": "mobilenet_v3_large", "trunk": "early", "steps": 2, "batch_size": 2}
    fields |= {
        "segmenter": {"recipe": str(write(tmp_path / "segmenter.yaml", segmenter))},
        "seeds": [4],
        "rows": {"plain": None},
        "budget": {"minutes": 1e-6},
        "examples": 0,
    }
    command = ["study", str(write(tmp_path / "study.yaml", fields)), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "One seed is an anecdote" in done.output
    content = json.loads((tmp_path / "out" / "study.json").read_text())
    (row,) = content["rows"]
    assert row["steps"] == [1]  # of nine: the first took longer than the budget
    assert row["scores"]["mean_iou"]["estimate"]["spread"] is None
    again = CliRunner().invoke(main, command, catch_exceptions=False)
    assert again.output.splitlines()[-2:] == done.output.splitlines()[-2:]
    assert json.loads((tmp_path / "out" / "study.json").read_text()) == content


@pytest.mark.slow
def test_a_row_with_fewer_seeds_says_so(tmp_path: Path, fields: dict[str, Any]) -> None:
    fields["rows"]["noise"] = {"set": fields["rows"]["noise"], "seeds": [1]}
    found = run_study(study_of(tmp_path, fields | {"budget": {"steps": 1}}), tmp_path / "out", trainer=train_within)
    assert [row.seeds for row in found.rows] == [(0, 1), (1,)]
    noise = found.rows[1].scores["mean_iou"]
    assert len(noise.seeds) == 1 and noise.estimate.spread is None and noise.gain is not None
    assert any("are anecdotes" in line and line.endswith("noise.") for line in found.warnings)
    write_study(tmp_path / "page", found, examples=1)
    with (tmp_path / "page" / "study.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines[1]["mean_iou_seed_0"] == "" and float(lines[1]["mean_iou_seed_1"]) == noise.seeds[0]
    assert "<small>1 seed</small>" in (tmp_path / "page" / "study.html").read_text()
    assert "noise (1 seed)" in (tmp_path / "page" / "study.tex").read_text()
    with pytest.raises(InputError, match="seeds has 1 twice"):
        study_of(tmp_path, fields | {"rows": {"plain": {"seeds": [1, 1]}}})


def test_budgets_are_steps_of_every_recipe(tmp_path: Path, fields: dict[str, Any]) -> None:
    fields |= {"rows": {"plain": None, "large": {"set": ["training.batch_size=4"]}}, "budget": {"images": 30}}
    recipes = read_recipes(study_of(tmp_path, fields))
    assert {key: (each.training.steps, each.training.seed) for key, each in recipes.items()} == {
        ("plain", 0): (15, 0),
        ("plain", 1): (15, 1),
        ("large", 0): (8, 0),
        ("large", 1): (8, 1),
    }
    recipes = read_recipes(study_of(tmp_path, fields | {"budget": {"minutes": 2}}))
    assert recipes["large", 1].training.steps == 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sedes": [1]}, "unknown field 'sedes'; did you mean 'seeds'?"),
        ({"rows": {"a": {"sett": []}}}, "unknown field 'rows.a.sett'; did you mean 'set'?"),
        ({"reference": "best"}, "reference is 'best', and the rows are plain, noise"),
        ({"seeds": [1, 2, 1]}, "seeds has 1 twice"),
        ({"seeds": []}, "seeds is []"),
        ({"budget": {"steps": 3, "minutes": 1}}, "steps and minutes is given; give one of"),
        ({"budget": {}}, "nothing is given; give one of"),
        ({"segmenter": {}}, "neither weights nor a recipe is given"),
        ({"segmenter": {"weights": "a", "recipe": "b"}}, "both weights and a recipe are given"),
        ({"rows": {"plain": ["training.steps=5"]}}, "training.steps=5 is what budget says"),
        ({"overrides": ["training.seed=5"]}, "training.seed=5 is what seeds says"),
        ({"recipe": None}, "row 'plain' has no recipe"),
        ({"rows": {"plain": ["noise"]}}, "rows.plain.set.0 is 'noise'"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, fields: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        study_of(tmp_path, fields | changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_one_name_twice_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    text = write(tmp_path / "study.yaml", fields).read_text().replace("  noise:\n", "  plain:\n")
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(InputError, match="the key 'plain' twice in one section in line 7; take one of them out"):
        load_study(tmp_path / "study.yaml")


def change_recipe(path: Path, fields: dict[str, Any], section: str, value: Any) -> str:
    recipe = yaml.safe_load(Path(fields["recipe"]).read_text())
    recipe[section] = recipe[section] | value
    return str(write(path, recipe))


def test_what_does_not_fit_is_refused_before_any_training(tmp_path: Path, fields: dict[str, Any], data: Path) -> None:
    def refused(said: str, **changes: Any) -> None:
        with pytest.raises(InputError, match=said):
            run_study(study_of(tmp_path, fields | changes), tmp_path / "out", trainer=_refuse)

    classes = {"classes": ["ground", "wall", "light"]}
    write_records(
        tmp_path / "other.parquet", [draw(1), draw(2)], SPACE.model_copy(update={"classes": (*classes["classes"],)})
    )
    both = {"train": str(tmp_path / "other.parquet"), "validation": str(tmp_path / "other.parquet")}
    other = change_recipe(tmp_path / "labels.yaml", fields, "labels", classes)
    other = change_recipe(tmp_path / "labels.yaml", fields | {"recipe": other}, "data", both)
    refused("row 'b' has another label space than row 'plain'", rows={"plain": None, "b": {"recipe": other}})

    write_records(tmp_path / "fewer.parquet", [draw(1), draw(2)])
    fewer = [f"data.train={tmp_path / 'fewer.parquet'}"]
    refused("row 'b' has other data sets than row 'plain'", rows={"plain": None, "b": fewer})
    refused("row 'b' has another size of pictures", rows={"plain": None, "b": ["data.height=64"]})
    refused("row 'b': .*unknown field 'generator.nose'", rows={"plain": None, "b": ["generator.nose=true"]})
    refused("row 'plain': .*decay_steps is 5, more than the 3 steps", overrides=["training.decay_steps=5"])
    refused("does not exist|do not exist", segmenter={"weights": str(tmp_path / "none")})
    refused("label space", segmenter={"recipe": other})
    refused("there is no protocol 'best'", protocol={"name": "best"})
    refused("trunk weights .* do not exist", trunk_weights="none.pth")
    assert not (tmp_path / "out").exists()


def test_a_cell_is_named_by_what_made_it(tmp_path: Path, fields: dict[str, Any]) -> None:
    recipe = read_recipes(study_of(tmp_path, fields))["plain", 0]
    protocol = Protocol(name="native")
    cell = Cell(
        recipe,
        None,
        ("a", "b"),
        train_within,
        None,
        None,
        (None, None),
        "deeplab",
        tmp_path,
        "c",
        protocol,
        0,
        tmp_path,
    )
    moved = recipe.model_copy(
        update={"name": "other", "data": recipe.data.model_copy(update={"train": "x", "validation": "y"})}
    )
    assert pickle.loads(pickle.dumps(cell)) == cell  # For Ray.
    assert replace(cell, recipe=moved, segmenter_weights=tmp_path / "z").path == cell.path
    for changed in (
        replace(cell, contents=("a", "c")),
        replace(cell, minutes=3.0),
        replace(cell, threads=2),
        replace(cell, weights_sha256=("d", None)),
        replace(cell, recipe=recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 1})})),
    ):
        assert changed.training != cell.training
    for scored in (replace(cell, segmenter_sha256="d"), replace(cell, synthesis_seed=1)):
        assert (scored.training, scored.path == cell.path) == (cell.training, False)


@pytest.mark.parametrize(("name", "rows", "trainings"), [("paper_landscape", 21, 31), ("paper_camvid", 5, 15)])
def test_the_papers_studies_load_and_all_their_recipes_do(
    name: str, rows: int, trainings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[3]
    for folder in ("configs", "weights"):
        (tmp_path / folder).symlink_to(root / folder)
    (tmp_path / "runs" / "camvid_perceptual").mkdir(parents=True)  # which the user trains before
    monkeypatch.chdir(tmp_path)
    study = load_study(Path("configs/studies") / f"{name}.yaml")
    recipes = read_recipes(study)
    assert (len(study.rows), len(recipes)) == (rows, trainings)
    for row in ("SPADE", "pix2pixHD", "pix2pixHD++", "CRN", "SIMS"):
        assert len(study.seeds_of(row)) >= 3
    # One size, one data set, one network to learn by, and another to be judged by.
    assert len({(each.data.height, each.data.width, each.data.train) for each in recipes.values()}) == 1
    learned = {each.losses.perceptual_network for each in recipes.values()}
    assert len(learned) == 1 and study.segmenter.recipe is not None
    assert load_recipe(Path(study.segmenter.recipe)).labels == recipes["SPADE", 0].labels
    kinds = {row: recipes[row, 0].generator.kind for row in study.rows}
    assert kinds["SPADE"] == "spade" and kinds["CRN"] == "crn" and kinds["pix2pixHD"] == "pix2pixhd"
    assert {each.discriminator.kind for each in recipes.values()} == {"patchgan"}
    assert all(each.training.decay_steps == each.training.steps // 2 for each in recipes.values())
    dumped = [each.model_dump_json(exclude={"name"}) for (_, seed), each in recipes.items() if seed == 0]
    assert len(set(dumped)) == rows  # no row is another one by mistake
