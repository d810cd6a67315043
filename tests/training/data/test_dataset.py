"""The order of records: the same for any number of workers, for any start, and complete in every epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.config import Recipe
from pipeline.errors import InputError
from training.data.dataset import BatchLoader, RecordDataset

Make = Callable[..., Recipe]


def test_workers_share_the_batches_of_one(tiny_recipe: Make, tiny_data: Path) -> None:
    examples = RecordDataset(tiny_data, tiny_recipe(style_dim=3))
    whole = BatchLoader(examples).batches()
    halves = [BatchLoader(examples, rank=rank, workers=2).batches() for rank in range(2)]
    for _ in range(4):
        one, two = next(whole), [next(half) for half in halves]
        assert torch.equal(one.codes, torch.cat([half.codes for half in two]))
        assert torch.equal(one.pictures, torch.cat([half.pictures for half in two]))
        assert torch.equal(one.noise, torch.cat([half.noise for half in two], dim=1))
        assert one.noise.shape == (2, 4, 3)


def test_an_epoch_has_every_record_once_in_its_own_order(tiny_recipe: Make, tiny_data: Path) -> None:
    data = BatchLoader(RecordDataset(tiny_data, tiny_recipe()))
    records = [record for step in range(5) for record in data.records(step)]  # 5 * 4 = 2 epochs of 10
    epochs = [[index for epoch, index in records if epoch == number] for number in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    other = BatchLoader(RecordDataset(tiny_data, tiny_recipe(seed=1)))
    assert [record for step in range(5) for record in other.records(step)] != records


def test_starting_late_gives_the_later_batches(tiny_recipe: Make, tiny_data: Path) -> None:
    data = BatchLoader(RecordDataset(tiny_data, tiny_recipe()))
    stream = data.batches()
    expected = [next(stream) for _ in range(4)][3]
    late = next(data.batches(3))
    assert torch.equal(late.codes, expected.codes)
    assert torch.equal(late.pictures, expected.pictures)


def test_flips_mirror_labels_with_pictures_about_half_of_the_time(tiny_recipe: Make, tiny_data: Path) -> None:
    data = BatchLoader(RecordDataset(tiny_data, tiny_recipe()))
    flipped = 0
    for epoch in range(20):
        for index in range(10):
            example, _, _ = data.example(epoch, index)
            plain = data.examples[index]
            if not (example.picture == plain.picture).all():
                assert (example.picture[:, ::-1] == plain.picture).all()
                assert (example.codes[:, ::-1] == plain.codes).all()
                flipped += 1
    assert 60 < flipped < 140


def test_pictures_are_in_minus_one_to_one(tiny_recipe: Make, tiny_data: Path) -> None:
    recipe = tiny_recipe()
    batch = next(BatchLoader(RecordDataset(tiny_data, recipe)).batches())
    assert batch.pictures.shape == (4, 3, 32, 32)
    assert batch.pictures.dtype == torch.float32
    assert -1 <= batch.pictures.min() < -0.5
    assert 0.5 < batch.pictures.max() <= 1
    assert batch.codes.dtype == torch.int32
    assert batch.codes.min() >= 1
    assert batch.codes.max() < recipe.labels.codes


def test_data_of_other_classes_are_refused(tiny_recipe: Make, tiny_data: Path) -> None:
    recipe = tiny_recipe()
    other = recipe.model_copy(update={"labels": recipe.labels.model_copy(update={"classes": ("a", "b", "c")})})
    with pytest.raises(InputError, match="has the classes sky, sea, sand, but the recipe's are a, b, c"):
        RecordDataset(tiny_data, other)


def test_a_batch_that_workers_cannot_share_is_refused(tiny_recipe: Make, tiny_data: Path) -> None:
    with pytest.raises(InputError, match="batch_size is 4, which 3 workers cannot share evenly; make it a multiple"):
        BatchLoader(RecordDataset(tiny_data, tiny_recipe()), workers=3)
