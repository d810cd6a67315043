"""Windows are found exactly, and modulation by patterns is the dense one: outputs and gradients."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from pipeline.config import GeneratorSettings
from pipeline.labels import LabelSpace, one_hot
from pipeline.networks.generator import Generator
from pipeline.networks.inference import winograd
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.label_input import LabelInput, _say_dense
from pipeline.networks.patterns.modulation import modulate, modulate_plain
from pipeline.networks.patterns.patterns import Patterns, find_all_patterns, find_patterns
from pipeline.networks.patterns.windows import distinct_windows

SPACE = LabelSpace(classes=tuple("abcde"), dont_care=9, instance_edges=True)


def blobs(batch: int, height: int, width: int, *, seed: int = 0, space: LabelSpace = SPACE) -> torch.Tensor:
    """Label codes of a few flat areas, with some pixels of noise and edge bits: `[batch, height, width]`."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, space.class_channels, (batch, 1, 4, 4), generator=random).float()
    classes = F.interpolate(coarse, size=(height, width), mode="nearest").squeeze(1).int()
    edge = (torch.rand(classes.shape, generator=random) < 0.02).int()
    return 1 + 2 * classes + edge


def noise(batch: int, height: int, width: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(1, SPACE.codes, (batch, height, width), generator=random, dtype=torch.int32)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("codes", [blobs(2, 20, 28), noise(2, 12, 8), torch.full((1, 6, 9), 7)])
def test_windows_against_brute_force(codes: torch.Tensor, kernel: int) -> None:
    windows, rows = distinct_windows(codes, kernel)
    padded = F.pad(codes.long(), [kernel // 2] * 4)
    expected = padded.unfold(1, kernel, 1).unfold(2, kernel, 1).flatten(3)  # [N, H, W, k*k]
    assert torch.equal(windows[rows], expected)
    assert len(windows) == len(torch.unique(expected.flatten(0, 2), dim=0))


def codes_seen(patterns: Patterns) -> torch.Tensor:
    """The codes of all hidden windows in the window of each pixel: `[N, H, W, taps, taps of the hidden window]`."""
    hidden = F.pad(patterns.hidden_windows, (0, 0, 1, 0), value=-1)  # row 0: outside
    return hidden[patterns.windows.long()][patterns.rows.long()]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 20, 28), (1, 1, 9), (2, 7, 1), (1, 2, 2), (1, 3, 2)])
def test_patterns_against_brute_force(shape: tuple[int, int, int], kernel: int) -> None:
    """Windows of windows: each is all the codes that gamma and beta can see, and which of them lie outside."""
    for codes in (blobs(*shape, seed=3), noise(*shape)):
        patterns = find_patterns(codes, kernel)
        radius = kernel // 2
        seen = F.pad(codes, [2 * radius] * 4).unfold(1, 2 * kernel - 1, 1).unfold(2, 2 * kernel - 1, 1).flatten(3)
        assert len(patterns.windows) == len(torch.unique(seen.flatten(0, 2), dim=0))
        ours = codes_seen(patterns)
        inner = F.pad(codes, [radius] * 4).unfold(1, kernel, 1).unfold(2, kernel, 1).flatten(3)  # [N, H, W, k*k]
        outer = F.pad(inner, [0, 0] + [radius] * 4, value=-1).unfold(1, kernel, 1).unfold(2, kernel, 1)
        assert torch.equal(ours, outer.permute(0, 1, 2, 4, 5, 3).flatten(3, 4))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("kind", [blobs, noise])
@pytest.mark.parametrize(
    "sizes", [[(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)], [(8, 4), (4, 2), (2, 1)], [(6, 5), (9, 11), (3, 30)]]
)
def test_patterns_of_all_sizes_at_once_are_those_of_each(
    sizes: list[tuple[int, int]], kind: Callable[..., torch.Tensor], kernel: int
) -> None:
    maps = [kind(2, *size) for size in sizes]
    for codes, ours in zip(maps, find_all_patterns(maps, kernel), strict=True):
        alone = find_patterns(codes, kernel)
        assert ours.hidden_share == alone.hidden_share
        assert ours.share == alone.share
        assert torch.equal(codes_seen(ours), codes_seen(alone))


