"""pix2pixHD++ against the public implementation's numbers, and its variants against the paper's counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipeline.checkpoints.baseline_names import pix2pixhd_plus_names
from pipeline.checkpoints.public_names import from_public
from pipeline.config import Pix2PixHDPlusSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.pix2pixhd_plus import Pix2PixHDPlusGenerator
from pipeline.networks.spade import SPADE
from tests.golden.baselines import Golden, cases, space_of
from tests.golden.names import to_public

NAMES = ["spectralinstance", "spectralbatch", "spectral_no_norm", "spectralsync_batch_kernel5"]
SPACE = LabelSpace(classes=tuple("abcde"), instance_edges=True)
ADE20K = LabelSpace(classes=tuple(map(str, range(150))), dont_care=255)
SMALL = Pix2PixHDPlusSettings(channels=4, downsamplings=2, blocks=2, hidden=8)


def generator_of(golden: Golden) -> Pix2PixHDPlusGenerator:
    config = golden.config
    settings = Pix2PixHDPlusSettings(
        channels=config["ngf"],
        downsamplings=config["resnet_n_downsample"],
        blocks=config["resnet_n_blocks"],
        statistics=config["norm_G"].removeprefix("spectral") or "none",
        first_kernel_size=config["resnet_initial_kernel_size"],
        block_kernel_size=config["resnet_kernel_size"],
    )
    generator = Pix2PixHDPlusGenerator(settings, space_of(config))
    names, state = pix2pixhd_plus_names(settings), golden.below("state/")
    ours = from_public(state, names)
    generator.load_state_dict(ours)
    back = to_public(ours, names)
    assert set(back) == set(state) and all(torch.equal(back[key], state[key]) for key in state)
    return generator


@pytest.mark.parametrize("path", cases([f"pix2pixhd_plus/generator_{name}" for name in NAMES]))
def test_generator(path: Path) -> None:
    """A training pass, what it leaves behind, the gradient of its first layer, and then evaluation."""
    golden = Golden(path)
    generator = generator_of(golden)
    codes = golden.codes(generator.space)
    output = generator(codes)
    torch.testing.assert_close(golden.strided(output.detach()), golden["output_train"], atol=1e-5, rtol=0)
    state = generator.state_dict()
    for key, value in from_public(golden.below("after_train/"), pix2pixhd_plus_names(generator.settings)).items():
        torch.testing.assert_close(state[key], value, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        evaluated = generator.eval()(codes)
    torch.testing.assert_close(golden.strided(evaluated), golden["output_eval"], atol=1e-5, rtol=0)
    if "grad/model.1.0.weight_orig" in golden:
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).mean().backward()
        gradient = generator.body.first.conv.parametrizations.weight.original.grad
        expected = golden["grad/model.1.0.weight_orig"]
        assert (gradient - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize(
    ("fields", "millions"),
    [
        ({"statistics": "instance"}, 182.89),
        ({"statistics": "instance", "channels": 48}, 102.96),
        ({}, 182.93),  # batch norm's scales and shifts
        ({"labels": "concat"}, 195.45),
        ({"labels": "spade"}, 236.88),
    ],
)
def test_parameters_for_ade20k_are_the_papers(fields: dict[str, Any], millions: float) -> None:
    """183M, compact 103M, with concatenation 195M, with SPADE 237M (Table 3)."""
    with torch.device("meta"):
        generator = Pix2PixHDPlusGenerator(Pix2PixHDPlusSettings(**fields), ADE20K)
    assert round(sum(parameter.numel() for parameter in generator.parameters()) / 1e6, 2) == millions
    assert sum(isinstance(module, SPADE) for module in generator.modules()) == 27 * (fields.get("labels") == "spade")


def random_codes(height: int = 16, width: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, SPACE.codes, (2, height, width), generator=generator, dtype=torch.int32)


@torch.no_grad()
def test_without_weights_for_labels_concatenation_is_the_plain_network() -> None:
    torch.manual_seed(0)
    concat = Pix2PixHDPlusGenerator(SMALL.model_copy(update={"labels": "concat", "spectral": False}), SPACE)
    plain = Pix2PixHDPlusGenerator(SMALL.model_copy(update={"spectral": False}), SPACE)
    state = concat.state_dict()
    for name, value in state.items():
        if re.search(r"blocks\.\d\.conv_0\.conv\.weight", name):
            state[name] = value[:, : -SPACE.channels]
            value[:, -SPACE.channels :] = 0
        elif value.dim() > 1:
            value.normal_(0, 0.1)
    plain.load_state_dict(state)
    assert torch.allclose(concat(random_codes()), plain(random_codes()), atol=1e-6)
    for name, value in concat.named_parameters():
        if re.search(r"blocks\.\d\.conv_0\.conv\.weight", name):
            value[:, -SPACE.channels :] = 1
    assert not torch.allclose(concat(random_codes()), plain(random_codes()), atol=1e-3)


@torch.no_grad()
def test_with_spade_patterns_and_dense_modulation_agree() -> None:
    torch.manual_seed(0)
    outputs = []
    for modulation in ("dense", "pattern"):
        torch.manual_seed(0)
        settings = SMALL.model_copy(update={"labels": "spade", "modulation": modulation, "statistics": "batch"})
        generator = Pix2PixHDPlusGenerator(settings, SPACE).double()
        for parameter in generator.parameters():
            if parameter.dim() > 1:
                parameter.mul_(20)
        outputs.append(generator(random_codes()))
    assert outputs[0].std() > 0.01
    torch.testing.assert_close(*outputs, atol=1e-9, rtol=0)


@pytest.mark.parametrize("labels", ["input", "concat", "spade"])
@torch.no_grad()
def test_in_evaluation_a_batch_is_its_pictures(labels: str) -> None:
    torch.manual_seed(0)
    generator = Pix2PixHDPlusGenerator(SMALL.model_copy(update={"labels": labels}), SPACE).double()
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            parameter.mul_(20)
    codes = random_codes()
    generator(codes)  # moves the running statistics
    generator.eval()
    alone = torch.cat([generator(each[None]) for each in codes])
    torch.testing.assert_close(generator(codes), alone, atol=1e-12, rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="'spade', which normalises, but statistics is 'none'"):
        Pix2PixHDPlusSettings(labels="spade", statistics="none")
    with pytest.raises(InputError, match="multiples of 4"):
        Pix2PixHDPlusGenerator(SMALL, SPACE)(random_codes(16, 18))
    wide = Pix2PixHDPlusGenerator(SMALL.model_copy(update={"block_kernel_size": 7}), SPACE)
    with pytest.raises(InputError, match="take 16 or more"):
        wide(random_codes(12, 16))
    assert wide(random_codes(16, 16)).shape == (2, 3, 16, 16)
