"""A judge whose weights a generator learned by is not independent, and every report says so."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from evaluation.compare import compare
from evaluation.evaluate import evaluate
from evaluation.scoring.independence import independence, judge_sha256
from evaluation.study.page import write_study
from evaluation.study.settings import load_study
from evaluation.study.study import run_study
from evaluation.usefulness.usefulness import _warnings
from pipeline.checkpoints.file import halve, load_checkpoint
from pipeline.errors import InputError
from pipeline.pretrained.backbones import backbone_sha256
from pipeline.recipe_file import parse_recipe
from tests.evaluation.conftest import SPACE, make_recipe
from training.budget import train_within
from training.objectives.trunk import load_trunk
from training.train import train

pytestmark = pytest.mark.slow


def fields_of(data: Path, **losses: Any) -> dict[str, Any]:
    train = {"train": str(data / "train.parquet"), "validation": str(data / "validation.parquet")}
    return {
        "name": "tiny",
        "labels": SPACE.model_dump(mode="json"),
        "data": {**train, "height": 32, "width": 32},
        "generator": {"channels": 2, "hidden": 4},
        "discriminator": {"channels": 4, "layers": 2},
        "losses": losses,
        "training": {"steps": 1, "batch_size": 2},
    }


def test_the_same_backbone_is_known_in_any_file(trained: Path, tmp_path: Path) -> None:
    own = backbone_sha256(trained)
    assert own == load_trunk(trained).sha256 == judge_sha256("deeplab", trained)
    assert judge_sha256("upernet-resnet101", trained) is None
    state = load_file(trained / "segmenter.safetensors")
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halves, tmp_path / "half.safetensors")
    torch.save({"state_dict": state}, tmp_path / "torch.pth")
    body = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    torch.save(body, tmp_path / "body.pth")
    assert {backbone_sha256(path) for path in sorted(tmp_path.iterdir())} == {own}
    key = next(key for key in body if key.endswith("weight"))
    torch.save(body | {key: body[key] + 0.01}, tmp_path / "other.pth")
    assert backbone_sha256(tmp_path / "other.pth") != own


def test_what_is_said_of_pictures() -> None:
    assert independence({"learned_by": {"perceptual network": "a"}}, "a") == "not independent"
    assert independence({"learned_by": {"perceptual network": "b"}}, "a") == "independent"
    assert independence({"learned_by": {}}, "a") == "independent"
    assert independence({"learned_by": {"perceptual network": "b"}}, None) == "independent"
    assert independence({"checkpoint": "of an earlier version"}, "a") == "unknown"


def test_from_a_recipe_to_every_report(trained: Path, data: Path, tmp_path: Path) -> None:
    """One row learns by the segmenter that judges, one by a copy of it in another folder, one by none."""
    copy = tmp_path / "copy.pth"
    torch.save(load_file(trained / "segmenter.safetensors"), copy)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(fields_of(data)))
    study = {
        "name": "judged",
        "recipe": str(recipe),
        "rows": {
            "alone": ["losses.perceptual=0"],
            "judge": [f"losses.perceptual_network=segmenter:{trained}"],
            "copy": [f"losses.perceptual_network=segmenter:{copy}"],
        },
        "reference": "alone",
        "seeds": [0],
        "budget": {"steps": 1},
        "segmenter": {"weights": str(trained)},
        "examples": 0,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    found = run_study(load_study(tmp_path / "study.yaml"), tmp_path / "out", trainer=train_within)
    verdicts = {row.name: row.independence for row in found.rows}
    assert verdicts == {"alone": "independent", "judge": "not independent", "copy": "not independent"}
    # The same weights in two places made the same training.
    assert found.rows[1].images == found.rows[2].images != found.rows[0].images
    assert sum("NOT INDEPENDENT" in line for line in found.warnings) == 2
    write_study(tmp_path / "page", found, examples=0)
    page = (tmp_path / "page" / "study.html").read_text()
    assert page.count("judged by a network that it learned by") == 2
    assert "Row &#39;judge&#39;: NOT INDEPENDENT" in page
    with (tmp_path / "page" / "study.csv").open() as file:
        assert [line["independence"] for line in csv.DictReader(file)] == list(verdicts.values())
    assert (tmp_path / "page" / "study.tex").read_text().count(r"$^\dagger$") == 3
    write_study(tmp_path / "one", replace(found, rows=found.rows[:1], warnings=()), examples=0)
    assert r"\dagger" not in (tmp_path / "one" / "study.tex").read_text()

    reports = []
    for row in found.rows[:2]:
        scores = evaluate(
            row.images[0],
            data / "validation.parquet",
            tmp_path / row.name,
            segmenter_weights=trained,
            device="cpu",
            examples=0,
            baselines={"other": found.rows[1].images[0]},
        )
        reports.append(tmp_path / row.name)
        assert scores.independence == {"synthesized": verdicts[row.name], "other": "not independent"}
        said = [line for line in scores.warnings if "NOT INDEPENDENT" in line]
        assert len(said) == 1 + (row.name == "judge") and "train the judge apart" in said[0]
        for name in ("report.html", "report.md"):
            text = (tmp_path / row.name / name).read_text()
            assert ("are none that the generator learned by" in text.replace("&#39;", "'")) == (row.name == "alone")
        assert json.loads((tmp_path / row.name / "report.json").read_text())["independence"] == scores.independence
    compared = compare(reports, tmp_path / "compared")
    assert [row["independence"] for row in compared.rows] == ["independent", "not independent"]
    assert ["NOT INDEPENDENT" in line for line in compared.warnings] == [True, False]  # and that maps are few

    # Trainings of segmenters that begin with these weights are no judges of these pictures either.
    from evaluation.scoring.picture_sets import PictureSet

    sets = {row.name: PictureSet.open(row.images[0], what="set") for row in found.rows}
    lines = list(_warnings(3, "deeplab", sets, trained))
    assert [line.split(":")[0] for line in lines if "NOT INDEPENDENT" in line] == ["judge", "copy"]
    assert not list(_warnings(3, "deeplab", sets, None))


def test_a_checkpoint_keeps_the_hash_in_half_the_bytes_too(trained: Path, data: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(fields_of(data, perceptual_network=f"segmenter:{trained}"), source="test")
    folder = train(recipe, tmp_path / "run", workers=0).folder
    halve(folder, tmp_path / "half.safetensors")
    for path in (folder, tmp_path / "half.safetensors"):
        assert load_checkpoint(path).learned_by == {"perceptual network": backbone_sha256(trained)}
    alone = parse_recipe(fields_of(data, perceptual=0), source="test")
    assert load_checkpoint(train(alone, tmp_path / "alone", workers=0).folder).learned_by == {}


def test_a_perceptual_network_that_is_not_there_or_named_twice_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(fields_of(data, perceptual_network="segmenter:none"), source="test")
    with pytest.raises(InputError, match="perceptual_network: none does not exist; `spadework train-segmenter` makes"):
        train(recipe, tmp_path / "run", workers=0)
    with pytest.raises(InputError, match="both name a perceptual network; give one of them"):
        train(recipe, tmp_path / "run", workers=0, vgg_weights=data / "train.parquet")
    with pytest.raises(InputError, match=r"losses\.perceptual_network is 'vgg': "):
        parse_recipe(fields_of(data, perceptual_network="vgg"), source="test")
    assert not (tmp_path / "run").exists()
    assert make_recipe(data).losses.perceptual_segmenter is None
