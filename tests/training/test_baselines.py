"""Short runs of the other kinds of generators: each learns, resumes as if it had never stopped, and publishes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from pipeline.errors import InputError
from training.data.dataset import BatchLoader, RecordDataset
from training.job import TrainingJob
from training.loop import train_worker
from training.objectives.perceptual_regression import PerceptualRegression, load_regression
from training.objectives.trunk import Trunk, load_trunk
from training.run_folder import RunFolder
from training.state import TrainingState
from training.train import train
from training.worker import Worker

Make = Callable[..., Recipe]
HOURGLASS = {"channels": 2, "downsamplings": 2, "blocks": 1}
KINDS: dict[str, dict[str, Any]] = {
    "concat": {"generator": {"kind": "concat", "channels": 2}},
    "concat with style": {"generator": {"kind": "concat", "channels": 2, "style_dim": 3}},
    "pix2pixhd_plus": {"generator": {"kind": "pix2pixhd_plus", **HOURGLASS}},
    "pix2pixhd_plus concat": {"generator": {"kind": "pix2pixhd_plus", **HOURGLASS, "labels": "concat"}},
    "pix2pixhd_plus spade": {"generator": {"kind": "pix2pixhd_plus", **HOURGLASS, "labels": "spade", "hidden": 4}},
}


CRN = {"kind": "crn", "widths": [4, 4, 4, 4], "first_height": 8}
OF_PIX2PIXHD: dict[str, Any] = {
    "discriminator": {"spectral": False},
    "losses": {"gan": "least_squares"},
    "reuse_fake": True,
    "two_time_scale": False,
}
KINDS |= {
    "crn": {"generator": CRN},
    "crn of three pictures": {"generator": {**CRN, "pictures": 3}, "accumulate": 2},
    "pix2pixhd": {"generator": {"kind": "pix2pixhd", **HOURGLASS}, **OF_PIX2PIXHD},
    "pix2pixhd enhanced": {"generator": {"kind": "pix2pixhd", **HOURGLASS, "enhancers": 1}, **OF_PIX2PIXHD},
}
KINDS |= {
    "crn balanced": {"generator": CRN, "losses": {"balance_at": 3}},
    "pix2pixhd whole": {
        "generator": {
            "kind": "pix2pixhd", **HOURGLASS, "enhancers": 1, "global_steps": 1, "enhancer_steps": 2, "image_pool": 5,
            "features": 3, "encoder_channels": 2, "encoder_downsamplings": 2, "centres": 2, "centre_pictures": 6,
        },
        **OF_PIX2PIXHD,
    },
}  # fmt: skip
IN_STAGES = ("crn balanced", "pix2pixhd whole")
"""Whose losses change on the way."""
TRUNK = Path(__file__).parents[2] / "weights" / "landscape-segmenter.safetensors"


def run(recipe: Recipe, out: Path, stop_after: int | None = None) -> RunFolder:
    """Train in this process; `stop_after` steps as Ctrl-C would."""
    folder = RunFolder(out)
    folder.claim(recipe)
    done: list[int] = []
    train_worker(
        TrainingJob(recipe, folder.path, base=Path(), trunk_weights=TRUNK if recipe.generator.kind == "crn" else None),
        Worker(),
        should_stop=lambda: stop_after is not None and len(done) + 1 >= stop_after,
        progress=lambda step, rate: done.append(step),
    )
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumes_as_if_it_had_never_stopped(tiny_recipe: Make, tmp_path: Path, kind: str) -> None:
    recipe = tiny_recipe(decay_steps=4, steps=4, **KINDS[kind])
    whole, parts = run(recipe, tmp_path / "whole"), run(recipe, tmp_path / "parts", stop_after=2)
    assert parts.step() == load_checkpoint(parts.path).step == 2
    run(recipe, tmp_path / "parts")
    expected, found = (folder.load_snapshot()[1] for folder in (whole, parts))
    assert set(expected) == set(found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    losses = [json.loads(folder.stats.read_text().splitlines()[-1])["losses"] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert all((folder.path / "samples/step-00000003.png").exists() for folder in (whole, parts))

    published = load_checkpoint(whole.path)
    assert published.recipe == recipe and published.generator.settings.kind == recipe.generator.kind
    for name, value in published.generator.state_dict().items():
        assert torch.equal(value, expected[f"average.generator.{name}"]), name
    # It learned: the average is neither what it began with nor the last weights.
    last = {name.removeprefix("synthesis.generator."): value for name, value in expected.items()}
    assert any(not torch.equal(value, last[name]) for name, value in published.generator.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_follows_single(tiny_recipe: Make, tmp_path: Path, kind: str) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        recipe = tiny_recipe(size=64, **{"steps": 4 if kind in IN_STAGES else 1, "precision": precision, **KINDS[kind]})
        result = train(recipe, tmp_path / precision, workers=0, trunk_weights=TRUNK if kind[:3] == "crn" else None)
        losses[precision] = json.loads((result.folder / "stats.jsonl").read_text().splitlines()[-1])["losses"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1, abs=0.02)
    assert losses["bf16"] != losses["fp32"]


def test_regression_learns_colours_and_has_no_discriminator(tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe(steps=12, learning_rate=0.01, generator=CRN, losses={"regression": [1, 0, 0, 0]})
    result = train(recipe, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    entries = [json.loads(line) for line in (result.folder / "stats.jsonl").read_text().splitlines()]
    assert all(set(entry["losses"]) == {"generator/regression"} and entry["scores"] == {} for entry in entries)
    assert entries[-1]["losses"]["generator/regression"] < 0.7 * entries[0]["losses"]["generator/regression"]
    assert set(entries[-1]["learning_rate"]) == set(entries[-1]["gradient_norm"]) == {"generator"}
    assert (result.folder / "summary.html").exists()


def test_several_pictures_learn_by_the_diversity_loss(tiny_recipe: Make) -> None:
    """By hand: the best picture of each class counts for 0.999, the mean for the rest."""
    recipe = tiny_recipe(generator={**CRN, "pictures": 2})
    loss = PerceptualRegression(Trunk([]), [1.0])
    state = TrainingState(recipe, Worker(), loss)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    batch = next(batches)
    batches.close()
    generator = state.step.bare_synthesis.generator
    with torch.no_grad():
        label_input = generator.label_input(batch.codes)
        differences = (generator.every(label_input) - batch.pictures[:, None]) / 2 / loss.trunk.std
        planes = label_input.one_hot_at(32, 32)[:, :4]
        of_classes = torch.einsum("nkhw,nphw->nkp", differences.abs().mean(2), planes) / 32**2
        expected = (0.999 * of_classes.min(1).values + 0.001 * of_classes.mean(1)).sum(1).mean()
    assert float(state.step(batch)["generator/regression"]) == pytest.approx(float(expected), rel=1e-5)


def test_pix2pixhd_learns_by_its_own_losses(tiny_recipe: Make) -> None:
    """Sums over scales where SPADE takes means, and Adam's betas 0.5 and 0.999 for both networks."""
    terms = {}
    for kind in ("pix2pixhd", "pix2pixhd_plus"):
        settings = {**OF_PIX2PIXHD, "generator": {"kind": kind, **HOURGLASS}}
        recipe = tiny_recipe(**settings)
        state = TrainingState(recipe, Worker(), None)
        for name in ("generator", "discriminator"):
            assert state.step.optimisers[name].adam.param_groups[0]["betas"] == (0.5, 0.999)
            assert state.step.optimisers[name].base_rate == recipe.training.learning_rate
        batch = next(BatchLoader(RecordDataset(recipe.data.train, recipe)).batches())
        (part,) = state.step._prepare(batch)
        of_fake, of_real = part.objective._features_of(
            state.step.bare_discriminator, batch.pictures.flip(0), batch.pictures
        )
        terms[kind] = part.objective.generator_terms(
            state.step.bare_discriminator, batch.pictures.flip(0), batch.pictures
        )
        wanted = sum((layers[-1] - 1).square().mean() for layers in of_fake)  # two scales
        matched = sum(
            (a - b).abs().mean()
            for x, y in zip(of_fake, of_real, strict=True)
            for a, b in zip(x[:-1], y[:-1], strict=True)
        )
        summed = kind == "pix2pixhd"
        torch.testing.assert_close(terms[kind]["generator/gan"], wanted if summed else wanted / 2)
        # 10 * 4 / (n_layers_D + 1), mean over the scales; discriminator.layers is n_layers_D + 1.
        factor = 10 * 4 / 3 / 2 if summed else 10 / 2
        torch.testing.assert_close(terms[kind]["generator/feature_matching"], factor * matched)


