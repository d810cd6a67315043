"""Whether styles matter, measured on generators of which the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evaluation.style_transfer import (
    LightingClassifier,
    StyledRecord,
    colour_statistics,
    evaluate_style,
    measure,
    statistics_of,
    style_grid,
)
from pipeline.data.images import decode_image
from pipeline.data.records import RECORD_FIELDS, DatasetInfo, Record, RecordWriter
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.recipe_file import dump_recipe, parse_recipe

SPACE = LabelSpace(classes=("sky", "cloud", "ground"))
LIGHTS = {"dawn": (230, 150, 120), "day": (90, 160, 240), "night": (10, 15, 40)}


def scene(index: int, size: int = 32) -> StyledRecord:
    """Sky and a cloud above ground, all of it in one lighting."""
    random = np.random.default_rng(index)
    lighting = list(LIGHTS)[index % 3]
    label = np.full((size, size), 2, np.uint8)
    horizon = int(random.integers(size // 4, 3 * size // 4))
    label[:horizon] = 0
    label[: horizon // 2, : size // 2] = 1
    own = np.array([[0, 0, 0], [20, 20, 20], [-60, -40, -30]])[label]
    image = np.array(LIGHTS[lighting]) + own + random.normal(0, 10, (size, size, 3))
    return StyledRecord(Record(f"s{index}", label, None, image.round().clip(0, 255).astype(np.uint8)), lighting)


def write_scenes(path: Path, count: int, *, first: int = 0, space: LabelSpace = SPACE) -> Path:
    fields = (*RECORD_FIELDS, pa.field("mood", pa.string()))
    with RecordWriter(path, DatasetInfo(space), fields=fields) as writer:
        for styled in map(scene, range(first, first + count)):
            record = styled.record
            writer.write({"id": record.id, "label": record.label, "image": record.image, "mood": styled.lighting})
    return path


@pytest.fixture(scope="module")
def scenes() -> list[StyledRecord]:
    return [scene(index) for index in range(30)]


@pytest.fixture(scope="module")
def classifier(scenes: list[StyledRecord]) -> LightingClassifier:
    features = np.stack([statistics_of(styled.record, SPACE) for styled in scenes])
    return LightingClassifier(features, [styled.lighting for styled in scenes])


def test_colour_statistics_by_hand() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1] = (255, 0, 51), (0, 0, 51), (0, 102, 0)
    sky = np.array([[True, True], [False, False]])
    expected = [0.5, 0, 0.2, 0.5, 0, 0, 0, 0.4, 0, 0, 0, 0]
    assert colour_statistics(image, sky) == pytest.approx(expected)
    whole = colour_statistics(image, np.zeros_like(sky))  # no sky at all
    assert whole[:6] == pytest.approx(whole[6:])


def test_the_classifier_measures_in_deviations() -> None:
    """Two lightings apart in a feature that hardly varies, beside one that varies wildly."""
    random = np.random.default_rng(0)
    lightings = ["a", "b"] * 200
    features = np.stack([np.tile([0.0, 1.0], 200) + random.normal(0, 0.2, 400), random.normal(0, 3, 400)], axis=1)
    classifier = LightingClassifier(features, lightings)
    assert classifier.lightings == ("a", "b")
    assert classifier(np.array([[0.1, 3.0], [0.9, -3.0], [0.4, 0.0], [0.6, 0.0]])).tolist() == [0, 1, 0, 1]


def test_a_generator_that_follows_styles_agrees_always_and_one_that_does_not_by_chance(
    scenes: list[StyledRecord], classifier: LightingClassifier
) -> None:
    lightings = {styled.record.id: styled.lighting for styled in scenes}

    def follow(place: Record, style: Record) -> np.ndarray:
        assert place.id != style.id
        return np.full((32, 32, 3), LIGHTS[lightings[style.id]], np.uint8)

    found = measure(follow, classifier, scenes, SPACE, maps=8, seed=0)
    assert found.ceiling == 1
    assert found.agreement == 1
    assert found.confusion.tolist() == [[8, 0, 0], [0, 8, 0], [0, 0, 8]]

    def ignore(place: Record, style: Record) -> np.ndarray:
        return place.image

    found = measure(ignore, classifier, scenes, SPACE, maps=8, seed=0)
    assert found.agreement == pytest.approx(1 / 3)
    # Those of the first eight photographs, whatever was asked.
    assert found.confusion.tolist() == [[3, 3, 2]] * 3


def test_the_grid_shows_styles_above_what_was_made_of_them(scenes: list[StyledRecord]) -> None:
    grid = style_grid(lambda place, style: style.image, scenes, SPACE, seed=0)
    assert grid.shape == (7 * 36, 4 * 36, 3)
    assert (grid[:32, :32] == 255).all()
    assert (grid[36:68, 36:68] == grid[:32, 36:68]).all()
    assert tuple(grid[36 + 31, 0]) == SPACE.palette[2]


def recipe_file(path: Path, **generator: object) -> Path:
    recipe = parse_recipe(
        {
            "name": "styles",
            "labels": SPACE.model_dump(mode="json"),
            "data": {"train": "a", "validation": "b", "height": 32, "width": 32},
            "generator": {"channels": 2, "hidden": 4, "style_dim": 3, **generator},
            "training": {"steps": 1},
        },
        source="test",
    )
    path.write_text(dump_recipe(recipe))
    return path


def test_from_checkpoint_to_files(tmp_path: Path) -> None:
    checkpoint = f"untrained:{recipe_file(tmp_path / 'recipe.yaml')}"
    train, reference = write_scenes(tmp_path / "a.parquet", 12), write_scenes(tmp_path / "b.parquet", 9, first=50)
    options = {"learn_from": train, "column": "mood", "maps": 4, "seed": 0}
    found = evaluate_style(checkpoint, reference, tmp_path / "out", **options)
    assert found.confusion.sum() == 12 and found.real.sum() == 9
    fields = json.loads((tmp_path / "out/style.json").read_text())
    assert fields["agreement"] == found.agreement and fields["moods"] == ["dawn", "day", "night"]
    assert decode_image((tmp_path / "out/style.png").read_bytes()).shape == (7 * 36, 4 * 36, 3)
    assert f"Agreement {found.agreement:.1%} (real photographs 100.0%, style ignored 33.3%)" in found.summary()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["style.json", "style.png"]
    again = evaluate_style(checkpoint, reference, tmp_path / "again", **options)
    assert np.array_equal(again.confusion, found.confusion)
    assert (tmp_path / "again/style.png").read_bytes() == (tmp_path / "out/style.png").read_bytes()


def test_what_is_refused(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "a.parquet", 9)
    options = {"learn_from": scenes, "maps": 2, "seed": 0, "column": "mood"}
    styled = f"untrained:{recipe_file(tmp_path / 'styled.yaml')}"
    plain = f"untrained:{recipe_file(tmp_path / 'plain.yaml', style_encoder=False)}"
    other = write_scenes(tmp_path / "other.parquet", 3, space=LabelSpace(classes=("sky", "sea", "sand")))
    with pytest.raises(InputError, match="lacks the column weather"):
        evaluate_style(styled, scenes, tmp_path / "out", **{**options, "column": "weather"})
    with pytest.raises(InputError, match="has no style encoder"):
        evaluate_style(plain, scenes, tmp_path / "out", **options)
    with pytest.raises(InputError, match="has other classes than the checkpoint"):
        evaluate_style(styled, other, tmp_path / "out", **options)
    with pytest.raises(InputError, match="lighting 'night' is not in both data sets"):
        evaluate_style(styled, write_scenes(tmp_path / "two.parquet", 2), tmp_path / "out", **options)
    with pytest.raises(InputError, match="lighting 'dawn' has only one photograph"):
        evaluate_style(styled, write_scenes(tmp_path / "few.parquet", 3), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