def test_windows_of_numbers_too_large_for_one_key() -> None:
    """Nine ids near 2^20 do not fit 62 bits: the prefixes are numbered afresh, and nothing collides."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 2**20, (1, 40, 40), generator=random)
    ids[0, 5:15] = ids[0, 20:30]
    windows, rows = distinct_windows(ids, 3)
    expected = F.pad(ids, [1] * 4).unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
    assert torch.equal(windows[rows], expected)
    assert len(windows) == len(torch.unique(expected.flatten(0, 2), dim=0)) < ids.numel()


def test_flat_map_has_few_patterns() -> None:
    patterns = find_patterns(torch.full((1, 64, 64), 3), 3)
    assert len(patterns.hidden_windows) == 9  # corners, sides and the middle
    assert len(patterns.windows) == 25
    assert patterns.share == 25 / 64**2


@pytest.mark.parametrize("slope", [0.2, 1.0])
@pytest.mark.parametrize("samples", [1, 3])
def test_modulate_against_one_expression(slope: float, samples: int) -> None:
    codes = blobs(2 if samples == 1 else 1, 16, 24)
    patterns = find_patterns(codes, 3)
    x = torch.randn(len(codes) * samples, 300, 16, 24, dtype=torch.float64, requires_grad=True)  # several chunks
    table = torch.randn(len(patterns.windows), 600, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    outputs, gradients = [], []
    for function in (modulate, modulate_plain):
        out = function(x, table, patterns, slope)
        outputs.append(out)
        gradients.append(torch.autograd.grad((out * weight).sum(), (x, table)))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-12, rtol=0)
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-11, rtol=0)


def test_gradients_of_flat_areas_keep_their_digits() -> None:
    """A flat area is one long sum, which in one go would lose digits that a dense layer's blocked sums keep."""
    patterns = find_patterns(torch.full((1, 256, 256), 3), 3)
    torch.manual_seed(0)
    x, weight = torch.randn(2, 1, 4, 256, 256, dtype=torch.float64)
    gradients = {}
    for dtype in (torch.float64, torch.float32):
        table = torch.zeros(len(patterns.windows), 8, dtype=dtype, requires_grad=True)
        (modulate(x.to(dtype), table, patterns, 1.0) * weight.to(dtype)).sum().backward()
        gradients[dtype] = table.grad
    error = (gradients[torch.float32].double() - gradients[torch.float64]).norm() / gradients[torch.float64].norm()
    assert error < 4e-7


def generators(dtype: torch.dtype, **settings: object) -> tuple[Generator, Generator]:
    """One with patterns and one without, of the same weights, whose pictures are not saturated."""
    torch.manual_seed(0)
    made = [
        Generator(
            GeneratorSettings(channels=2, hidden=16, modulation=modulation, **settings), SPACE, height=64, width=96
        ).to(dtype)
        for modulation in ("pattern", "dense")
    ]
    for name, parameter in made[0].named_parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else (2 / parameter[0].numel()) ** 0.5)
        if name.startswith("to_rgb"):
            parameter.data *= 0.3
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


