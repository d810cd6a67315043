"""The cascaded refinement network and its operations against the public implementation's numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.config import CRNSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.layers import LayerNorm, pool_same, resize_aligned, resize_area
from tests.golden.baselines import Golden, cases, kernel, planar

CITYSCAPES = LabelSpace(classes=tuple(map(str, range(19))), dont_care=19)
GENERATORS = ["crn/generator_256p_diversity", "crn/generator_512p"]


@pytest.mark.parametrize("path", cases(["crn/operations"]))
def test_operations(path: Path) -> None:
    golden = Golden(path)
    compared = 0
    for key, value in golden.items():
        name, _, part = key.rpartition("/")
        if part != "in" or name == "layer_norm":
            continue
        x, compared = planar(value), compared + 1
        if name.startswith("pool"):
            for kind, ours in (("avg", "average"), ("max", "max")):
                torch.testing.assert_close(pool_same(x, ours), planar(golden[f"{name}/{kind}"]), atol=1e-6, rtol=1e-6)
            continue
        expected = planar(golden[f"{name}/out"])
        resize = resize_area if name.startswith("area") else resize_aligned
        torch.testing.assert_close(resize(x, expected.shape[2], expected.shape[3]), expected, atol=1e-6, rtol=1e-6)
    assert compared == 11
    norm = LayerNorm(5)
    norm.load_state_dict({"weight": golden["layer_norm/gamma"], "bias": golden["layer_norm/beta"]})
    expected = planar(golden["layer_norm/out"])
    torch.testing.assert_close(norm(planar(golden["layer_norm/in"])), expected, atol=1e-6, rtol=1e-5)


def load(network: CRN, state: dict[str, torch.Tensor]) -> None:
    heights = network.settings.heights(*network.size)
    ours = {}
    for key, value in state.items():
        height, number, part = re.fullmatch(r"g_(\d+)_conv(\d+)/(.+)", key).groups()
        if number == "100":
            ours[{"weights": "last.weight", "biases": "last.bias"}[part]] = kernel(value)
            continue
        name = {"weights": "conv.weight", "LayerNorm/gamma": "norm.weight", "LayerNorm/beta": "norm.bias"}[part]
        ours[f"refinements.{heights.index(int(height))}.{int(number) - 1}.{name}"] = kernel(value)
    network.load_state_dict(ours)


@pytest.mark.slow
@pytest.mark.parametrize("path", cases(GENERATORS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_generator(path: Path, dtype: torch.dtype) -> None:
    golden = Golden(path)
    config = golden.config
    given = config["widths"]
    settings = CRNSettings(
        widths=tuple(given.get(str(width), 1) for width in (1024, 512, 128, 32)),
        pictures=9 if "diversity" in path.name else 1,
    )
    network = CRN(settings, CITYSCAPES, height=config["sp"], width=2 * config["sp"])
    load(network, golden.below("state/"))
    network.to(dtype)
    seen: dict[str, torch.Tensor] = {}
    for height, module in zip(network.settings.heights(*network.size), network.refinements, strict=True):
        for number, layer in enumerate(module, 1):
            watch(layer, f"g_{height}_conv{number}", seen)
    codes = 1 + 2 * golden.label_ids()
    output = (network.every(network.label_input(codes))[0] + 1) / 2 * 255
    close = 1 if dtype == torch.float64 else 5
    for name, value in golden.below("module/").items():
        if not name.endswith("conv100"):
            found = strided_module(seen.pop(name), name, golden.cut)
            torch.testing.assert_close(found.float(), planar(value), atol=2e-5 * close, rtol=0)
    assert not seen
    strided = output[..., :: golden.stride, :: golden.stride].float()
    torch.testing.assert_close(strided, planar(golden["output"]), atol=8e-3 * close, rtol=0)
    torch.testing.assert_close(output.abs().mean((0, 2, 3)).float(), golden["output_mean_abs"], atol=1e-2, rtol=0)


def strided_module(value: torch.Tensor, name: str, cut: int) -> torch.Tensor:
    """As it is stored: `g_64_conv1` in 16 rows, and at a stride of `cut` here."""
    stride = max(1, int(name.split("_")[1]) // 16) * cut
    return value[..., ::stride, ::stride]


def watch(layer: nn.Module, name: str, seen: dict[str, torch.Tensor]) -> None:
    layer.register_forward_hook(lambda module, inputs, output: seen.update({name: output}))


@pytest.mark.parametrize(
    ("space", "size", "millions"),
    [
        (CITYSCAPES, (256, 512), 97.9),
        (LabelSpace(classes=tuple(map(str, range(150))), dont_care=255), (256, 256), 105.1),
        (LabelSpace(classes=tuple(map(str, range(182))), dont_care=255, instance_edges=True), (256, 256), 106.9),
    ],
)
def test_parameters_at_full_width(space: LabelSpace, size: tuple[int, int], millions: float) -> None:
    with torch.device("meta"):
        network = CRN(CRNSettings(), space, height=size[0], width=size[1])
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == millions


def test_pictures_are_made_of_every_ninth_channel() -> None:
    space = LabelSpace(classes=("a", "b"))
    network = CRN(CRNSettings(widths=(2, 2, 2, 2), pictures=9), space, height=8, width=12)
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias.copy_(torch.arange(27))
        label_input = network.label_input(torch.ones(1, 8, 12, dtype=torch.int32))
        pictures = network.every(label_input)
        chosen = network(label_input, None, torch.tensor([10, 8]))
        first = network(label_input)
    assert pictures.shape == (1, 9, 3, 8, 12)
    assert pictures[0, 4, :, 3, 5].tolist() == [4, 13, 22]
    assert chosen[:, :, 3, 5].tolist() == [[1, 10, 19], [8, 17, 26]]  # seeds 10 and 8, modulo 9
    assert first[:, :, 3, 5].tolist() == [[0, 9, 18]]


def test_a_batch_is_its_pictures() -> None:
    torch.manual_seed(0)
    space = LabelSpace(classes=("a", "b"))
    network = CRN(CRNSettings(widths=(4, 4, 4, 4), pictures=2), space, height=16, width=8).double()
    codes = torch.randint(1, 5, (3, 16, 8), dtype=torch.int32)
    seeds = torch.tensor([4, 1, 3])
    together = network(codes, None, seeds)
    alone = [network(each[None], None, seed[None]) for each, seed in zip(codes, seeds, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-10, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_sizes() -> None:
    assert CRNSettings().heights(256, 512) == [4, 8, 16, 32, 64, 128, 256]
    assert CRNSettings(first_height=3).heights(96, 128) == [3, 6, 12, 24, 48, 96]
    for height, width in ((96, 128), (64, 56), (2, 2)):
        with pytest.raises(InputError, match="doubles 4 rows"):
            CRNSettings().heights(height, width)
    network = CRN(CRNSettings(widths=(2, 2, 2, 2)), LabelSpace(classes=("a",)), height=8, width=8)
    with pytest.raises(InputError, match="one size, 8x8; the label map is 12x8"):
        network(torch.ones(1, 8, 12, dtype=torch.int32))
