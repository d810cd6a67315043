"""The three segmenters of the paper against outputs of the public implementations (the reference folder)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from evaluation.segmenters import load_segmenter
from evaluation.segmenters.base import predict_scales
from evaluation.segmenters.deeplabv2 import DeepLabV2
from evaluation.segmenters.drn import DRN
from evaluation.segmenters.public import PublicSegmenter
from evaluation.segmenters.upernet import IGNORED, UPerNet, UPerNetBaseline
from pipeline.errors import InputError

REFERENCE = Path(__file__).parents[4] / "shared" / "reference"
"""The reference folder beside the checkout."""

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference folder beside the checkout")


def fill_by_name(network: nn.Module) -> None:
    """The reference folder's own function."""
    spec = importlib.util.spec_from_file_location("reference_weights", REFERENCE / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fill_by_name(network)


def check(network: PublicSegmenter, name: str, scores: Callable[[torch.Tensor], torch.Tensor], stride: int) -> None:
    """Preprocessing, scores (1e-4 relative) and every pixel's class are those of the public implementation."""
    golden = load_file(REFERENCE / "segmenters" / f"{name}.safetensors")
    fill_by_name(network)
    network.eval()
    with torch.inference_mode():
        pixels = network.normalise(golden["image"].float())
        # Published means have three or four digits.
        torch.testing.assert_close(pixels, golden["network_input"], rtol=1e-4, atol=1e-3)
        ours = scores(golden["network_input"])
    expected = golden["output"]
    sampled = ours[..., ::stride, ::stride]
    assert sampled.shape == expected.shape
    assert float((sampled - expected).norm() / expected.norm()) < 1e-4
    assert float((sampled - expected).abs().max() / expected.abs().max()) < 1e-4
    assert (ours.argmax(1) == golden["argmax"]).all()


def keys_of(name: str) -> dict[str, list[int]]:
    return json.loads((REFERENCE / "segmenters" / f"{name}.keys.json").read_text())


@needs_reference
def test_deeplabv2() -> None:
    network = DeepLabV2()
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == keys_of("deeplabv2_resnet101_msc")
    check(
        network, "deeplabv2_resnet101_msc", lambda pixels: network.from_input(pixels, network.scales).scores, stride=1
    )


@needs_reference
def test_drn() -> None:
    network = DRN()
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == keys_of("drn_d_105")
    check(network, "drn_d_105", lambda pixels: network.from_input(pixels)[0], stride=8)


@needs_reference
def test_upernet() -> None:
    network = UPerNet()
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: shape for key, shape in keys_of("upernet_resnet101").items() if not key.endswith(IGNORED)}
    check(network, "upernet_resnet101", lambda pixels: network.from_input(pixels, (128, 192))[0], stride=8)


def test_upernet_loads_two_files_with_their_leftovers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UPerNet(short_sides=(64,))
    for part in ("encoder", "decoder"):
        state = dict(getattr(network, part).state_dict())
        for key in [key for key in state if key.endswith("running_mean")]:
            state[key.replace("running_mean", "_tmp_running_mean")] = state[key]
            state[key.replace("running_mean", "_running_iter")] = torch.ones(1)
        torch.save(
            {key: value for key, value in state.items() if "tracked" not in key}, tmp_path / f"{part}_epoch_50.pth"
        )
    loaded = load_segmenter("upernet-resnet101-baseline", tmp_path)
    assert isinstance(loaded, UPerNetBaseline)
    assert loaded.sha256 is not None
    torch.testing.assert_close(loaded.encoder.conv3.weight, network.encoder.conv3.weight)
    with torch.inference_mode():
        images = torch.rand(1, 3, 64, 64) * 255
        alike = network.eval()(images, scales="single"), network(images)
        # Of its five sizes merged from outside, the mean of softmax stays a distribution.
        assert network.own_scales(64, 128) == (1,)
        merged = predict_scales(network, images, (1.0, 0.5), None)
        torch.testing.assert_close(merged.scores.sum(1), torch.ones(1, 64, 64))
    torch.testing.assert_close(alike[0].scores, alike[1].scores)  # its one short side is the picture's
    assert loaded.normalise(torch.full((1, 3, 1, 1), 255.0)).flatten().tolist() == pytest.approx(
        [255 - 102.9801, 255 - 115.9465, 255 - 122.7717]
    )
    (tmp_path / "decoder_epoch_50.pth").unlink()
    with pytest.raises(InputError, match="one file whose name begins with 'decoder'; it has none"):
        load_segmenter("upernet-resnet101", tmp_path)


def test_drn_takes_training_checkpoints(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = DRN()
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "drn.pth")
    loaded = load_segmenter("drn-d-105", tmp_path / "drn.pth")
    torch.testing.assert_close(loaded.seg.weight, network.seg.weight)
    with torch.inference_mode():
        images = torch.rand(1, 3, 32, 48) * 255
        seen = network.eval()(images)
        assert seen.scores.shape == (1, 19, 32, 48)
        assert seen.features.shape == (1, 512)
        torch.testing.assert_close(seen.scores, loaded(images).scores)
        torch.testing.assert_close(seen.scores.exp().sum(1), torch.ones(1, 32, 48))
        # Several scales as drn sums them: the public test with `--ms`.
        both = predict_scales(loaded, images, (0.5, 1.0), None).scores
        half = F.interpolate(images, (16, 24), mode="bilinear", antialias=True, align_corners=False)
        enlarged = F.interpolate(network(half).scores, (32, 48), mode="bilinear", align_corners=False)
        torch.testing.assert_close(both, seen.scores + enlarged, rtol=1e-4, atol=1e-4)
        with pytest.raises(InputError, match="multiples of 8, not 50x33"):
            loaded(torch.zeros(1, 3, 33, 50))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth is of another network: it lacks base"):
        load_segmenter("deeplabv2-resnet101", tmp_path / "x.pth")
