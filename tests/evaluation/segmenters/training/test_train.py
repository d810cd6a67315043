"""Training a segmenter: it learns, it is deterministic, it continues, and it refuses what cannot work."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.segmenters.deeplab import FILE_NAME, load_deeplab
from evaluation.segmenters.training import train as training
from evaluation.segmenters.training.augment import augment
from evaluation.segmenters.training.photographs import VOID, load_photographs
from evaluation.segmenters.training.train import train_segmenter
from pipeline.config import Recipe, Source
from pipeline.data.records import Record
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from tests.evaluation.conftest import SIZE, draw, make_recipe, stopped_at_step, write_pictures, write_records

pytestmark = pytest.mark.slow


def test_it_learns_and_says_how_well(trained: Path) -> None:
    made = load_deeplab(trained).settings.training
    assert made["validation_accuracy"] > 0.6  # the most frequent class alone is about 0.45
    assert (made["photographs"], made["validation_photographs"]) == (12, 6)
    assert [path.name for path in trained.iterdir()] == [FILE_NAME]


def test_an_interrupted_training_continues_to_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(data, steps=4)
    whole = train_segmenter(recipe, tmp_path / "whole")
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    with stopped_at_step(4):
        train_segmenter(recipe, tmp_path / "parts")
    train_segmenter(recipe, tmp_path / "parts")
    assert (tmp_path / "parts" / FILE_NAME).read_bytes() == (tmp_path / "whole" / FILE_NAME).read_bytes()

    loss, steps = training._loss, itertools.count(1)

    def interrupted(*given: Any, **named: Any) -> torch.Tensor:
        if next(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return loss(*given, **named)

    monkeypatch.setattr(training, "SAVE_EVERY", 250)
    monkeypatch.setattr(training, "_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(recipe, tmp_path / "stopped")
    assert next(steps) == 4  # Ctrl-C came in the third step, which was finished.
    train_segmenter(recipe, tmp_path / "stopped")
    assert next(steps) == 6  # The fourth was all that was left.
    assert (tmp_path / "stopped" / FILE_NAME).read_bytes() == (tmp_path / "whole" / FILE_NAME).read_bytes()
    # And once more: nothing to do, and nothing changes.
    before = (tmp_path / "whole" / FILE_NAME).stat().st_mtime_ns
    assert train_segmenter(recipe, tmp_path / "whole").sha256 == whole.sha256
    assert (tmp_path / "whole" / FILE_NAME).stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"other settings \(steps is 4 there, 5 now"):
        train_segmenter(make_recipe(data, steps=5), tmp_path / "whole")


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut short", {"plan": {}}, [1, 2]])
def test_a_damaged_state_is_told(data: Path, tmp_path: Path, content: Any) -> None:
    file = tmp_path / training.STATE_NAME
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(InputError, match=rf"{file.name} is damaged \(.*\); remove it to begin anew"):
        train_segmenter(make_recipe(data), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_views_keep_pictures_and_labels_together() -> None:
    records = [draw(index, 64) for index in range(8)]
    labels = torch.from_numpy(np.stack([record.label for record in records]).astype(np.int64))
    labels[labels == 255] = VOID
    # Pictures that show the class itself: 0, 100 or 200 in every channel.
    images = (labels.clamp(min=0) * 100).float().unsqueeze(1).repeat(1, 3, 1, 1)
    plain = pytest.MonkeyPatch()
    with plain.context() as patch:
        for name in ("LIGHT", "CONTRAST", "SATURATION"):
            patch.setattr(f"evaluation.segmenters.training.augment.{name}", 0.0)
        seen, ids = augment(images, labels, torch.Generator().manual_seed(3))
    known = ids != VOID
    agree = ((seen[:, 0] - ids * 100).abs() < 1)[known].float().mean()
    assert agree > 0.9  # but for the pixels at borders, which blend
    assert not torch.equal(ids, labels)
    assert 0.02 < (~known).float().mean() < 0.4


def test_void_teaches_nothing(data: Path, tmp_path: Path) -> None:
    recipe = make_recipe(data)
    photographs = load_photographs(recipe.data.train, recipe, scratch=tmp_path, what="test")
    assert (photographs.labels[:, :, :2] == VOID).all()
    photographs.labels[:] = VOID
    segmenter = training.DeepLab(training._settings(recipe)).train()
    loss = training._loss(segmenter, photographs, np.arange(2), torch.ones(3), seed=0)
    loss.backward()
    assert loss.item() == 0
    assert all(value.grad is None or not value.grad.any() for value in segmenter.parameters())


def test_rare_classes_weigh_more_but_not_without_limit() -> None:
    pixels = np.array([1600.0, 400, 100, 1])
    # The median class has 250 pixels.
    expected = [0.25**0.5 * 0.625**0.5, 0.625**0.5, 2.5**0.5, 4.0]
    np.testing.assert_allclose(training.class_weights(pixels), expected, rtol=1e-6)


@pytest.fixture
def sources(data: Path, tmp_path: Path) -> tuple[Source, ...]:
    """The twelve photographs, and two black pictures of each of two label maps, with ids of theirs."""

    def black(record: Record, _: int) -> np.ndarray:
        return np.zeros((SIZE, SIZE, 3), np.uint8)

    folder = write_pictures(tmp_path / "images", [draw(0), draw(1)], black, samples=2)
    return Source(path=str(data / "train.parquet"), name="real"), Source(path=str(folder), name="synthetic")


def mixed(recipe: Recipe, sources: tuple[Source, ...]) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": sources})})


def test_batches_of_one_set_are_those_of_its_permutations(data: Path, tmp_path: Path) -> None:
    recipe = make_recipe(data)
    photographs = load_photographs(recipe.data.train, recipe, scratch=tmp_path, what="test")
    batches = [batch.tolist() for batch, _ in zip(photographs.batches(5, seed=3), range(9), strict=False)]
    order = [number for epoch in range(4) for number in np.random.default_rng((3, epoch)).permutation(12).tolist()]
    assert [number for batch in batches for number in batch] == order[:45]
    assert next(photographs.batches(5, seed=3, start=7)).tolist() == batches[7]


def test_sources_are_mixed_by_their_weights(data: Path, sources: tuple[Source, ...], tmp_path: Path) -> None:
    recipe = make_recipe(data)
    plain = load_photographs(sources, recipe, scratch=tmp_path, what="test")
    assert len(plain) == 16
    assert (plain.images[:12].any(axis=(1, 2, 3)).all(), plain.images[12:].any()) == (True, False)
    np.testing.assert_array_equal(plain.labels[12:], plain.labels[[0, 0, 1, 1]])
    epoch = np.concatenate([batch for batch, _ in zip(plain.batches(4, seed=0), range(4), strict=False)])
    assert sorted(epoch.tolist()) == list(range(16))
    every = [np.bincount(labels[labels >= 0], minlength=3) for labels in plain.labels]
    np.testing.assert_array_equal(plain.class_pixels(3), np.sum(every, axis=0))

    weighted = [source.model_copy(update={"weight": weight}) for source, weight in zip(sources, (1, 3), strict=True)]
    heavy = load_photographs(weighted, recipe, scratch=tmp_path, what="test")
    drawn = np.concatenate([batch for batch, _ in zip(heavy.batches(10, seed=0), range(100), strict=False)])
    assert ((drawn < 12).sum(), (drawn >= 12).sum()) == (250, 750)
    assert sorted(np.bincount(drawn)[12:].tolist()) == [187, 187, 188, 188]
    expected = 250 / 12 * np.sum(every[:12], axis=0) + 750 / 4 * np.sum(every[12:], axis=0)
    np.testing.assert_allclose(heavy.class_pixels(3), expected)


def test_the_first_source_alone_goes_on_where_it_was(data: Path, sources: tuple[Source, ...], tmp_path: Path) -> None:
    recipe = make_recipe(data)
    photographs = load_photographs(sources, recipe, scratch=tmp_path, what="test")
    mixture = [batch.tolist() for batch, _ in zip(photographs.batches(4, seed=0), range(20), strict=False)]
    late = photographs.batches(4, seed=0, first_alone_from=6)
    batches = [batch.tolist() for batch, _ in zip(late, range(20), strict=False)]
    assert batches[:6] == mixture[:6]
    drawn = [number for batch in batches for number in batch]
    assert max(drawn[24:]) < 12
    firsts = [number for number in drawn if number < 12]
    for start in range(0, len(firsts) - 11, 12):  # each once before any comes again, over the border too
        assert sorted(firsts[start : start + 12]) == list(range(12))
    assert next(photographs.batches(4, seed=0, start=9, first_alone_from=6)).tolist() == batches[9]


def test_a_training_on_sources_continues_and_knows_its_sources(
    data: Path, sources: tuple[Source, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = mixed(make_recipe(data, steps=2), sources)
    train_segmenter(recipe, tmp_path / "whole")
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with stopped_at_step(2):
        train_segmenter(recipe, tmp_path / "parts")
    train_segmenter(recipe, tmp_path / "parts")
    assert (tmp_path / "parts" / FILE_NAME).read_bytes() == (tmp_path / "whole" / FILE_NAME).read_bytes()
    made = load_deeplab(tmp_path / "whole").settings.training
    assert made["photographs"] == 16
    size = (data / "train.parquet").stat().st_size
    assert made["data"][0] == {
        "name": "real",
        "weight": None,
        "count": None,
        "label_column": "label",
        "files": [["train.parquet", size]],
    }
    other = mixed(recipe, (sources[0].model_copy(update={"count": 3}), sources[1]))
    with pytest.raises(InputError, match=r"holds a segmenter of other settings \(data is"):
        train_segmenter(other, tmp_path / "whole")


def test_many_pictures_go_to_a_mapped_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(data)
    expected = load_photographs(recipe.data.train, recipe, scratch=tmp_path, what="test")
    monkeypatch.setattr("evaluation.segmenters.training.photographs.MEMORY_LIMIT", 1000)
    mapped = load_photographs(recipe.data.train, recipe, scratch=tmp_path, what="test")
    assert isinstance(mapped.images, np.memmap)
    np.testing.assert_array_equal(mapped.images, expected.images)
    np.testing.assert_array_equal(mapped.labels, expected.labels)
    assert not list(tmp_path.iterdir())


def test_refusals(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="batch_size is 1"):
        train_segmenter(make_recipe(data, batch_size=1), out)
    with pytest.raises(InputError, match="does not exist"):
        train_segmenter(make_recipe(data), out, weights=tmp_path / "none.pth")
    with pytest.raises(InputError, match="does not exist"):
        train_segmenter(make_recipe(tmp_path), out)
    folder = tmp_path / "plain"
    for name in ("train", "validation"):
        write_records(folder / f"{name}.parquet", [Record("a", np.zeros((SIZE, SIZE), np.uint8))])
    with pytest.raises(InputError, match="record 'a' has no photograph"):
        train_segmenter(make_recipe(folder), out)
    write_records(folder / "train.parquet", [draw(0)], LabelSpace(classes=("x", "y", "z"), dont_care=255))
    with pytest.raises(InputError, match="has the classes x, y, z, but the recipe's are ground, wall, lamp"):
        train_segmenter(make_recipe(folder), out)
    assert not out.exists() or not list(out.iterdir())
