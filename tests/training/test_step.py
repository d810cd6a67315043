"""One GAN step against the public implementation's losses, gradients and running statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.checkpoints.public_names import GENERATOR, discriminator_from_public, from_public
from pipeline.config import DiscriminatorSettings, GeneratorSettings, LossSettings, Recipe, TrainingSettings
from pipeline.labels import LabelSpace, encode
from pipeline.networks.generator import Generator, layer_sizes
from pipeline.networks.noise import draw_noise, region_styles, split_noise
from pipeline.runtime.counter_based import derived_seeds
from tests.golden import own
from tests.golden.files import HERE, REFERENCE, needs_reference, read
from tests.golden.names import ours_to_public, to_public
from training.data.batch import Batch
from training.data.dataset import BatchLoader, RecordDataset
from training.loop import TrainingState, Worker
from training.objectives.patch_discriminator import Discriminator
from training.step import GanStep, Synthesis

Make = Callable[..., Recipe]


def prefixed(numbers: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in numbers.items() if key.startswith(prefix)}


@pytest.mark.parametrize("modulation", ["dense", "pattern"])
def test_the_step_against_the_small_figures(modulation: str) -> None:
    """The figures are our own, see tests/golden/README.md."""
    golden, metadata = read(HERE / "train_step.safetensors")
    found = own.step(golden, metadata["config"], modulation)
    assert set(found) == set(golden) - {"label", "instance"}
    for name, value in found.items():
        kind, _, public = name.partition("/")
        expected = golden[name]
        if kind == "gradient" and public.startswith("G/") and before_normalisation(public[2:]):
            assert value[0] < 1e-3, name  # and therefore zero, but for rounding
        elif kind in ("gradient", "kept"):
            assert (value - expected).norm() <= 1e-3 * expected[0], name
        else:
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4 if kind == "loss" else 1e-3)


@needs_reference
@pytest.mark.parametrize("modulation", ["dense", "pattern"])
def test_the_step_is_the_public_one(modulation: str) -> None:
    golden, metadata = read(REFERENCE / "spade/train_step.safetensors")
    config = metadata["config"]
    space = LabelSpace(classes=tuple(map(str, range(config["label_nc"]))), dont_care=255, instance_edges=True)
    label = np.where(golden["label"][:, 0] == config["label_nc"], 255, golden["label"][:, 0]).astype(np.uint8)
    codes = [encode(a, b, space) for a, b in zip(label, golden["instance"][:, 0].numpy(), strict=True)]

    size = config["crop_size"]
    settings = GeneratorSettings(channels=config["ngf"], modulation=modulation)
    generator = Generator(settings, space, height=size, width=size)
    generator.load_state_dict(from_public(prefixed(golden, "before_G/"), GENERATOR))
    discriminator = Discriminator(DiscriminatorSettings(channels=config["ndf"]), space)
    discriminator.load_state_dict(discriminator_from_public(prefixed(golden, "before_D/")))
    step = GanStep(
        Synthesis(generator, None),
        discriminator,
        weights=LossSettings(),
        settings=TrainingSettings(steps=1, learning_rate=2e-4),
    )
    # Adam's first step moves a weight by the learning rate whatever its gradient, be it only rounding error. So the
    # updated weights are compared where they have gradients, and the public ones go on to the discriminator's step.
    public = from_public(prefixed(golden, "after_G/"), GENERATOR)
    updated: dict[str, torch.Tensor] = {}

    def exchange(*_: object) -> None:
        for name, parameter in generator.named_parameters():
            updated[name] = parameter.detach().clone()
            parameter.data.copy_(public[name])

    step.optimiser.adam.register_step_post_hook(exchange)
    fakes = []
    generator.register_forward_hook(lambda module, inputs, output: fakes.append(output.detach()))
    terms = step(Batch(torch.from_numpy(np.stack(codes)), golden["real"], torch.zeros(2, 2, 0), torch.arange(2)))

    for ours, theirs in {
        "generator/gan": "gan",
        "generator/feature_matching": "feature_matching",
        "discriminator/fake": "d_fake",
        "discriminator/real": "d_real",
    }.items():
        torch.testing.assert_close(terms[ours], golden[f"loss/{theirs}"], rtol=0, atol=1e-5)
    for fake, name in zip(fakes, ["fake_first", "fake_second"], strict=True):
        torch.testing.assert_close(fake, golden[name], rtol=0, atol=5e-5)
    for name, parameter in generator.named_parameters():
        known = parameter.grad.abs() > 1e-5
        torch.testing.assert_close(updated[name][known], public[name][known], rtol=0, atol=1e-5)

    gradients = {
        "grad_G/": to_public({name: value.grad for name, value in generator.named_parameters()}, GENERATOR),
        "grad_D/": ours_to_public({name: value.grad for name, value in discriminator.named_parameters()}),
    }
    for prefix, ours in gradients.items():
        assert set(ours) == set(prefixed(golden, prefix))
        errors = {name: relative(gradient, golden[prefix + name]) for name, gradient in ours.items()}
        assert not {name: error for name, error in errors.items() if error > 1e-4 and not before_normalisation(name)}
    for name, gradient in gradients["grad_G/"].items():
        if before_normalisation(name):  # and therefore zero, but for rounding
            assert gradient.abs().max() < 1e-5
            assert golden[f"grad_G/{name}"].abs().max() < 1e-5

    after = {
        "after_G/": to_public(generator.state_dict(), GENERATOR),
        "after_D/": ours_to_public(discriminator.state_dict()),
    }
    compared = 0
    for prefix, ours in after.items():
        assert set(ours) == set(prefixed(golden, prefix))
        for name, value in ours.items():
            if name.endswith(("weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked")):
                torch.testing.assert_close(value, golden[prefix + name], rtol=1e-5, atol=1e-5)
                compared += 1
    assert compared > 80


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


def before_normalisation(name: str) -> bool:
    """Whether a bias is added to every pixel of what the next normalisation takes it away from again."""
    shifts = name.endswith(("conv_0.bias", "conv_1.bias", "norm_s.mlp_beta.bias")) or name == "fc.bias"
    return shifts and name not in ("up_3.conv_1.bias", "up_3.norm_s.mlp_beta.bias")  # these reach the picture


@pytest.mark.parametrize("reuse_fake", [False, True])
def test_the_discriminator_sees_new_fakes_or_on_request_the_same(tiny_recipe: Make, reuse_fake: bool) -> None:
    state = TrainingState(tiny_recipe(reuse_fake=reuse_fake), Worker(), None)
    drawn, seen = [], []
    generator, discriminator = state.step.bare_synthesis.generator, state.step.bare_discriminator
    generator.register_forward_hook(lambda module, inputs, output: drawn.append(output.detach()))
    discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1][:4].detach()))
    state.step(next(BatchLoader(RecordDataset(state.recipe.data.train, state.recipe)).batches()))
    assert len(drawn) == (1 if reuse_fake else 2)
    assert torch.equal(seen[0], drawn[0])
    assert torch.equal(seen[1], drawn[-1])


def test_weights_of_the_pixel_and_the_style_term(tiny_recipe: Make) -> None:
    state = TrainingState(tiny_recipe(style_dim=3, losses={"pixel": 3.0, "kl": 0.25}), Worker(), None)
    fakes, styles = [], []
    synthesis = state.step.bare_synthesis
    synthesis.generator.register_forward_hook(lambda module, inputs, output: fakes.append(output.detach()))
    synthesis.encoder.register_forward_hook(lambda module, inputs, output: styles.append(output))
    batch = next(BatchLoader(RecordDataset(state.recipe.data.train, state.recipe)).batches())
    terms = state.step(batch)
    torch.testing.assert_close(terms["generator/pixel"], 3 * (fakes[0] - batch.pictures).abs().mean())
    mu, logvar = styles[0]
    divergence = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum().detach()
    torch.testing.assert_close(terms["generator/kl"], 0.25 * divergence)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_teaches_the_scales_of_noise_and_draws_anew_for_the_discriminator(
    tiny_recipe: Make, accumulate: int
) -> None:
    """Noise is a function of the record, its epoch and whose turn it is, and of nothing else."""
    settings = {"size": 64, "statistics": "instance", "accumulate": accumulate, "generator": {"noise": True}}
    state = TrainingState(tiny_recipe(**settings), Worker(), None)
    generator = state.step.bare_synthesis.generator
    seen: list[torch.Tensor] = []
    generator.blocks[3].norm_0.register_forward_pre_hook(
        lambda layer, inputs: seen.append(inputs[1].noise[layer.number])
    )
    batch = next(BatchLoader(RecordDataset(state.recipe.data.train, state.recipe)).batches())
    state.step(batch)
    scales = {name: value for name, value in generator.named_parameters() if name.endswith("noise_scale")}
    assert len(scales) == 18
    for name, scale in scales.items():
        assert scale.grad is not None and scale.grad.abs().max() > 0 and scale.abs().max() > 0, name
    first, second = torch.cat(seen[:accumulate]), torch.cat(seen[accumulate:])
    sizes = layer_sizes(generator.settings, (64, 64))
    for turn, noise in enumerate((first, second)):
        drawn = draw_noise(derived_seeds(batch.seeds, f"fake {turn}"), sizes)
        assert torch.equal(noise, split_noise(drawn, sizes)[6])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("region", ["class", "instance"])
def test_regions_have_styles_of_their_own_and_the_discriminator_sees_classes(tiny_recipe: Make, region: str) -> None:
    generator = {"style_input": "everywhere", "style_encoder": False, "region_styles": region}
    recipe = tiny_recipe(
        size=64,
        style_dim=3,
        generator=generator,
        discriminator={"kind": "segmentation"},
        losses={"feature_matching": 0},
    )
    state = TrainingState(recipe, Worker(), None)
    plain = tiny_recipe(size=64)
    seen: list[torch.Tensor] = []
    state.step.bare_synthesis.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    batch, same = (next(BatchLoader(RecordDataset(each.data.train, each)).batches()) for each in (recipe, plain))
    (part,) = state.step._prepare(batch)
    expected = ((same.codes.long() - 1) // 2).masked_fill(same.codes > 6, -1)  # don't-care
    assert torch.equal(part.objective.targets.classes, expected)
    state.step(batch)
    count = part.label_input.region_count
    assert count == 4  # the data set's instances do not cut up its classes
    for turn, z in enumerate(seen):
        assert torch.equal(z, region_styles(derived_seeds(batch.seeds, f"fake {turn}"), count, 3))
