"""Records as training sees them: the sizes of each way to preprocess, and the same part of all three pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import DataSettings, Recipe
from pipeline.data.schema import Record
from pipeline.errors import InputError
from training.data.preprocess import crop_and_flip, resize

Make = Callable[..., Recipe]


def record(height: int, width: int) -> Record:
    """Label and instance map count the pixels; the photograph is noise."""
    random = np.random.default_rng(0)
    label = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    return Record("r", label, label + 1, random.integers(0, 256, (height, width, 3), np.uint8))


def settings(tiny_recipe: Make, **fields: object) -> DataSettings:
    return tiny_recipe(data={"height": 32, "width": 64, **fields}).data


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (32, 64)),
        ({"preprocess": "resize_and_crop", "load_size": 80}, (40, 80)),
        ({"preprocess": "scale_width", "load_size": 90}, (60, 90)),
        ({"preprocess": "scale_short_side", "load_size": 50}, (50, 75)),
        ({"preprocess": "none"}, (100, 150)),
    ],
)
def test_sizes_before_the_crop(tiny_recipe: Make, fields: dict, size: tuple[int, int]) -> None:
    resized = resize(record(100, 150), settings(tiny_recipe, **fields))
    assert resized.image is not None and resized.instance is not None
    assert resized.label.shape == resized.instance.shape == resized.image.shape[:2] == size
    assert np.array_equal(resized.instance, resized.label + 1)  # nearest neighbour: no id is made up


@pytest.mark.parametrize("resample", ["lanczos", "bicubic"])
def test_photographs_are_resized_as_pillow_does(tiny_recipe: Make, resample: str) -> None:
    whole = record(100, 150)
    assert whole.image is not None
    found = resize(whole, settings(tiny_recipe, resample=resample)).image
    expected = Image.fromarray(whole.image).resize((64, 32), getattr(Image.Resampling, resample.upper()))
    assert np.array_equal(found, np.array(expected))


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_is_one_part_of_all_pictures(tiny_recipe: Make, flip: bool) -> None:
    whole, data = record(40, 70), settings(tiny_recipe, preprocess="none")
    places = set()
    for seed in range(200):
        part = crop_and_flip(whole, data, flip=flip, random=torch.Generator().manual_seed(seed))
        assert part.image is not None and part.instance is not None and whole.image is not None
        top, left = divmod(int(part.label[:, ::-1][0, 0] if flip else part.label[0, 0]), 70)
        rows, columns = slice(top, top + 32), slice(left, left + 64)
        expected = [array[rows, columns] for array in (whole.label, whole.instance, whole.image) if array is not None]
        found = [array[:, ::-1] if flip else array for array in (part.label, part.instance, part.image)]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        places.add((top, left))
    assert {top for top, _ in places} == set(range(9))
    assert {left for _, left in places} == set(range(7))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"preprocess": "none"},
            r"record 'r' of 60x40 is 60x40 after data.preprocess 'none', smaller than the crop of",
        ),
        ({"preprocess": "scale_width", "load_size": 64}, "64x16 .*raise data.load_size, or take"),
    ],
)
def test_a_record_smaller_than_the_crop_is_named(tiny_recipe: Make, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resize(record(40, 60) if fields["preprocess"] == "none" else record(20, 80), settings(tiny_recipe, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preprocess": "scale_width"}, "load_size is None with preprocess 'scale_width'; give it"),
        ({"load_size": 286}, "load_size is 286 with preprocess 'fixed'; leave it out"),
        (
            {"preprocess": "resize_and_crop", "load_size": 60},
            "load_size is 60, but crops are 64x32; make it 64 or more",
        ),
        ({"preprocess": "scale_short_side", "load_size": 30}, "make it 32 or more"),
        ({"resample": "nearest"}, "data.resample is 'nearest'"),
    ],
)
def test_impossible_settings_are_refused(tiny_recipe: Make, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(tiny_recipe, **fields)
