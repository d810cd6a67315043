"""Losses that are NaN, validation, and which weights stay."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from pipeline.errors import InputError
from training.data.dataset import BatchLoader
from training.job import TrainingJob
from training.run_folder import RunFolder
from training.samples import SampleImages, to_pixels
from training.state import TrainingState
from training.train import train
from training.worker import Worker

pytestmark = pytest.mark.slow

Make = Callable[..., Recipe]


def break_steps(monkeypatch: pytest.MonkeyPatch, *broken: int) -> None:
    """Make the feature-matching loss not a number in some calls, counted from 1."""
    calls: list[int] = []

    def feature_matching(fake: object, real: object) -> torch.Tensor:
        calls.append(1)
        return torch.tensor(math.nan if len(calls) in broken else 0.5)

    monkeypatch.setattr("training.objectives.losses.feature_matching", feature_matching)


def test_a_run_rolls_back_and_skips_the_batches_that_failed(
    tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_steps(monkeypatch, 5)
    begun: list[int] = []
    batches = BatchLoader.batches
    monkeypatch.setattr(
        BatchLoader, "batches", lambda self, first=0, **rest: (begun.append(first), batches(self, first, **rest))[1]
    )
    result = train(tiny_recipe(rollbacks=1, log_every=6), tmp_path / "run", workers=0)
    assert result.finished
    # Steps 4 to 6 saw batches 3 to 5, counted from 0, of which the second failed; when step 6 is read all are skipped.
    assert begun == [0, 6]
    entries = [json.loads(line) for line in (tmp_path / "run/stats.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [3, 6]
    assert entries[-1]["failures"] == ["the loss generator/feature_matching is nan at step 5"]
    assert "the loss generator/feature_matching is nan at step 5" in (tmp_path / "run/summary.html").read_text()

    state = TrainingState(tiny_recipe(rollbacks=1, log_every=6), Worker(), None)  # what a restart would find
    assert state.resume(RunFolder(tmp_path / "run")) == 6
    assert (state.skipped, len(state.failures)) == (3, 1)
    assert all(value.isfinite().all() for value in state.average.network.state_dict().values())


def test_a_run_that_rolled_back_often_enough_stops(
    tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_steps(monkeypatch, *range(4, 100))
    expected = r"feature_matching is nan at step 4; after 2 rollbacks the last good checkpoint is .*step-00000003"
    with pytest.raises(InputError, match=expected):
        train(tiny_recipe(rollbacks=2), tmp_path / "run", workers=0)
    assert load_checkpoint(tmp_path / "run").step == 3
    assert "nan at step 4" in (tmp_path / "run/summary.html").read_text()


def test_there_is_no_rolling_back_before_the_first_checkpoint(
    tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_steps(monkeypatch, 1)
    with pytest.raises(InputError, match=r"nan at step 1; there is no checkpoint yet; lower training\.learning"):
        train(tiny_recipe(rollbacks=2), tmp_path / "run", workers=0)


def test_weights_broken_by_an_infinite_gradient_are_not_saved(
    tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of that step are still numbers; those of the next would not be."""
    calls: list[int] = []

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * math.inf if len(calls) == 6 else gradient

    def feature_matching(fake: list, real: list) -> torch.Tensor:
        return Spoil.apply(fake[0][0]).mean()

    monkeypatch.setattr("training.objectives.losses.feature_matching", feature_matching)
    with pytest.raises(InputError, match=r"gradient of the generator is (nan|inf) at step 6; the last good .*00003"):
        train(tiny_recipe(reuse_fake=True), tmp_path / "run", workers=0)
    assert load_checkpoint(tmp_path / "run").step == 3


class Scripted:
    """A validation whose scores are known, and which keeps the pictures that it was shown."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)
        self.codes = np.ones((2, 32, 32), np.int32)
        self.pictures: list[np.ndarray] = []

    def __call__(self, sample_images: SampleImages, device: torch.device) -> Mapping[str, float]:
        self.pictures.append(sample_images(["a", "b"], self.codes))
        score = self.scores[len(self.pictures) - 1]
        return {"mean_iou": score, "accuracy": 1 - score, "frechet": score}


@pytest.mark.parametrize(("best_by", "scores"), [("mean_iou", (0.2, 0.5, 0.4)), ("frechet", (3.0, 1.0, 2.0))])
def test_the_best_weights_stay_and_are_remembered(
    tiny_recipe: Make, tmp_path: Path, best_by: str, scores: tuple[float, ...]
) -> None:
    """Ten records in batches of four: epochs end with steps 3, 5 and 8."""
    recipe = tiny_recipe(steps=8, validate_every=1, best_by=best_by, style_dim=3, learning_rate=0.1)
    validation = Scripted(*scores)
    folder = tmp_path / "run"
    done: list[int] = []
    for end in (5, 8):  # the second half must know the scores of the first
        from training.loop import train_worker

        run = RunFolder(folder)
        run.claim(recipe)
        train_worker(
            TrainingJob(recipe, run.path, base=Path(), validate=validation),
            Worker(),
            should_stop=lambda end=end: len(done) + 1 >= end,
            progress=lambda step, entry: done.append(step),
        )
    entries = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    assert {entry["step"]: entry["validation"][best_by] for entry in entries if "validation" in entry} == dict(
        zip((3, 5, 8), scores, strict=True)
    )
    assert load_checkpoint(folder / "best.safetensors").step == 5
    assert load_checkpoint(folder).step == 8

    # What was scored is what the published weights make, in styles that belong to the records.
    for checkpoint, shown in ((folder / "best.safetensors", validation.pictures[1]), (folder, validation.pictures[2])):
        from pipeline.runtime.seeding import style_noise

        z = torch.stack([style_noise(0, name, 0, 3) for name in ("a", "b")])
        with torch.no_grad():
            expected = to_pixels(load_checkpoint(checkpoint).generator(torch.from_numpy(validation.codes), z))
        assert np.array_equal(shown, expected)
    assert not np.array_equal(validation.pictures[1], validation.pictures[2])


def test_as_many_checkpoints_stay_as_the_recipe_says(tiny_recipe: Make, tmp_path: Path) -> None:
    train(tiny_recipe(checkpoint_every=1, keep_checkpoints=3), tmp_path / "run", workers=0)
    assert [path.stem for path in RunFolder(tmp_path / "run").snapshots()] == [f"step-0000000{i}" for i in (4, 5, 6)]
