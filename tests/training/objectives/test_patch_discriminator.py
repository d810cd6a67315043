"""The discriminator and every loss against the public implementation's numbers, and look-up against convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.checkpoints.public_names import discriminator_from_public
from pipeline.config import DiscriminatorSettings
from pipeline.labels import LabelSpace, encode
from tests.golden.files import HERE, REFERENCE, needs_reference, read
from tests.golden.names import ours_to_public
from training.objectives import losses, patch_discriminator
from training.objectives.label_planes import label_pyramid, strided_windows
from training.objectives.patch_discriminator import Discriminator

SPACE = LabelSpace(classes=tuple("abcdefg"), dont_care=255, instance_edges=True)


@pytest.fixture(
    scope="module", params=[HERE, pytest.param(REFERENCE / "spade", marks=needs_reference)], ids=["here", "reference"]
)
def golden(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    numbers, metadata = read(request.param / "discriminator.safetensors")
    numbers["config"] = metadata["config"]
    numbers["stride"] = int(metadata.get("stride", 1))
    space = LabelSpace(classes=tuple(map(str, range(11))), dont_care=255, instance_edges=True)
    # The golden label maps store don't-care as the class after the last.
    label = np.where(numbers["label"][:, 0] == 11, 255, numbers["label"][:, 0]).astype(np.uint8)
    pairs = zip(label, numbers["instance"][:, 0].numpy(), strict=True)
    numbers["codes"] = torch.from_numpy(np.stack([encode(a, b, space) for a, b in pairs]))
    numbers["space"] = space
    return numbers


def loaded(golden: dict) -> Discriminator:
    settings = DiscriminatorSettings(channels=golden["config"]["ndf"])
    discriminator = Discriminator(settings, golden["space"])
    state = {key.removeprefix("state/"): value for key, value in golden.items() if key.startswith("state/")}
    discriminator.load_state_dict(discriminator_from_public(state))
    assert {key: id(value) for key, value in ours_to_public(discriminator_from_public(state)).items()} == {
        key: id(value) for key, value in state.items()
    }
    return discriminator.eval()


@pytest.mark.parametrize("dense", [False, True])
def test_features_are_the_public_ones(golden: dict, dense: bool) -> None:
    pictures = torch.cat([golden["fake"], golden["real"]])
    features = loaded(golden)(golden["codes"], pictures, dense=dense)
    assert len(features) == 2
    for scale, layers in enumerate(features):
        assert len(layers) == 5
        for layer, feature in enumerate(layers):
            sampled = feature[..., :: golden["stride"], :: golden["stride"]]
            torch.testing.assert_close(sampled, golden[f"features/{scale}/{layer}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("public", "ours"),
    [("hinge", "hinge"), ("ls", "least_squares"), ("original", "original"), ("w", "wasserstein")],
)
def test_losses_are_the_public_ones(golden: dict, public: str, ours: str) -> None:
    features = loaded(golden)(golden["codes"], torch.cat([golden["fake"], golden["real"]]))
    fake, real = losses.split_features(features)
    for name, value in {
        "generator": losses.score_loss(fake, losses.WANTED[ours]),
        "discriminator_fake": losses.score_loss(fake, losses.FAKE[ours]),
        "discriminator_real": losses.score_loss(real, losses.REAL[ours]),
    }.items():
        torch.testing.assert_close(value, golden[f"loss/{public}/{name}"], rtol=0, atol=1e-5)
    matching = 10 * losses.feature_matching(fake, real)
    torch.testing.assert_close(matching, golden["loss/feature_matching_lambda10"], rtol=0, atol=1e-5)


def random_codes(shape: tuple[int, int, int], *, blocky: bool) -> torch.Tensor:
    """Valid codes of SPACE: noise, or flat regions of 5x5 pixels as in real label maps."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(1, SPACE.codes, shape, generator=generator, dtype=torch.int32)
    if blocky:
        codes = codes.repeat_interleave(5, 1).repeat_interleave(5, 2)[:, : shape[1], : shape[2]].contiguous()
    return codes


