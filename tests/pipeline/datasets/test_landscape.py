from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.landscape.dataset import SPACE, draw_scene
from pipeline.datasets.landscape.lighting import LIGHTINGS
from pipeline.datasets.landscape.noise import Noise
from pipeline.labels import encode, instance_edges

CLASSES = SPACE.classes


@pytest.fixture(scope="module")
def scenes() -> list:
    return [draw_scene(0, index, 64, 64) for index in range(64)]


def test_a_scene_depends_on_its_seed_index_and_size_alone(scenes: list) -> None:
    again = draw_scene(0, 17, 64, 64)
    for name in ("label", "instance", "image"):
        np.testing.assert_array_equal(getattr(again.record, name), getattr(scenes[17].record, name))
    assert again.lighting == scenes[17].lighting
    assert not np.array_equal(draw_scene(1, 17, 64, 64).record.image, again.record.image)
    assert len({scene.record.image.tobytes() for scene in scenes}) == len(scenes)
    assert len({scene.record.id for scene in scenes}) == len(scenes)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 128), (33, 127), (160, 64), (8, 8)])
def test_any_size(height: int, width: int) -> None:
    record = draw_scene(3, 5, height, width).record
    assert record.label.shape == record.instance.shape == (height, width)
    assert record.image.shape == (height, width, 3)
    assert (record.label.dtype, record.image.dtype) == (np.uint8, np.uint8)
    encode(record.label, record.instance, SPACE)  # every id is a class


def test_the_same_scene_at_another_size_is_the_same_place() -> None:
    small, large = draw_scene(4, 2, 64, 64).record.label, draw_scene(4, 2, 128, 128).record.label
    assert (large[::2, ::2] == small).mean() > 0.93


def test_another_lighting_shows_the_same_place() -> None:
    own = draw_scene(0, 9, 64, 64)
    views = {lighting.name: draw_scene(0, 9, 64, 64, lighting=lighting.name) for lighting in LIGHTINGS}
    np.testing.assert_array_equal(views[own.lighting].record.image, own.record.image)
    moving = [CLASSES.index(name) for name in ("sky", "cloud", "sun")]
    for view in views.values():
        same = view.record.label == own.record.label
        assert (same | np.isin(own.record.label, moving)).all()
    assert len({view.record.image.mean().round(1) for view in views.values()}) == len(LIGHTINGS)


def test_every_class_and_lighting_occurs_and_none_takes_over(scenes: list) -> None:
    counts = np.bincount(np.concatenate([scene.record.label.ravel() for scene in scenes]), minlength=len(CLASSES))
    assert (counts > 0).all(), dict(zip(CLASSES, counts, strict=True))
    assert counts.max() / counts.sum() < 0.45
    assert {scene.lighting for scene in scenes} == {lighting.name for lighting in LIGHTINGS}


def test_trees_and_houses_have_instances_and_nothing_else_does(scenes: list) -> None:
    objects = (CLASSES.index("tree"), CLASSES.index("house"))
    for scene in scenes:
        label, instance = scene.record.label, scene.record.instance
        np.testing.assert_array_equal(instance > 0, np.isin(label, objects))
        for number in np.unique(instance[instance > 0]):
            assert len(np.unique(label[instance == number])) == 1


def test_label_maps_are_regions_and_not_noise(scenes: list) -> None:
    borders = [instance_edges(scene.record.label).mean() for scene in scenes]
    assert 0.02 < float(np.mean(borders)) < 0.3


def test_lighting_changes_the_colours_of_everything(scenes: list) -> None:
    def mean(lighting: str, name: str) -> np.ndarray:
        records = [scene.record for scene in scenes if scene.lighting == lighting]
        pixels = [record.image[record.label == CLASSES.index(name)] for record in records]
        return np.mean([part.mean(axis=0) for part in pixels if len(part)], axis=0)

    for name in ("sky", "grass", "sea", "sand"):
        day, night, sunset = mean("day", name), mean("night", name), mean("sunset", name)
        assert night.mean() < 0.6 * day.mean()
        assert sunset[0] / sunset[2] > 1.3 * day[0] / day[2]  # redder


def test_pictures_follow_their_label_maps(scenes: list) -> None:
    """A pixel's colour is far better told by its region of the scene than by the scene as a whole."""
    for scene in scenes[:16]:
        image, label = scene.record.image.astype(float), scene.record.label
        residual = np.empty_like(image)
        for number in np.unique(label):
            region = label == number
            residual[region] = image[region] - image[region].mean(axis=0)
        assert residual.var() < 0.6 * (image - image.mean(axis=(0, 1))).var()


def test_noise_has_unit_variance_and_streams_that_do_not_touch() -> None:
    at = np.arange(2000) / 100
    noise = Noise(0, 0)
    assert 0.8 < noise.line("a", at, 10).std() < 1.2
    plane = noise.plane("b", at[:400], at[:400], (10, 10))
    assert 0.8 < plane.std() < 1.2
    np.testing.assert_array_equal(Noise(0, 0).plane("b", at[:400], at[:400], (10, 10)), plane)
    assert abs(np.corrcoef(plane.ravel(), noise.plane("c", at[:400], at[:400], (10, 10)).ravel())[0, 1]) < 0.1
