"""Normalisation washes a label map of one class away, SPADE does not (Sec. 3.2 and Fig. 3); with the public weights."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.checkpoints.baseline_names import global_generator_names, pix2pixhd_plus_names
from pipeline.checkpoints.public_names import from_public
from pipeline.config import CRNSettings
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.baselines.washing_away import (
    layer_spreads,
    one_class_maps,
    spread,
    with_plain_instance_norm,
)
from pipeline.networks.normalise import InstanceNorm
from tests.golden import own
from tests.golden.baselines import FOLDER, PUBLIC, WASHING_AWAY, Golden, cases, space_of
from tests.golden.files import HERE, needs_reference, read
from tests.pipeline.networks.baselines.test_crn import CITYSCAPES
from tests.pipeline.networks.baselines.test_crn import load as load_crn
from tests.pipeline.networks.baselines.test_pix2pixhd import load, settings_of
from tests.pipeline.networks.baselines.test_pix2pixhd_plus import generator_of
from tests.pipeline.networks.test_golden import golden_generator

SIZE = 32, 64


@pytest.fixture(scope="module")
def pix2pixhd() -> GlobalGenerator:
    golden = Golden(FOLDER / "pix2pixhd/global_generator.safetensors")
    settings = settings_of(golden.config)
    generator = GlobalGenerator(settings, space_of(golden.config))
    load(generator, golden.below("state/"), global_generator_names(settings))
    return generator


@torch.no_grad()
def test_one_convolution_and_one_norm(pix2pixhd: GlobalGenerator) -> None:
    golden = Golden(FOLDER / f"{WASHING_AWAY}.safetensors")
    codes = one_class_maps(pix2pixhd.space, *SIZE)
    before = pix2pixhd.body.first.conv(pix2pixhd.label_input(codes).one_hot_at(*SIZE))
    expected = golden["pix2pixhd/before_first_norm"][..., None, None].expand_as(before)
    torch.testing.assert_close(before, expected, atol=1e-5, rtol=0)
    assert spread(before) > 0.1
    assert nn.InstanceNorm2d(8)(before).abs().max() < 1e-4
    assert InstanceNorm()(before).abs().max() == 0


@pytest.mark.parametrize("size", [SIZE, (36, 28), (8, 52)])
@torch.no_grad()
def test_pix2pixhd_paints_one_colour_whatever_the_class(pix2pixhd: GlobalGenerator, size: tuple[int, int]) -> None:
    golden = Golden(FOLDER / f"{WASHING_AWAY}.safetensors")
    codes = one_class_maps(pix2pixhd.space, *size)
    pictures = torch.cat([pix2pixhd(each[None]) for each in codes])
    assert len(pictures) == 7 and spread(pictures) == 0
    colour = pictures[0, :, 0, 0]
    assert torch.equal(pictures, colour.view(1, 3, 1, 1).expand_as(pictures))
    assert torch.equal(colour, torch.tanh(pix2pixhd.last.bias))
    torch.testing.assert_close(colour, golden["pix2pixhd/expected_colour"], atol=1e-6, rtol=0)


def test_rounding_of_an_ordinary_norm_grows_until_it_looks_like_a_difference(pix2pixhd: GlobalGenerator) -> None:
    codes = one_class_maps(pix2pixhd.space, *SIZE)
    exact, plain = layer_spreads(pix2pixhd, codes), layer_spreads(with_plain_instance_norm(pix2pixhd), codes)
    assert list(exact) == list(plain) and list(exact)[:3] == ["body.first.conv", "body.first.norm", "body.down.0.conv"]
    assert exact["body.first.conv"] > 0.1
    assert all(value == 0 for name, value in exact.items() if name.endswith(".norm"))
    assert exact["picture"] == 0 and not any(module._forward_hooks for module in pix2pixhd.modules())
    norms = [value for name, value in plain.items() if name.endswith(".norm")]
    assert 0 < norms[0] < 1e-4 and norms[1] > 10 * norms[0] and norms[2] > 10 * norms[1]
    assert plain["picture"] > 0.5


@pytest.mark.parametrize("path", cases(["pix2pixhd_plus/generator_spectralinstance"]))
@torch.no_grad()
def test_pix2pixhd_plus_with_instance_norm_does_too(path: Path) -> None:
    colour = Golden(FOLDER / f"{WASHING_AWAY}.safetensors")["pix2pixhd_plus/spectralinstance/expected_colour"]
    generator = generator_of(Golden(path)).eval()
    codes = one_class_maps(generator.space, 32, 48)
    pictures = torch.cat([generator(each[None]) for each in codes])
    assert spread(pictures) == 0
    torch.testing.assert_close(pictures, colour.view(1, 3, 1, 1).expand_as(pictures), atol=1e-6, rtol=0)


@torch.no_grad()
def test_zero_padding_leaks_the_class_at_the_border(pix2pixhd: GlobalGenerator) -> None:
    first = pix2pixhd.body.first
    planes = pix2pixhd.label_input(one_class_maps(pix2pixhd.space, *SIZE)).one_hot_at(*SIZE)
    padded = nn.functional.conv2d(planes, first.conv.weight, first.conv.bias, padding=3)
    assert spread(first.norm(padded)) > 1


@needs_reference
@pytest.mark.parametrize("name", ["spectralbatch", "spectralsync_batch_kernel5", "spectral_no_norm"])
@torch.no_grad()
def test_running_statistics_do_not_wash_away(name: str) -> None:
    expected = Golden(PUBLIC / f"{WASHING_AWAY}.safetensors")[f"pix2pixhd_plus/{name}/output_eval"]
    golden = Golden(PUBLIC / f"pix2pixhd_plus/generator_{name}.safetensors")
    generator = generator_of(golden).eval()
    after = from_public(golden.below("after_train/"), pix2pixhd_plus_names(generator.settings))
    generator.load_state_dict({**generator.state_dict(), **after})
    codes = one_class_maps(generator.space, *expected.shape[2:])[: len(expected)]
    pictures = torch.cat([generator(each[None]) for each in codes])
    torch.testing.assert_close(pictures, expected, atol=1e-5, rtol=0)
    assert spread(pictures) > 0.05


@torch.no_grad()
def test_layer_normalisation_does_not_wash_away() -> None:
    """CRN's module of 64 rows tells the classes apart by as much as its features are large."""
    golden = Golden(FOLDER / "crn/generator_256p_diversity.safetensors")
    network = CRN(CRNSettings(widths=(12, 8, 1, 1), pictures=9), CITYSCAPES, height=256, width=512)
    load_crn(network, golden.below("state/"))
    seen: list[torch.Tensor] = []
    network.refinements[4].register_forward_hook(lambda module, inputs, output: seen.append(output[0, :, 32, 64]))
    for codes in one_class_maps(CITYSCAPES, 256, 512)[:3]:
        network(codes[None])
    assert spread(torch.stack(seen)) > torch.stack(seen).abs().mean()


def all_differ(pictures: torch.Tensor) -> float:
    return min(float((a - b).abs().mean()) for a, b in itertools.combinations(pictures, 2))


@torch.no_grad()
def test_spade_keeps_every_class_apart() -> None:
    golden, metadata = read(HERE / "generator_normal.safetensors")
    generator, codes, _ = own.generator(golden, metadata["config"], "pattern")
    maps = one_class_maps(generator.space, *codes.shape[1:])
    pictures = torch.cat([generator(each[None]) for each in maps])
    assert all_differ(pictures) > 0.01


@needs_reference
@torch.no_grad()
def test_spade_with_public_weights_keeps_every_class_apart() -> None:
    expected = Golden(PUBLIC / f"{WASHING_AWAY}.safetensors")["spade/output_eval"]
    generator, codes, _ = golden_generator("normal", "pattern")
    maps = one_class_maps(generator.space, *codes.shape[1:])
    pictures = torch.cat([generator(each[None]) for each in maps])
    torch.testing.assert_close(pictures, expected, atol=1e-5, rtol=0)
    assert spread(pictures) > 0.4 and all_differ(pictures) > 0.03
