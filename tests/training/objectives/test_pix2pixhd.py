"""pix2pixHD's discriminator, losses, image pool and training step against the public implementation's numbers."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.checkpoints.baseline_names import feature_encoder_names, global_generator_names
from pipeline.checkpoints.public_names import from_public
from pipeline.config import DiscriminatorSettings, LossSettings, Pix2PixHDSettings
from pipeline.networks.baselines.feature_encoder import FeatureEncoder
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from tests.golden.baselines import PUBLIC, Golden, cases, golden_vgg, space_of
from tests.golden.files import needs_reference
from tests.golden.names import to_public
from training.objectives import losses
from training.objectives.image_pool import ImagePool
from training.objectives.patch_discriminator import Discriminator
from training.objectives.perceptual import vgg_loss
from training.objectives.pix2pixhd import Pix2PixHDObjective

LSGAN = LossSettings(gan="least_squares")


def discriminator_of(golden: Golden, prefix: str) -> Discriminator:
    config = golden.config
    settings = DiscriminatorSettings(
        channels=config["ndf"], scales=config["num_D"], layers=config["n_layers_D"] + 1, spectral=False
    )
    network = Discriminator(settings, space_of(config))
    names = discriminator_names(settings)
    state = from_public(golden.below(prefix), names)
    biases = {key for key in state if re.search(r"middle\.\d+\.bias", key)}  # instance norm takes them away
    network.load_state_dict({key: value for key, value in state.items() if key not in biases})
    return network


def discriminator_names(settings: DiscriminatorSettings) -> dict[str, str]:
    """Parts of public keys, whose last scale sees the whole picture, and ours."""
    names = {}
    for scale in range(settings.scales):
        public, ours = f"scale{settings.scales - 1 - scale}_layer", f"scales.{scale}"
        names[f"{public}0.0"] = f"{ours}.first"
        for layer in range(1, settings.layers):
            names[f"{public}{layer}.0"] = f"{ours}.middle.{layer - 1}"
        names[f"{public}{settings.layers}.0"] = f"{ours}.last"
    return names


@pytest.mark.parametrize("path", cases(["pix2pixhd/discriminator"]))
def test_discriminator_and_losses(path: Path) -> None:
    golden = Golden(path)
    discriminator = discriminator_of(golden, "state/")
    codes = golden.codes(discriminator.space)
    fake, real = golden["fake"], golden["real"]
    features = losses.split_features(discriminator(codes, torch.cat([fake, real])))
    for name, half in zip(("fake", "real"), features, strict=True):
        for scale, layers in enumerate(half):
            for layer, feature in enumerate(layers):
                expected = golden[f"features_{name}/{scale}/{layer}"]
                torch.testing.assert_close(golden.strided(feature), expected, rtol=0, atol=1e-5)
    objective = Pix2PixHDObjective(discriminator, codes, LSGAN)
    terms = objective.generator_terms(discriminator, fake, real)
    torch.testing.assert_close(terms["generator/gan"], golden["loss/lsgan/generator"], rtol=0, atol=1e-5)
    matching = golden["loss/feature_matching"]
    torch.testing.assert_close(terms["generator/feature_matching"], matching, rtol=0, atol=1e-5)
    terms, _ = objective.discriminator_terms(discriminator, fake, real)
    for name in ("fake", "real"):
        expected = 0.5 * golden[f"loss/lsgan/discriminator_{name}"]
        torch.testing.assert_close(terms[f"discriminator/{name}"], expected, rtol=0, atol=1e-5)


def test_feature_matching_has_the_factor_of_its_layers() -> None:
    """4 / (n_layers_D + 1): with 3 convolutions before the last, 4 / 3 of SPADE's."""
    torch.manual_seed(0)
    golden = {"label_nc": 3, "no_instance": True}
    discriminator = Discriminator(DiscriminatorSettings(channels=2, layers=3, spectral=False), space_of(golden))
    codes, (fake, real) = torch.ones(1, 32, 32, dtype=torch.int32), torch.rand(2, 1, 3, 32, 32)
    terms = Pix2PixHDObjective(discriminator, codes, LSGAN).generator_terms(discriminator, fake, real)
    features = losses.split_features(discriminator(codes, torch.cat([fake, real])))
    expected = 10 * 4 / 3 * losses.feature_matching(*features)
    torch.testing.assert_close(terms["generator/feature_matching"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("path", cases(["pix2pixhd/perceptual"]))
def test_perceptual_loss_without_normalisation(path: Path) -> None:
    golden = Golden(path)
    features = golden_vgg(golden.config["weight_seed"])
    loss = vgg_loss(features, normalise=False)
    fake = golden["fake"].requires_grad_()
    value = loss(fake, golden["real"])
    torch.testing.assert_close(value, golden["loss"], rtol=1e-5, atol=0)
    value.backward()
    assert (fake.grad - golden["gradient"]).norm() <= 1e-4 * golden["gradient"].norm()
    assert not torch.isclose(vgg_loss(features)(fake, golden["real"]), golden["loss"], rtol=0.01)


@pytest.mark.parametrize("path", cases(["pix2pixhd/image_pool"]))
@pytest.mark.parametrize("size", [0, 1, 3, 50])
def test_image_pool(path: Path, size: int) -> None:
    golden = Golden(path)
    config = golden.config
    drawn = random.Random(config["seed"] + size)
    pool = ImagePool(size, height=1, width=2)
    returned = []
    for number in range(config["batches"] * config["batch_size"]):
        draws = [0.0, 0.0]
        if number >= size > 0:  # the public pool draws from when it is full, a place only where it exchanges
            draws[0] = drawn.uniform(0, 1)
            draws[1] = (drawn.randint(0, size - 1) + 0.5) / size if draws[0] > 0.5 else 0
        codes = torch.full((1, 1, 2), number, dtype=torch.int32)
        codes, pictures = pool.exchange(codes, torch.full((1, 3, 1, 2), float(number)), torch.tensor([draws]).double())
        assert (pictures == codes).all()
        returned.append(float(pictures[0, 0, 0, 0]))
    assert returned == golden[f"returned/{size}"].tolist()
    if size:
        assert pool.pictures[: int(pool.count), 0, 0, 0].tolist() == golden[f"left/{size}"].tolist()


@needs_reference
def test_the_step_is_the_public_one() -> None:
    """Generator and encoder learn from the same fake that the discriminator sees, drawn before either was updated."""
    golden = Golden(PUBLIC / "pix2pixhd/train_step.safetensors")
    config = golden.config
    settings = Pix2PixHDSettings(
        channels=config["ngf"],
        downsamplings=config["n_downsample_global"],
        blocks=config["n_blocks_global"],
        features=config["feat_num"],
        encoder_channels=config["nef"],
        encoder_downsamplings=config["n_downsample_E"],
    )
    space = space_of(config)
    generator, encoder = GlobalGenerator(settings, space), FeatureEncoder(settings)
    discriminator = discriminator_of(golden, "before_D/")
    names = {"G": global_generator_names(settings), "E": feature_encoder_names(settings)}
    for part, network in (("G", generator), ("E", encoder)):
        styles = {key: value for key, value in network.state_dict().items() if key.startswith("styles.")}
        network.load_state_dict(styles | from_public(golden.below(f"before_{part}/"), names[part]))
    names["D"] = discriminator_names(DiscriminatorSettings(layers=config["n_layers_D"] + 1, scales=config["num_D"]))
    networks = {"G": generator, "E": encoder, "D": discriminator}
    generator_adam = torch.optim.Adam([*generator.parameters(), *encoder.parameters()], config["lr"], (0.5, 0.999))
    discriminator_adam = torch.optim.Adam(discriminator.parameters(), config["lr"], (0.5, 0.999))
    codes, real = golden.codes(space), golden["real"]
    objective = Pix2PixHDObjective(discriminator, codes, LSGAN)

    fake = generator(codes, features=encoder(real, golden["instance"][:, 0]))
    torch.testing.assert_close(fake, golden["fake"], rtol=0, atol=1e-5)
    terms = objective.generator_terms(discriminator, fake, real)
    total(terms).backward()
    found = {part: gradients(networks[part]) for part in "GE"}
    generator_adam.step()
    discriminator_adam.zero_grad()  # the generator's loss has filled them too
    of_discriminator, _ = objective.discriminator_terms(discriminator, fake.detach(), real)
    terms |= of_discriminator
    total(of_discriminator).backward()
    found["D"] = gradients(discriminator)
    discriminator_adam.step()

    for ours, theirs, factor in (
        ("generator/gan", "G_GAN", 1),
        ("generator/feature_matching", "G_GAN_Feat", 1),
        ("discriminator/fake", "D_fake", 0.5),
        ("discriminator/real", "D_real", 0.5),
    ):
        torch.testing.assert_close(terms[ours], factor * golden[f"loss/{theirs}"], rtol=0, atol=1e-5)
    for part, network in networks.items():
        public, after = (to_public(each, names[part]) for each in (found[part], dict(network.named_parameters())))
        compared = 0
        for name, gradient in public.items():
            expected = golden[f"grad_{part}/{name}"]
            if name.endswith("bias") and expected.abs().max() < 1e-5:
                continue  # before a norm, and therefore zero, but for rounding
            compared += 1
            assert (gradient - expected).norm() <= 1e-4 * expected.norm(), name
            moved = golden[f"after_{part}/{name}"]
            known = expected.abs() > 1e-5  # Adam's first step is the learning rate, whatever the gradient
            torch.testing.assert_close(after[name][known], moved[known], rtol=0, atol=1e-5)
        assert compared >= len(public) / 2


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
