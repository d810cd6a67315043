"""pix2pixHD's networks against the public implementation's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.checkpoints.baseline_names import feature_encoder_names, global_generator_names, local_enhancer_names
from pipeline.checkpoints.public_names import from_public
from pipeline.config import Pix2PixHDSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.feature_encoder import FeatureEncoder, instance_means
from pipeline.networks.baselines.local_enhancer import LocalEnhancer, halve
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from tests.golden.baselines import Golden, cases, space_of
from tests.golden.names import to_public

SPACE = LabelSpace(classes=tuple("abcde"), instance_edges=True)
SMALL = Pix2PixHDSettings(channels=4, downsamplings=2, blocks=1)


def settings_of(config: dict[str, Any], **changes: Any) -> Pix2PixHDSettings:
    return Pix2PixHDSettings(
        channels=config["ngf"],
        downsamplings=config["n_downsample_global"],
        blocks=config["n_blocks_global"],
        statistics=config.get("norm", "instance"),
        **changes,
    )


def load(network: nn.Module, state: dict[str, torch.Tensor], names: dict[str, str]) -> None:
    """Under our names; and there and back again."""
    ours = from_public(state, names)
    network.load_state_dict({**ours, **{key: value for key, value in network.state_dict().items() if "num_b" in key}})
    back = to_public(ours, names)
    assert set(back) == set(state) and all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("path", cases(["pix2pixhd/global_generator", "pix2pixhd/global_generator_deep"]))
@torch.no_grad()
def test_global_generator(path: Path) -> None:
    golden = Golden(path)
    settings = settings_of(golden.config)
    generator = GlobalGenerator(settings, space_of(golden.config))
    load(generator, golden.below("state/"), global_generator_names(settings))
    codes = golden.codes(generator.space)
    output = generator(codes)
    torch.testing.assert_close(golden.strided(output), golden["output"], atol=1e-5, rtol=0)
    assert torch.equal(generator.eval()(codes), output)


@pytest.mark.parametrize("path", cases(["pix2pixhd/global_generator_batch"]))
@torch.no_grad()
def test_global_generator_with_batch_norm(path: Path) -> None:
    golden = Golden(path)
    settings = settings_of(golden.config)
    generator = GlobalGenerator(settings, space_of(golden.config))
    load(generator, golden.below("state/"), global_generator_names(settings))
    codes = golden.codes(generator.space)
    torch.testing.assert_close(generator(codes), golden["output_train"], atol=1e-5, rtol=0)
    after = from_public(golden.below("after_train/"), global_generator_names(settings))
    state = generator.state_dict()
    for name, value in after.items():
        torch.testing.assert_close(state[name], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(generator.eval()(codes), golden["output_eval_after_train"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", cases(["pix2pixhd/local_enhancer"]))
@torch.no_grad()
def test_local_enhancer(path: Path) -> None:
    golden = Golden(path)
    config = golden.config
    settings = settings_of(config, enhancers=config["n_local_enhancers"], enhancer_blocks=config["n_blocks_local"])
    generator = LocalEnhancer(settings, space_of(config))
    load(generator, golden.below("state/"), local_enhancer_names(settings))
    label_input = generator.label_input(golden.codes(generator.space))
    small = halve(label_input.one_hot_at(config["h"], config["w"]))
    torch.testing.assert_close(small, golden["input_downsampled"], atol=1e-6, rtol=0)
    torch.testing.assert_close(generator.body(small), golden["global_features"], atol=2e-5, rtol=0)
    torch.testing.assert_close(generator(label_input), golden["output"], atol=2e-5, rtol=0)


def test_two_enhancers_halve_the_width_twice() -> None:
    settings = SMALL.model_copy(update={"enhancers": 2, "enhancer_blocks": 1})
    generator = LocalEnhancer(settings, SPACE)
    assert generator.body.first.conv.out_channels == 16
    assert [enhancer.first.conv.out_channels for enhancer in generator.enhancers] == [8, 4]
    assert generator(torch.ones(1, 32, 48, dtype=torch.int32)).shape == (1, 3, 32, 48)
    with pytest.raises(InputError, match="multiples of 16"):
        generator(torch.ones(1, 32, 40, dtype=torch.int32))


@pytest.mark.parametrize("path", cases(["pix2pixhd/encoder"]))
@torch.no_grad()
def test_feature_encoder(path: Path) -> None:
    golden = Golden(path)
    config = golden.config
    settings = Pix2PixHDSettings(
        features=config["feat_num"], encoder_channels=config["nef"], encoder_downsamplings=config["n_downsample_E"]
    )
    encoder = FeatureEncoder(settings)
    load(encoder, golden.below("state/"), feature_encoder_names(settings))
    features = golden.strided(encoder.features(golden["image"]))
    torch.testing.assert_close(features, golden["features"], atol=1e-5, rtol=0)
    output = golden.strided(encoder(golden["image"], golden["instance"][:, 0]))
    torch.testing.assert_close(output, golden["output"], atol=1e-5, rtol=0)


def test_features_are_the_means_of_instances_and_equal_ids_in_two_pictures_stay_apart() -> None:
    planes = torch.arange(16.0).view(2, 2, 1, 4)
    instance = torch.tensor([[[7, 7, 26001, 7]], [[7, -1, -1, 7]]])
    means = instance_means(planes, instance)
    expected = [[4 / 3, 4 / 3, 2, 4 / 3], [16 / 3, 16 / 3, 6, 16 / 3]], [[9.5] * 4, [13.5] * 4]
    torch.testing.assert_close(means[:, :, 0], torch.tensor(expected))


def test_features_stand_beside_the_label_map() -> None:
    generator = GlobalGenerator(SMALL.model_copy(update={"features": 3}), SPACE)
    codes = torch.ones(1, 8, 12, dtype=torch.int32)
    assert generator.body.first.conv.in_channels == 9
    first, second = (generator(codes, features=torch.full((1, 3, 8, 12), value)) for value in (0.0, 0.5))
    assert first.shape == second.shape == (1, 3, 8, 12)
    with pytest.raises(InputError, match="takes 3 planes of features, or a number for each region"):
        generator(codes)
    with pytest.raises(InputError, match="takes no features"):
        GlobalGenerator(SMALL, SPACE)(codes, features=torch.zeros(1, 3, 8, 12))


@torch.no_grad()
def test_a_batch_is_its_pictures() -> None:
    torch.manual_seed(0)
    codes = torch.randint(1, SPACE.codes, (3, 16, 24), dtype=torch.int32)
    for changes in ({}, {"enhancers": 1}):
        settings = SMALL.model_copy(update=changes)
        generator = (LocalEnhancer if changes else GlobalGenerator)(settings, SPACE).double()
        alone = torch.cat([generator(each[None]) for each in codes])
        torch.testing.assert_close(generator(codes), alone, atol=1e-12, rtol=0)
        assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "message"), [((8, 10), "multiples of 4"), ((4, 12), "8 or more")])
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GlobalGenerator(SMALL, SPACE)(torch.ones(1, *size, dtype=torch.int32))


def test_parameters_at_full_width() -> None:
    """For Cityscapes' 35 classes and instance edges; the paper counts 183M."""
    space = LabelSpace(classes=tuple(map(str, range(35))), instance_edges=True)
    with torch.device("meta"):
        whole = GlobalGenerator(Pix2PixHDSettings(), space)
        enhanced = LocalEnhancer(Pix2PixHDSettings(channels=32, enhancers=1), space)
    assert [round(sum(p.numel() for p in n.parameters()) / 1e6, 2) for n in (whole, enhanced)] == [182.55, 182.86]
