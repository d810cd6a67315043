"""pix2pixHD's own training: features of instances and their centres, the image pool, the stages of enhancers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe
from pipeline.errors import InputError
from pipeline.labels import split_codes
from training.data.dataset import BatchLoader, RecordDataset, collate
from training.instance_centres import InstanceCentres
from training.pix2pixhd_step import shrink, stage_at
from training.state import TrainingState
from training.train import train
from training.worker import Worker

pytestmark = pytest.mark.slow

Make = Callable[..., Recipe]
HOURGLASS = {"kind": "pix2pixhd", "channels": 2, "downsamplings": 2, "blocks": 1}
FEATURES = {"features": 3, "encoder_channels": 2, "encoder_downsamplings": 2, "centres": 2, "centre_pictures": 6}
OWN: dict[str, Any] = {
    "discriminator": {"spectral": False},
    "losses": {"gan": "least_squares"},
    "reuse_fake": True,
    "two_time_scale": False,
    "ema_decay": 0.0,
}


def make(tiny_recipe: Make, steps: int = 4, **generator: Any) -> Recipe:
    return tiny_recipe(**OWN, steps=steps, generator={**HOURGLASS, **generator})


def first_batch(recipe: Recipe) -> Any:
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    batch = next(batches)
    batches.close()
    return batch


def test_the_encoder_learns_and_its_centres_are_in_the_checkpoint(tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = make(tiny_recipe, **FEATURES)
    folder = train(recipe, tmp_path / "run", workers=0).folder
    generator = load_checkpoint(folder).generator
    styles = generator.styles
    assert styles.centres.shape == (4, 2, 3)  # three classes and don't-care
    assert styles.counts.tolist() == [2, 2, 2, 2] and len(torch.unique(styles.centres.flatten(0, 1), dim=0)) == 8
    # Those that its averaged encoder finds, which here is the encoder itself.
    state = TrainingState(recipe, Worker(), None)
    from training.run_folder import RunFolder

    state.resume(RunFolder(folder))
    found = InstanceCentres(recipe.data.train, recipe, torch.device("cpu")).find(state.average.network.features)
    for number, own in enumerate(found):
        torch.testing.assert_close(styles.centres[number, : len(own)], own.float())
    first = TrainingState(recipe, Worker(), None).step.bare_synthesis.features
    moved = [
        not torch.equal(before, after)
        for before, after in zip(first.parameters(), state.step.bare_synthesis.features.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


def test_centres_are_means_over_instances_of_the_class(tiny_recipe: Make) -> None:
    """By hand, with an encoder that is the picture itself."""
    recipe = make(tiny_recipe, **{**FEATURES, "centres": 1, "centre_pictures": 100})
    records = RecordDataset(recipe.data.train, recipe)
    of_classes: dict[int, list[torch.Tensor]] = {}
    for index in range(len(records)):
        batch = collate([records[index]])
        codes, regions = split_codes(batch.codes, recipe.labels)
        for number in regions.unique().tolist():
            inside = regions[0] == number
            if inside.float().mean() > 1 / 64:
                kind = int((codes[0][inside][0] - 1) // 2)
                of_classes.setdefault(kind, []).append(batch.pictures[0][:, inside].mean(1))

    class Itself(torch.nn.Module):
        def forward(self, pictures: torch.Tensor, instance: torch.Tensor) -> torch.Tensor:
            from pipeline.networks.baselines.feature_encoder import instance_means

            return instance_means(pictures, instance)

    found = InstanceCentres(recipe.data.train, recipe, torch.device("cpu")).find(Itself())
    assert sorted(of_classes) == [0, 1, 2, 3]
    for kind, means in of_classes.items():
        torch.testing.assert_close(found[kind], torch.stack(means).double().mean(0, keepdim=True), atol=1e-5, rtol=0)


def test_the_generator_sees_the_features_of_its_own_photograph(tiny_recipe: Make) -> None:
    recipe = make(tiny_recipe, **FEATURES)
    synthesis = TrainingState(recipe, Worker(), None).step.bare_synthesis
    batch = first_batch(recipe)
    label_input = synthesis.generator.label_input(batch.codes)
    with torch.no_grad():
        fake, kl = synthesis(label_input, batch, 0)
        _, regions = split_codes(batch.codes, recipe.labels)
        planes = synthesis.features(batch.pictures, regions)
        expected = synthesis.generator(label_input, features=planes)
    assert kl is None and torch.equal(fake, expected) and planes.shape == (4, 3, 32, 32)


def test_the_discriminator_sees_what_the_pool_returns_with_its_own_label_maps(tiny_recipe: Make) -> None:
    recipe = make(tiny_recipe, image_pool=3)
    step = TrainingState(recipe, Worker(), None).step
    batch = first_batch(recipe)
    (part,) = step._prepare(batch)
    # Held: pictures of other label maps; all four draws exchange.
    step.pool.codes[:] = batch.codes.roll(1, 0)[:3]
    step.pool.pictures[:] = batch.pictures.roll(1, 0)[:3]
    step.pool.count.fill_(3)
    seen: list[Any] = []
    exchange = step.pool.exchange

    def watched(codes: torch.Tensor, pictures: torch.Tensor, draws: torch.Tensor) -> Any:
        assert draws.shape == (4, 2) and float(draws.min()) >= 0 and float(draws.max()) < 1
        seen.append(exchange(codes, pictures, torch.tensor([[0.9, 0.1], [0.1, 0.5], [0.9, 0.5], [0.9, 0.9]])))
        return seen[-1]

    step.pool.exchange = watched
    fake = torch.zeros_like(batch.pictures)
    terms, _ = step.discriminator_terms(fake, part, 0)
    ((codes, pictures),) = seen
    assert torch.equal(pictures[0], batch.pictures[3]) and torch.equal(codes[0], batch.codes[3])
    assert (pictures[1] == 0).all() and torch.equal(codes[1], batch.codes[1])
    with torch.no_grad():
        of_fake = step.bare_discriminator(codes, pictures)
        of_real = step.bare_discriminator(batch.codes, batch.pictures)
    wanted = 0.5 * sum(layers[-1].square().mean() for layers in of_fake)
    torch.testing.assert_close(terms["discriminator/fake"], wanted, atol=1e-5, rtol=1e-4)
    wanted = 0.5 * sum((layers[-1] - 1).square().mean() for layers in of_real)
    torch.testing.assert_close(terms["discriminator/real"], wanted, atol=1e-5, rtol=1e-4)


def test_stages_train_first_the_inside_then_the_outside_then_everything(tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = make(tiny_recipe, steps=4, enhancers=1, global_steps=1, enhancer_steps=2)
    assert [stage_at(recipe.generator, step) for step in range(4)] == ["global", "enhancers", "enhancers", "all"]
    state = TrainingState(recipe, Worker(), None)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()
    generator = state.step.bare_synthesis.generator
    parts = {"inside": generator.body, "coarse": generator.coarse_last, "outside": generator.enhancers}
    parts["last"] = generator.last
    moved = []
    for step in range(4):
        before = {name: [value.clone() for value in part.parameters()] for name, part in parts.items()}
        state.set_rates(step)
        state.step(next(batches), step)
        moved.append(
            {
                name
                for name, part in parts.items()
                if any(not torch.equal(a, b) for a, b in zip(before[name], part.parameters(), strict=True))
            }
        )
    batches.close()
    assert moved == [{"inside", "coarse"}, {"outside", "last"}, {"outside", "last"}, {"inside", "outside", "last"}]

    # Until the enhancers have learned, pictures are the global generator's, enlarged.
    folder = train(recipe.model_copy(update={"name": "whole"}), tmp_path / "run", workers=0).folder
    assert load_checkpoint(folder).generator.stage == "all"
    from pipeline.checkpoints.file import save_generator

    save_generator(tmp_path / "early.safetensors", generator, recipe, step=1)
    early = load_checkpoint(tmp_path / "early.safetensors").generator
    assert early.stage == "global"
    codes = first_batch(recipe).codes[:1]
    with torch.no_grad():
        picture = early(codes)
        early.enhancers.requires_grad_(False).apply(
            lambda module: [torch.nn.init.zeros_(value) for value in module.parameters(recurse=False)]
        )
        assert picture.shape == (1, 3, 32, 32) and torch.equal(picture, early(codes))
        early.stage = "all"
        assert not torch.equal(picture, early(codes))


def test_a_batch_at_half_the_resolution(tiny_recipe: Make) -> None:
    recipe = make(tiny_recipe, **FEATURES)
    batch = first_batch(recipe)
    small = shrink(batch, 2, recipe.labels)
    codes, regions = split_codes(batch.codes, recipe.labels)
    small_codes, small_regions = split_codes(small.codes, recipe.labels)
    assert torch.equal((small_codes - 1) // 2, ((codes - 1) // 2)[:, 1::2, 1::2])
    assert torch.equal(small_regions, regions[:, 1::2, 1::2])
    edges = ((codes - 1) % 2).unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).amax(3)
    assert torch.equal((small_codes - 1) % 2, edges) and 0 < edges.float().mean() < 1
    torch.testing.assert_close(small.pictures[:, :, 0, 0], batch.pictures[:, :, :2, :2].mean((2, 3)))


def test_what_does_not_go_together_is_refused(tiny_recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_pool is of one worker; make it 0, or give --workers 1"):
        train(make(tiny_recipe, image_pool=2), tmp_path / "run", workers=2)
    with pytest.raises(InputError, match=r"global_steps is 1 and enhancer_steps 0, .* make enhancers 1, or leave"):
        make(tiny_recipe, global_steps=1)
    with pytest.raises(InputError, match="enhancer_steps are 5 together, more than the 4 steps in all"):
        make(tiny_recipe, enhancers=1, global_steps=2, enhancer_steps=3)
    with pytest.raises(InputError, match=r"augment and generator\.image_pool do not go together"):
        tiny_recipe(**{**OWN, "discriminator": {"spectral": False, "augment": ["cutout"]}},
                    generator={**HOURGLASS, "image_pool": 2})  # fmt: skip
    assert not (tmp_path / "run").exists()