@pytest.mark.parametrize("blocky", [True, False])
@pytest.mark.parametrize(("size", "downsampling"), [((32, 32), "stride"), ((33, 47), "stride"), ((33, 47), "blur")])
def test_look_up_is_the_convolution(size: tuple[int, int], downsampling: str, blocky: bool) -> None:
    """Features and all gradients of the look-up path equal those of the one-hot convolution, float64."""
    torch.manual_seed(0)
    settings = DiscriminatorSettings(channels=4, scales=3, downsampling=downsampling, detail=True)
    discriminator = Discriminator(settings, SPACE).double().eval()
    codes = random_codes((2, *size), blocky=blocky)
    pictures = torch.rand(4, 3, *size, dtype=torch.float64)
    gradients, outputs = [], []
    for dense in (False, True):
        discriminator.zero_grad()
        features = discriminator(codes, pictures, dense=dense)
        torch.stack([layer.square().mean() for layers in features for layer in layers]).sum().backward()
        outputs.append([layer for layers in features for layer in layers])
        gradients.append([parameter.grad.clone() for parameter in discriminator.parameters()])
    # Pooled planes are averages in float32, hence not 1e-15.
    for a, b in zip([*outputs[0], *gradients[0]], [*outputs[1], *gradients[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)


def test_windows_are_distinct_and_all_there() -> None:
    index = random_codes((2, 12, 15), blocky=True).long()
    windows = strided_windows(index, 4, stride=2, padding=2)
    padded = torch.nn.functional.pad(index, (2, 2, 2, 2))
    every = padded.unfold(1, 4, 2).unfold(2, 4, 2).reshape(*windows.place.shape, 16)
    assert torch.equal(windows.bags[windows.place], every)
    assert len(torch.unique(windows.bags, dim=0)) == len(windows.bags) < every.shape[:3].numel()


def test_pooled_planes_are_the_average_pooling() -> None:
    codes = random_codes((1, 16, 18), blocky=True)
    first, second = label_pyramid(codes, SPACE, scales=2, kernel=4, stride=2, padding=2)
    pooled = torch.nn.functional.avg_pool2d(first.dense(), 3, stride=2, padding=1, count_include_pad=False)
    torch.testing.assert_close(second.dense(), pooled, rtol=0, atol=1e-6)


def test_blurred_halvings_see_no_detail_beyond_their_resolution() -> None:
    """A checkerboard of single pixels looks like flat grey; strides alias it into something else."""
    board = torch.ones(1, 1, 32, 32)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = -1
    pictures = torch.cat([board, torch.zeros_like(board)]).expand(-1, 3, -1, -1)
    inner = (..., slice(4, 12), slice(4, 12))  # borders, which are repeated, are no checkerboard
    for downsampling, same in (("blur", True), ("stride", False)):
        torch.manual_seed(0)
        settings = DiscriminatorSettings(channels=4, scales=1, layers=3, downsampling=downsampling)
        first, second, last, _ = Discriminator(settings, SPACE).eval()(
            random_codes((1, 32, 32), blocky=True), pictures
        )[0]
        assert torch.allclose(*first[inner], atol=1e-6) is same
        assert first.shape[2:] == (17, 17) and second.shape[2:] == (9, 9) and last.shape[2:] == (10, 10)


def test_every_stride_and_no_other_convolution_follows_a_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(patch_discriminator, "blur", lambda x: sizes.append(x.shape[1:]) or x)
    settings = DiscriminatorSettings(channels=4, scales=1, layers=4, downsampling="blur")
    Discriminator(settings, SPACE).eval()(random_codes((1, 32, 32), blocky=True), torch.zeros(1, 3, 32, 32))
    assert sizes == [(3, 32, 32), (4, 17, 17), (8, 9, 9)]


def test_faint_grain_is_amplified_edges_are_limited_and_what_is_smooth_is_gone() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    grain = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 8 / 255  # of four grey levels
    inner = (..., slice(1, -1), slice(1, -1))  # the border of a ramp is an edge
    assert patch_discriminator.finest_detail(ramp)[inner].abs().max() < 1e-4
    of_grain = patch_discriminator.finest_detail(ramp / 2 + grain)[inner]
    assert 10 * grain.std() < of_grain.std() < 16 * grain.std()
    assert patch_discriminator.finest_detail(100 * grain).abs().max() <= 1


def test_the_copy_for_detail_comes_last_and_feature_matching_which_would_punish_grain_leaves_it_out() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorSettings(channels=4, detail=True), SPACE)
    codes, pictures = random_codes((1, 64, 64), blocky=True), torch.rand(2, 3, 64, 64)
    features = discriminator(codes, pictures)
    assert [len(layers) for layers in features] == [5, 5, 1]
    assert discriminator.score_maps == 3
    scores = discriminator.detail(discriminator.planes(codes)[0], patch_discriminator.finest_detail(pictures))[-1]
    torch.testing.assert_close(features[-1][0], scores)
    fake, real = losses.split_features(features)
    assert losses.feature_matching(fake, real) == losses.feature_matching(fake[:2], real[:2]) > 0