VARIANTS = [
    {"statistics": "batch"},
    {"statistics": "sync_batch"},
    {"statistics": "instance"},
    {"kernel_size": 5},
    {"kernel_size": 1},
    {"style_dim": 7},
    {"style_dim": 7, "style_input": "everywhere"},
    {"noise": True},
    {"noise": True, "style_dim": 7, "enlargement": "bilinear"},
    {"noise": True, "statistics": "instance", "enlargement": "blur"},
]
SEEDS = torch.tensor([11, 2**62])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "bound", "gradient_bound"), [(torch.float64, 1e-12, 1e-10), (torch.float32, 1e-4, 1e-4)]
)
def test_patterns_are_exact(variant: dict, dtype: torch.dtype, bound: float, gradient_bound: float) -> None:
    pattern, dense = generators(dtype, **variant)
    codes = blobs(2, 64, 96)
    z = torch.randn(2, variant["style_dim"], dtype=dtype) if "style_dim" in variant else None
    # Training mode: the statistics of this batch, and a power iteration each.
    out, expected = pattern.train()(codes, z, SEEDS), dense.train()(codes, z, SEEDS)
    assert 0.05 < expected.std() < 0.9
    torch.testing.assert_close(out, expected, atol=bound, rtol=0)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for (name, ours), theirs in zip(pattern.named_parameters(), dense.parameters(), strict=True):
        if re.search(r"conv_[01]\.bias|norm_shortcut\.beta\.bias|first\.bias", name):
            continue  # a constant before a normalisation: the true gradient is 0
        assert (ours.grad - theirs.grad).norm() <= gradient_bound * theirs.grad.norm(), name
    # Evaluation mode, in which the folded generator is the same too.
    pattern.eval()
    dense.eval()
    with torch.no_grad():
        expected = dense(codes, z, SEEDS)
        torch.testing.assert_close(pattern(codes, z, SEEDS), expected, atol=bound, rtol=0)
        for generator in (pattern, dense):
            before = {key: value.clone() for key, value in generator.state_dict().items()}
            folded = FoldedGenerator(generator, dtype)
            torch.testing.assert_close(folded(codes, z, SEEDS), expected.float(), atol=max(bound, 1e-6), rtol=0)
            # Folding works on a copy, which shares nothing with the network it was made from.
            assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
            torch.testing.assert_close(generator(codes, z, SEEDS), expected, atol=bound, rtol=0)


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_folded_with_fewer_products(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The generators of these tests are too narrow for it to pay, so it is forced on every layer."""
    monkeypatch.setattr(winograd, "WORTHWHILE", 0)
    pattern, dense = generators(torch.float32)
    codes = blobs(1, *size)
    with torch.no_grad():
        expected = dense.eval()(codes)
    folded = FoldedGenerator(pattern.eval())
    assert sum(isinstance(layer, winograd.WinogradConvolution) for layer in folded.modules()) == 14
    torch.testing.assert_close(folded(codes), expected, atol=1e-4, rtol=0)


def test_samples_of_one_map_share_its_tables() -> None:
    pattern, _ = generators(torch.float32, style_dim=5)
    folded = FoldedGenerator(pattern.eval())
    codes, z = blobs(1, 64, 96), torch.randn(3, 5)
    label_input = folded.label_input(codes)
    one_by_one = torch.cat([folded(label_input, style[None]) for style in z])
    assert torch.equal(one_by_one[1:2], folded(codes, z[1:2]))
    torch.testing.assert_close(folded(folded.label_input(codes), z), one_by_one, atol=1e-5, rtol=0)


def test_bfloat16_is_close() -> None:
    pattern, dense = generators(torch.float32)
    codes = blobs(1, 64, 96)
    with torch.no_grad():
        expected = dense.eval()(codes)
    assert (FoldedGenerator(pattern.eval(), torch.bfloat16)(codes) - expected).abs().mean() < 0.02


def test_mixed_precision_training() -> None:
    pattern, dense = generators(torch.float32)
    codes = blobs(2, 64, 96)
    gradients = []
    for generator in (pattern, dense):
        with torch.autocast("cpu", torch.bfloat16):
            out = generator.train()(codes)
        out.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in generator.blocks[-1].norm_1.parameters()]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.97


def test_other_sizes_than_the_recipe() -> None:
    """A generator without style is fully convolutional."""
    pattern, dense = generators(torch.float32)
    codes = blobs(1, 96, 32)
    with torch.no_grad():
        expected = dense.eval()(codes)
    torch.testing.assert_close(FoldedGenerator(pattern.eval())(codes), expected, atol=1e-4, rtol=0)


def test_auto_takes_dense_where_windows_are_distinct(caplog: pytest.LogCaptureFixture) -> None:
    _say_dense.cache_clear()
    with caplog.at_level(logging.INFO, "pipeline.networks.label_input"):
        assert LabelInput(noise(1, 16, 16), SPACE, "auto").patterns_at(16, 16, 3) is None
        assert LabelInput(noise(1, 16, 16), SPACE, "auto").patterns_at(16, 16, 3) is None
    assert [record.getMessage() for record in caplog.records] == [
        "modulation at 16x16 is dense for label maps of which more than 70% of the windows are distinct"
    ]
    assert LabelInput(noise(1, 16, 16), SPACE, "pattern").patterns_at(16, 16, 3) is not None
    assert LabelInput(blobs(1, 64, 64), SPACE, "auto").patterns_at(64, 64, 3) is not None
    assert LabelInput(blobs(1, 64, 64), SPACE, "dense").patterns_at(64, 64, 3) is None


@pytest.mark.parametrize("modulation", ["pattern", "dense"])
def test_styles_everywhere_are_channels_beside_the_label_map(modulation: str) -> None:
    """The 3D noise of OASIS, a vector a picture: the hidden layer by hand, and each picture as if it were alone."""
    settings = {"style_dim": 3, "style_input": "everywhere"}
    made = generators(torch.float64, **settings)[0 if modulation == "pattern" else 1].eval()
    assert isinstance(made.first, torch.nn.Conv2d)
    codes, z = blobs(2, 64, 96), torch.randn(3, 3, dtype=torch.float64)
    with torch.no_grad():
        layer = made.blocks[2].norm_0
        label_input = made.label_input(codes).with_styles(z[:2])
        planes = torch.cat([one_hot(codes, SPACE, torch.float64), z[:2, :, None, None].expand(-1, -1, 64, 96)], dim=1)
        gamma, beta = layer.dense(planes)
        x = torch.randn(2, len(layer.gamma.bias), 64, 96, dtype=torch.float64)
        torch.testing.assert_close(layer(x, label_input), layer.norm(x) * (1 + gamma) + beta, rtol=0, atol=1e-12)

        pictures = made(codes, z[:2])
        for index in range(2):
            alone = made(codes[index : index + 1], z[index : index + 1])
            torch.testing.assert_close(pictures[index : index + 1], alone, rtol=0, atol=1e-12)
        # Several styles of one label map, plain and folded, and styles that matter.
        several = made(codes[:1], z)
        torch.testing.assert_close(several[:1], pictures[:1], rtol=0, atol=1e-12)
        torch.testing.assert_close(made(codes[:1], z[2:]), several[2:], rtol=0, atol=1e-12)
        assert (several[0] - several[1]).abs().mean() > 0.01
        folded = FoldedGenerator(made, torch.float64)
        label_input = folded.label_input(codes[:1])
        for _ in range(2):
            torch.testing.assert_close(folded(label_input, z), several.float(), rtol=0, atol=1e-6)
        for index in range(3):
            one = folded(label_input, z[index : index + 1])
            torch.testing.assert_close(one, several[index : index + 1].float(), rtol=0, atol=1e-6)


def test_styles_everywhere_keep_windows_few() -> None:
    """Windows are told apart by image, not by pixel; what one label map has does not depend on its style."""
    codes = blobs(1, 64, 64)
    plain = LabelInput(codes, SPACE, "pattern")
    alone = plain.with_styles(torch.randn(1, 4))
    assert alone.patterns_at(64, 64, 3) is plain.patterns_at(64, 64, 3)
    three = plain.with_styles(torch.randn(3, 4))
    assert len(three.patterns_at(64, 64, 3).windows) == 3 * len(plain.patterns_at(64, 64, 3).windows)
    assert plain.with_styles(torch.randn(3, 4)).patterns_at(64, 64, 3) is three.patterns_at(64, 64, 3)
