"""Runs in this process: what they leave behind, going on after a stop, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from pipeline.errors import InputError
from pipeline.recipe_file import dump_recipe, load_recipe
from training.job import TrainingJob
from training.loop import Worker, train_worker
from training.run_folder import RunFolder
from training.train import train

Make = Callable[..., Recipe]


TRUNK = Path(__file__).parents[2] / "weights" / "landscape-segmenter.safetensors"


def run(recipe: Recipe, out: Path, stop_after: int | None = None) -> RunFolder:
    """Train in this process; `stop_after` steps as Ctrl-C would."""
    folder = RunFolder(out)
    trunk = TRUNK if recipe.discriminator.kind == "projected" else None
    folder.claim(recipe)
    done: list[int] = []
    stop = (lambda: len(done) + 1 >= stop_after) if stop_after else (lambda: False)
    train_worker(
        TrainingJob(recipe, folder.path, base=Path(), trunk_weights=trunk),
        Worker(),
        should_stop=stop,
        progress=lambda step, rate: done.append(step),
    )
    return folder


def stats(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def snapshot(folder: RunFolder) -> dict[str, torch.Tensor]:
    loaded = folder.load_snapshot()
    assert loaded
    return loaded[1]


@pytest.mark.parametrize("style_dim", [0, 3])
def test_a_run_leaves_a_usable_checkpoint_and_its_records(tiny_recipe: Make, tmp_path: Path, style_dim: int) -> None:
    recipe = tiny_recipe(style_dim=style_dim, decay_steps=3)
    result = train(recipe, tmp_path / "run", workers=0)
    assert (result.step, result.finished) == (6, True)
    checkpoint = load_checkpoint(result.folder)
    assert checkpoint.step == 6
    assert checkpoint.recipe == recipe == load_recipe(result.folder / "recipe.yaml")
    assert (checkpoint.encoder is None) == (style_dim == 0)
    z = torch.zeros(1, style_dim) if style_dim else None
    assert checkpoint.generator(torch.ones(1, 32, 32, dtype=torch.int32), z).isfinite().all()

    entries = stats(result.folder)
    assert [entry["step"] for entry in entries] == [2, 3, 4, 6]
    terms = {"generator/gan", "generator/feature_matching", "discriminator/fake", "discriminator/real"}
    assert set(entries[-1]["losses"]) == terms | ({"generator/kl"} if style_dim else set())
    # Half the base rate (two time scales), then falling linearly: at the last step a third of it is left.
    rates = [entry["learning_rate"]["generator"] for entry in entries]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 1e-4 / 3])
    assert entries[-1]["learning_rate"]["discriminator"] == pytest.approx(4e-4 / 3)
    assert entries[-1]["scores"]["gap"] == entries[-1]["scores"]["real"] - entries[-1]["scores"]["fake"]
    assert len(list((result.folder / "tensorboard").iterdir())) == 1
    assert sorted(file.name for file in (result.folder / "samples").iterdir()) == [
        "step-00000003.png",
        "step-00000006.png",
    ]
    assert not list(result.folder.rglob("*.tmp"))

    again = train(recipe, tmp_path / "run", workers=0)  # a run that is done stays as it is
    assert (again.step, again.finished) == (6, True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"style_dim": 3},
        {"losses": {"lecam": 0.1, "r1": 1, "r1_every": 3}, "discriminator": {"augment": ["colour", "cutout"]}},
        {
            "style_dim": 3,
            "generator": {
                "style_input": "everywhere",
                "style_encoder": False,
                "region_styles": "instance",
                "noise": True,
                "enlargement": "blur",
            },
            "losses": {"lecam": 0.1, "feature_matching": 0},
            "discriminator": {
                "kind": "segmentation",
                "downsampling": "blur",
                "enlargement": "bilinear",
                "detail": True,
            },
        },
        {"losses": {"feature_matching": 0}, "discriminator": {"kind": "projected"}},
    ],
    ids=["plain", "with style", "regularised", "segmentation with noise", "projected"],
)
def test_going_on_after_a_stop_equals_never_having_stopped(tiny_recipe: Make, tmp_path: Path, settings: dict) -> None:
    recipe = tiny_recipe(decay_steps=4, **settings)
    whole = run(recipe, tmp_path / "whole")
    parts = run(recipe, tmp_path / "parts", stop_after=2)
    assert parts.step() == 2
    assert load_checkpoint(parts.path).step == 2
    run(recipe, tmp_path / "parts")
    expected, found = snapshot(whole), snapshot(parts)
    assert set(expected) == set(found)
    assert ("lecam.fake" in found) == (recipe.losses.lecam > 0)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    losses = [
        [json.loads(line) for line in folder.stats.read_text().splitlines()][-1]["losses"] for folder in (whole, parts)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize("harm", ["behind", "missing", "cut short", "other bytes"])
def test_weights_that_do_not_belong_to_the_snapshot_are_published_again(
    tiny_recipe: Make, tmp_path: Path, harm: str
) -> None:
    """As a kill between the two, or a hand, leaves them; also where all steps are done."""
    recipe = tiny_recipe()
    weights = run(recipe, tmp_path / "run", stop_after=3).weights
    old = weights.read_bytes()
    run(recipe, tmp_path / "run")
    new = weights.read_bytes()
    match harm:
        case "behind":
            weights.write_bytes(old)
        case "missing":
            weights.unlink()
        case "cut short":
            weights.write_bytes(new[:-7])
        case _:
            weights.write_bytes(new[:-8] + b"12345678")
    assert train(recipe, tmp_path / "run", workers=0).finished
    assert weights.read_bytes() == new


def test_a_start_that_was_killed_while_it_wrote_the_recipe_is_gone_on_with(tiny_recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.recipe.4711.tmp").write_text("nam")
    assert RunFolder(tmp_path / "run").claim(tiny_recipe())
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("whole", [True, False])
def test_other_data_under_the_same_path_are_refused(
    tiny_recipe: Make, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    if not whole:
        monkeypatch.setattr("pipeline.data.fingerprint.WHOLE_BYTES", 0)
    data = tmp_path / "mine.parquet"
    shutil.copy(tiny_data, data)
    recipe = tiny_recipe(data={"train": str(data)})
    run(recipe, tmp_path / "run", stop_after=1)  # has no fingerprints, as those of earlier versions
    assert train(recipe, tmp_path / "run", workers=0, max_minutes=0).step == 2
    table = pq.read_table(tiny_data)
    pq.write_table(table.take(list(range(len(table)))[::-1]), data)
    with pytest.raises(InputError, match=r"mine\.parquet of the data set .* has changed since .*; give another --out"):
        train(recipe, tmp_path / "run", workers=0)
    shutil.copy(tiny_data, data)
    assert train(recipe, tmp_path / "run", workers=0).finished


def test_only_the_last_snapshots_stay(tiny_recipe: Make, tmp_path: Path) -> None:
    folder = run(tiny_recipe(checkpoint_every=1), tmp_path / "run")
    assert [path.name for path in folder.snapshots()] == ["step-00000005.safetensors", "step-00000006.safetensors"]


def test_another_recipe_is_refused_and_named(tiny_recipe: Make, tmp_path: Path) -> None:
    run(tiny_recipe(), tmp_path / "run", stop_after=1)
    with pytest.raises(InputError, match=r"differs in training\.steps \(6, now 8\); training\.seed \(0, now 1\)"):
        train(tiny_recipe(steps=8, seed=1), tmp_path / "run", workers=0)


def test_a_folder_with_other_things_is_refused_and_left_alone(tiny_recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="exists and is not a training run"):
        train(tiny_recipe(), tmp_path, workers=0)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_runs_do_not_write_to_one_folder(
    tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run_folder.LOCK_SECONDS", 0.3)
    recipe = tiny_recipe()
    folder = RunFolder(tmp_path / "run")
    folder.claim(recipe)
    with folder.locked(), pytest.raises(InputError, match=rf"another process \({os.getpid()}\) is training"):
        train(recipe, tmp_path / "run", workers=0)


def test_a_loss_that_is_not_a_number_stops_the_run_and_is_named(
    tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(log_every=6, checkpoint_every=3)
    calls = []

    def feature_matching(fake: object, real: object) -> torch.Tensor:
        calls.append(1)
        return torch.tensor(float("nan") if len(calls) == 5 else 0.5)

    monkeypatch.setattr("training.objectives.losses.feature_matching", feature_matching)
    expected = r"generator/feature_matching is nan at step 5; the last good checkpoint is .*step-00000003\.safetensors"
    with pytest.raises(InputError, match=expected):
        train(recipe, tmp_path / "run", workers=0)
    assert load_checkpoint(tmp_path / "run").step == 3


def test_the_time_limit_ends_a_run_after_a_step(tiny_recipe: Make, tmp_path: Path) -> None:
    result = train(tiny_recipe(), tmp_path / "run", workers=0, max_minutes=0)
    assert (result.step, result.finished) == (1, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_from_outside_goes_on(tiny_recipe: Make, tmp_path: Path, number: int) -> None:
    """Ctrl-C leaves the step it came at; a kill leaves the last checkpoint; the same command finishes the run."""
    recipe = tiny_recipe(steps=100_000, checkpoint_every=4)
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe))
    program = (
        "from pathlib import Path; from pipeline.recipe_file import load_recipe; from training.train import train;"
        f"train(load_recipe(Path({str(tmp_path / 'tiny.yaml')!r})), Path({str(tmp_path / 'run')!r}), workers=0)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 300  # only against hanging
        while not (tmp_path / "run/generator.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == (0 if number == signal.SIGINT else -signal.SIGKILL)
    step = load_checkpoint(tmp_path / "run").step
    assert 0 < step < 100_000
    result = train(recipe, tmp_path / "run", workers=0, max_minutes=0)
    assert result.step == RunFolder(tmp_path / "run").step() > step


def test_a_trunk_is_for_the_perceptual_loss_and_the_discriminator(tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe(steps=1, losses={"feature_matching": 0}, discriminator={"kind": "projected"})
    with pytest.raises(InputError, match="frozen backbone; give one with --trunk-weights"):
        train(recipe, tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
    train(recipe, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    losses = stats(tmp_path / "run")[-1]["losses"]
    assert losses["generator/perceptual"] > 0 and losses["discriminator/label_mix"] > 0
    with pytest.raises(InputError, match=r"trunk weights .*none do not exist"):
        train(recipe, tmp_path / "run", workers=0, trunk_weights=tmp_path / "none")