def test_what_cannot_be_trained_is_said_in_a_line(tiny_recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="perceptual regression alone; give it a network with --vgg-weights, or with"):
        train(tiny_recipe(generator=CRN), tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
    recipe = tiny_recipe(generator=CRN, losses={"regression": [1, 1]})
    with pytest.raises(InputError, match=r"losses\.regression has 2 weights, and the network 3 stages; .* 4 in all"):
        train(recipe, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    with pytest.raises(
        InputError, match=r"losses\.regression is for generator\.kind 'crn' or 'sims', and that is 'spade'"
    ):
        tiny_recipe(losses={"regression": [1]})
    own = {"kind": "pix2pixhd", **HOURGLASS}
    with pytest.raises(
        InputError, match=r"make discriminator\.spectral false, .*, training\.reuse_fake true; for SPADE"
    ):
        tiny_recipe(generator=own)
    with pytest.raises(InputError, match=r"balance_at is for generator\.kind 'crn' or 'sims', and that is 'spade'"):
        tiny_recipe(losses={"balance_at": 1})
    with pytest.raises(InputError, match="balance_at is 6, and there are 6 steps; take less"):
        tiny_recipe(generator=CRN, losses={"balance_at": 6})


def test_terms_are_balanced_by_what_was_measured_before(tiny_recipe: Make, tmp_path: Path) -> None:
    """By hand: at step 2 each term weighs the mean of the pictures' term over its own, of steps 0 and 1."""
    recipe = tiny_recipe(generator={**CRN, "pictures": 2}, losses={"balance_at": 2, "regression": [2, 1, 1, 1]})
    state = TrainingState(
        recipe, Worker(), load_regression([2, 1, 1, 1], several=True, vgg_weights=None, trunk=load_trunk(TRUNK))
    )
    loss, measured, used = state.step.loss, [], []
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    for step in range(3):
        batch = next(batches)
        generator = state.step.bare_synthesis.generator
        with torch.no_grad():
            fakes = generator.every(generator.label_input(batch.codes))
            terms = [(fakes - batch.pictures[:, None]).abs().div(2).div(loss.trunk.std).mean()]
            of_real = loss.trunk(batch.pictures)
            of_fakes = [stage.unflatten(0, (-1, 2)) for stage in loss.trunk(fakes.flatten(0, 1))]
            terms += [(a - b[:, None]).abs().mean() for a, b in zip(of_fakes, of_real, strict=True)]
        measured.append(torch.stack(terms).double())
        state.step(batch, step)
        used.append(list(loss.weights))
    batches.close()
    assert used[:2] == [[2, 1, 1, 1]] * 2
    means = (measured[0] + measured[1]) / 2
    assert used[2] == pytest.approx((2 * means[0] / means).tolist(), rel=1e-4)
    state.publish(tmp_path / "g.safetensors", 3)
    assert load_checkpoint(tmp_path / "g.safetensors").regression == tuple(used[2])
