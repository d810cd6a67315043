"""The hook that scores a generator while it is trained."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli import main
from evaluation.evaluate import evaluate
from evaluation.validation import Validation
from pipeline.checkpoints.file import load_checkpoint
from pipeline.errors import InputError
from pipeline.recipe_file import dump_recipe
from tests.evaluation.conftest import SIZE, draw, make_recipe, noise, photograph, write_pictures

RECORDS = [draw(index) for index in range(100, 106)]
"""Those of the validation set."""


def draw_photographs(ids: Sequence[str], codes: np.ndarray) -> np.ndarray:
    """A perfect generator, which checks what it is given."""
    by_id = {record.id: record for record in RECORDS}
    for name, code in zip(ids, codes, strict=True):
        label = by_id[name].label
        assert np.array_equal((code - 1) // 2, np.where(label == 255, 3, label))
    return np.stack([photograph(by_id[name], 0) for name in ids])


def draw_noise(ids: Sequence[str], codes: np.ndarray) -> np.ndarray:
    by_id = {record.id: record for record in RECORDS}
    return np.stack([noise(by_id[name], 0) for name in ids])


@pytest.fixture
def validation(data: Path, trained: Path) -> Validation:
    return pickle.loads(pickle.dumps(Validation(make_recipe(data), "deeplab", trained)))


def test_scores_are_those_of_evaluate(validation: Validation, data: Path, trained: Path, tmp_path: Path) -> None:
    """Of noise, and for photographs the ceiling at no distance; again without reading the segmenter anew."""
    images = write_pictures(tmp_path / "images", RECORDS, noise)
    reference = data / "validation.parquet"
    expected = evaluate(images, reference, tmp_path / "out", segmenter_weights=trained, examples=0)
    for _ in range(2):
        found = validation(draw_noise, torch.device("cpu"))
        labels, distance = expected.synthesized.labels["native"], expected.synthesized.segmenter
        assert distance
        assert found["mean_iou"] == pytest.approx(labels.mean_iou, abs=1e-6)
        assert found["accuracy"] == pytest.approx(labels.accuracy, abs=1e-6)
        assert found["frechet"] == pytest.approx(distance.frechet, rel=1e-3)
    perfect = validation(draw_photographs, torch.device("cpu"))
    assert perfect["mean_iou"] == pytest.approx(expected.ceiling.labels["native"].mean_iou, abs=1e-6)
    assert perfect["mean_iou"] > 2 * found["mean_iou"]
    assert perfect["frechet"] == pytest.approx(0, abs=1e-6)


def test_only_the_first_records_count(data: Path, trained: Path) -> None:
    recipe = make_recipe(data)
    training = recipe.training.model_copy(update={"validation_maps": 2})
    seen: list[str] = []

    def synthesize(ids: Sequence[str], codes: np.ndarray) -> np.ndarray:
        seen.extend(ids)
        return np.zeros((len(ids), SIZE, SIZE, 3), np.uint8)

    Validation(recipe.model_copy(update={"training": training}), "deeplab", trained)(synthesize, torch.device("cpu"))
    assert seen == ["scene-100", "scene-101"]


def test_a_segmenter_of_other_classes_is_refused(data: Path, trained: Path) -> None:
    recipe = make_recipe(data)
    labels = recipe.labels.model_copy(update={"classes": ("a", "b", "c")})
    with pytest.raises(InputError, match=r"knows 3 classes \(ground, wall, lamp, \.\.\.\), the recipe has 3 \(a, b, c"):
        Validation(recipe.model_copy(update={"labels": labels}), "deeplab", trained)


def test_the_verb_train_hands_it_to_training(data: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(make_recipe(data)))
    small = ["generator.channels=2", "generator.hidden=4", "discriminator.channels=4", "discriminator.layers=3"]
    settings = [*small, "training.batch_size=4", "training.steps=4", "training.validate_every=1"]
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--workers", "0"]
    options = ["--segmenter-weights", str(trained), *(word for field in settings for word in ("--set", field))]
    result = CliRunner().invoke(main, [*command, *options])
    assert result.exit_code == 0, result.output
    entries = [json.loads(line) for line in (tmp_path / "run/stats.jsonl").read_text().splitlines()]
    validated = {entry["step"]: entry["validation"] for entry in entries if "validation" in entry}
    assert list(validated) == [3, 4]  # an epoch of twelve records, and the end
    assert all(set(scores) == {"mean_iou", "accuracy", "frechet"} for scores in validated.values())
    best = max(validated, key=lambda step: validated[step]["mean_iou"])
    assert load_checkpoint(tmp_path / "run/best.safetensors").step == best
    assert "Best by mean_iou" in (tmp_path / "run/summary.html").read_text()
