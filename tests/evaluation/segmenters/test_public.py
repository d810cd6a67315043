"""The three segmenters of the paper against outputs of the public implementations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from evaluation.segmenters import load_segmenter
from evaluation.segmenters.base import predict_scales
from evaluation.segmenters.deeplabv2 import DeepLabV2
from evaluation.segmenters.drn import DRN
from evaluation.segmenters.public import PublicSegmenter
from evaluation.segmenters.upernet import UPerNet, UPerNetBaseline
from pipeline.errors import InputError
from tests.golden.files import HERE, fill_by_name, keys_digest, read


def check(network: PublicSegmenter, name: str, scores: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Keys, preprocessing, scores (1e-4 relative) and every pixel's class are those of the public implementation."""
    golden, metadata = read(HERE / f"{name}.safetensors")
    state = network.state_dict()
    assert keys_digest({key: value.shape for key, value in state.items()}) == metadata["keys"]
    fill_by_name(state)
    network.eval()
    with torch.inference_mode():
        pixels = network.normalise(golden["image"].float())
        # Published means have three or four digits.
        torch.testing.assert_close(pixels[..., ::16, ::16], golden["network_input"], rtol=1e-4, atol=1e-3)
        ours = scores(pixels)
    expected, stride = golden["output"], int(metadata["stride"])
    sampled = ours[..., ::stride, ::stride]
    assert sampled.shape == expected.shape
    assert float((sampled - expected).norm() / expected.norm()) < 1e-4
    assert float((sampled - expected).abs().max() / expected.abs().max()) < 1e-4
    assert (ours.argmax(1) == golden["argmax"]).all()


@pytest.mark.slow
def test_deeplabv2() -> None:
    network = DeepLabV2()
    check(network, "deeplabv2_resnet101_msc", lambda pixels: network.from_input(pixels, network.scales).scores)


@pytest.mark.slow
def test_drn() -> None:
    network = DRN()
    check(network, "drn_d_105", lambda pixels: network.from_input(pixels)[0])


@pytest.mark.slow
def test_upernet() -> None:
    network = UPerNet()
    check(network, "upernet_resnet101", lambda pixels: network.from_input(pixels, (128, 192))[0])


@pytest.mark.slow
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


@pytest.mark.slow
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
