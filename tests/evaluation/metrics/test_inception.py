"""FID's Inception: its pooling, both forms of weights, and the public resizers by their definition."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.inception import InceptionA, InceptionC, InceptionE, inception_v3

from evaluation.metrics.inception import FIDInception3, Inception, resize
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict in the public form, with random weights: as pytorch-fid's file, without batch counters."""
    torch.manual_seed(0)
    network = inception_v3(weights=None, aux_logits=False, num_classes=1008, init_weights=False)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)  # from before torch 1.6, as the public file
    return path


@pytest.fixture
def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(2)]


def naive_mean(x: torch.Tensor) -> torch.Tensor:
    """3x3 means over what lies inside, pixel by pixel."""
    rows, columns = x.shape[-2:]
    windows = [
        x[..., max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].mean((-2, -1))
        for row in range(rows)
        for column in range(columns)
    ]
    return torch.stack(windows, -1).unflatten(-1, (rows, columns))


@pytest.mark.slow
def test_pooling_branches_differ_from_torchvisions_as_they_should() -> None:
    torch.manual_seed(1)
    network = FIDInception3().eval()
    cases = [
        (network.Mixed_5b, InceptionA(192, 32), 192, naive_mean),
        (network.Mixed_6b, InceptionC(768, 128), 768, naive_mean),
        (network.Mixed_7b, InceptionE(1280), 1280, naive_mean),
        (network.Mixed_7c, InceptionE(2048), 2048, lambda x: torch.nn.functional.max_pool2d(x, 3, 1, 1)),
    ]
    with torch.inference_mode():
        for block, plain, channels, pool in cases:
            x = torch.randn(1, channels, 5, 4)
            plain.load_state_dict(block.state_dict())
            ours, theirs = block(x), plain.eval()(x)
            width = block.branch_pool.conv.out_channels
            torch.testing.assert_close(ours[:, :-width], theirs[:, :-width])
            torch.testing.assert_close(ours[:, -width:], block.branch_pool(pool(x)), rtol=1e-4, atol=1e-5)
            assert not torch.allclose(ours[:, -width:], theirs[:, -width:], atol=1e-3)


@pytest.mark.slow
def test_features_from_a_state_dict_and_from_torchscript_agree(
    weights: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    inception = Inception.load(weights)
    features = inception(pictures)
    assert features.shape == (2, 2048)
    assert features.dtype == np.float32
    assert inception.sha256 is not None

    class Archive(torch.nn.Module):
        def __init__(self, layers: torch.nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)

    pixels = torch.stack([resize(picture, "pytorch-fid") for picture in pictures])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(Archive(inception.network), pixels), tmp_path / "inception.pt")
    scripted = Inception.load(tmp_path / "inception.pt")
    np.testing.assert_allclose(scripted(pictures), features, rtol=1e-4, atol=1e-5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not exist"):
        Inception.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(InputError, match="cannot be read"):
        Inception.load(tmp_path / "text.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"is of another network: it lacks Conv2d_1a_3x3\.conv\.weight"):
        Inception.load(tmp_path / "other.pth")


@pytest.mark.parametrize("resizer", ["pytorch-fid", "clean-fid", "torch-fidelity"])
def test_resizers_keep_flat_pictures_flat(resizer: str) -> None:
    pixels = resize(np.full((7, 31, 3), 200, np.uint8), resizer)  # type: ignore[arg-type]
    assert pixels.shape == (3, 299, 299)
    expected = 2 * 200 / 255 - 1 if resizer == "pytorch-fid" else (200 - 128) / 128
    torch.testing.assert_close(pixels, torch.full_like(pixels, expected), rtol=0, atol=1e-5)


def sampled(row: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Linear interpolation of a row at positions in pixels (centres at whole numbers), clamped at its ends."""
    return np.interp(positions, np.arange(len(row)), row)


def test_bilinear_resizers_by_their_definition_on_a_wide_picture() -> None:
    random = np.random.default_rng(2)
    row = random.integers(0, 256, 512)
    picture = np.broadcast_to(row[None, :, None], (256, 512, 3)).astype(np.uint8).copy()
    output = np.arange(299)
    centred = 2 * sampled(row, (output + 0.5) * 512 / 299 - 0.5) / 255 - 1
    np.testing.assert_allclose(resize(picture, "pytorch-fid")[0, 150], centred, atol=2e-4)
    cornered = (sampled(row, output * 512 / 299) - 128) / 128
    np.testing.assert_allclose(resize(picture, "torch-fidelity")[0, 150], cornered, atol=2e-4)


def test_clean_fid_is_antialiased_and_not_rounded() -> None:
    # Stripes of one pixel become grey where the resizing looks at all of them.
    stripes = np.zeros((299, 598, 3), np.uint8)
    stripes[:, ::2] = 255
    clean = resize(stripes, "clean-fid")[0, 100, 10:-10]
    assert float((clean - (127.5 - 128) / 128).abs().max()) < 0.01
    assert float(resize(stripes, "torch-fidelity")[0, 100, 10:-10].min()) > 0.99  # always the white ones
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (64, 256, 3)).copy()
    levels = resize(ramp, "clean-fid")[0, 100] * 128 + 128
    assert float((levels - levels.round()).abs().max()) > 0.2
