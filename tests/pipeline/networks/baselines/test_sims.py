"""The networks of SIMS against the public implementation's numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pipeline.config import SIMSSettings
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.sims_order import OrderNetwork
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.baselines.sims_transformation import TransformationNetwork, masked_l1
from pipeline.networks.baselines.spatial_transformer import move, transform
from tests.golden.baselines import Golden, cases, kernel, planar

CITYSCAPES = LabelSpace(classes=tuple(map(str, range(19))), dont_care=19)
LAYER = {"weights": "conv.weight", "LayerNorm/gamma": "norm.weight", "LayerNorm/beta": "norm.bias"}
HEAD = {"weights": "weight", "biases": "bias"}


def widths_of(golden: Golden) -> tuple[int, int, int, int]:
    given = golden.config["widths"]
    return given["64"], given["128"], given["256"], given["512"]


def ours(state: dict[str, torch.Tensor], stages: dict[str, str], others: dict[str, str]) -> dict[str, torch.Tensor]:
    """Their layers `<stage>_conv<number>/..._<layer>/<part>` under our names; `others` by the whole name."""
    found = {}
    for key, value in state.items():
        if key in others:
            found[others[key]] = kernel(value)
            continue
        scope, layer, part = re.fullmatch(r"([^/]+)/[^/]+_(\d)/(.+)", key).groups()
        numbered = re.fullmatch(r"(.*conv)(\d)", scope)
        stage = f"{stages[numbered[1]]}.{int(numbered[2]) - 1}" if numbered else stages[scope]
        found[f"{stage}.{int(layer) - 1}.{LAYER[part]}"] = kernel(value)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", cases(["sims/synthesis_256", "sims/synthesis_512"]))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_synthesis(path: Path, dtype: torch.dtype) -> None:
    golden = Golden(path)
    outer = path.stem.endswith("512")
    network = SIMSSynthesis(SIMSSettings(widths=widths_of(golden), outer=outer), CITYSCAPES)
    picture, classes = ("g_512_conv100", "g_semantic_512") if outer else ("g_256_conv100", "g_semantic_256_conv100")
    heads = {
        f"{scope}/{part}": f"{name}.{HEAD[part]}"
        for part in HEAD
        for scope, name in ((picture, "to_picture"), (classes, "to_classes"))
    }
    stages = {"g_encoder_conv": "encoder", "g_decoder_conv": "decoder"}
    stages |= {"g_decoder_final": "final", "g_decoder_512": "outer"}
    network.load_state_dict(ours(golden.below("state/"), stages, heads))
    network.to(dtype)
    seen: dict[str, torch.Tensor] = {}
    watched = {f"g_encoder_conv{number}": module for number, module in enumerate(network.encoder, 1)}
    watched |= {f"g_decoder_conv{number}": module for number, module in enumerate(network.decoder, 1)}
    watched |= {"g_decoder_final": network.final, "g_decoder_512": network.outer}
    for name, module in watched.items():
        if module is not None:
            module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    canvas = planar(golden["canvas"].unsqueeze(0)).to(dtype) / 255
    known = golden["known"][None, None].to(dtype)
    label_input = network.label_input(1 + 2 * golden.label_ids())
    output, logits = network.pictures_and_classes(label_input, canvas, known)
    close = 1 if dtype == torch.float64 else 5
    for name, value in golden.below("module/").items():
        found = seen.pop(name)
        stride = max(1, found.shape[2] // 16)
        torch.testing.assert_close(found[..., ::stride, ::stride].float(), planar(value), atol=2e-4 * close, rtol=0)
    assert not seen
    output = golden.strided((output + 1) / 2 * 255).float()
    torch.testing.assert_close(output, planar(golden["output"]), atol=13e-3 * close, rtol=0)
    torch.testing.assert_close(
        golden.strided(logits).float(), planar(golden["semantic_logits"]), atol=6e-4 * close, rtol=0
    )
    loss = F.cross_entropy(logits, golden["label_ids_target"].long().unsqueeze(0)).float()
    torch.testing.assert_close(loss, golden["loss/semantic_cross_entropy"][0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("path", cases(["sims/order_network"]))
@torch.no_grad()
def test_order_network(path: Path) -> None:
    golden = Golden(path)
    network = OrderNetwork(classes=20, widths=widths_of(golden), hidden=golden.config["widths"]["1024"])
    last = {
        "g_selection_conv6/weights": "hidden.weight",
        "g_selection_conv6/LayerNorm/gamma": "norm.weight",
        "g_selection_conv6/LayerNorm/beta": "norm.bias",
        "g_selection_classify/weights": "classify.weight",
        "g_selection_classify/biases": "classify.bias",
    }
    network.load_state_dict(ours(golden.below("state/"), {"g_selection_conv": "trunk.stages"}, last))
    network.double().eval()
    given = planar(golden["input"]).repeat_interleave(8, 2).repeat_interleave(8, 3).double() / 255
    logits = network(*given.split(3, dim=1))
    torch.testing.assert_close(logits.float(), golden["output"], atol=2e-6, rtol=0)
    loss = F.cross_entropy(logits, golden["target"].long()).float()
    torch.testing.assert_close(loss, golden["loss/cross_entropy"][0], rtol=1e-5, atol=0)
    seeds = torch.arange(len(given))
    dropped = network(*given.split(3, dim=1), seeds)
    assert torch.equal(dropped, network(*given.split(3, dim=1), seeds))
    assert not torch.allclose(dropped.float(), golden["output"], atol=1e-3)


@pytest.mark.parametrize("path", cases(["sims/spatial_transformer"]))
@pytest.mark.parametrize("size", ["8x12", "7x9"])
def test_spatial_transformer(path: Path, size: str) -> None:
    golden = Golden(path)
    moved = transform(planar(golden[f"{size}/in"]), golden[f"{size}/theta"])
    torch.testing.assert_close(moved, planar(golden[f"{size}/out"]), atol=3e-6, rtol=0)
    assert (moved[0, :, -1] == 0).all() == (size == "8x12")  # the identity blackens the last row of an even size


@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_pictures_are_moved_without_loss(size: tuple[int, int]) -> None:
    height, width = size
    picture = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    still, moved = torch.tensor([1.0, 0, 0, 0, 1, 0]), torch.tensor([1.0, 0, -3, 0, 1, 2])
    found = move(picture, torch.stack([still, moved]))
    assert torch.equal(found[0], picture[0])
    assert torch.equal(found[1, :, :-2, 3:], picture[1, :, 2:, :-3])  # three to the right, two up
    assert not found[1, :, -2:].any() and not found[1, :, :, :3].any()  # beyond the frame there is nothing
    larger = move(picture[:1], torch.tensor([[0.5, 0, 0, 0, 0.5, 0]]))
    middle = height // 2, width // 2
    assert torch.equal(larger[0, :, middle[0], middle[1]], picture[0, :, middle[0], middle[1]])
    between = picture[0, :, middle[0], middle[1] : middle[1] + 2].mean(1)
    torch.testing.assert_close(larger[0, :, middle[0], middle[1] + 1], between)


def test_a_transformation_is_learned_by_its_loss() -> None:
    """A segment that is five columns too far to the right comes back."""
    torch.manual_seed(0)
    network = TransformationNetwork(classes=1, widths=(2, 2, 2, 2))
    adam = torch.optim.Adam(network.parameters(), lr=0.1)
    columns = torch.arange(48.0)
    place = (((columns - 20).abs() < 8) & ((columns[:32, None] - 16).abs() < 8)).float()[None, None]
    real = ((columns / 48 + columns[:32, None] / 32) / 2).expand(1, 3, -1, -1)
    segment = (real * place).roll(5, 3)
    for _ in range(60):
        theta = network(segment, place, torch.ones_like(place))
        loss = masked_l1(move(segment, theta) * place, real, place)
        adam.zero_grad()
        loss.backward()
        adam.step()
    before = masked_l1(segment * place, real, place)
    assert loss.item() < 0.1 * before.item()


@pytest.mark.slow
@pytest.mark.parametrize("path", cases(["sims/transform_network"]))
@torch.no_grad()
def test_transformation_network(path: Path) -> None:
    golden = Golden(path)
    network = TransformationNetwork(classes=20, widths=widths_of(golden))
    state = {key.replace("transfrom", "transform"): value for key, value in golden.below("state/").items()}
    weight, bias = state.pop("g_transform_param"), state.pop("g_b_fc1")
    state = ours(state, {"g_transform_conv": "trunk.stages"}, {})
    network.load_state_dict({**state, "theta.weight": weight.t(), "theta.bias": bias})
    network.double()

    def whole(name: str) -> torch.Tensor:
        value = golden[name].unsqueeze(-1) if golden[name].dim() == 3 else golden[name]
        return planar(value).repeat_interleave(8, 2).repeat_interleave(8, 3).double()

    segments, masks, real = whole("segments") / 255, whole("masks"), whole("real") / 255
    planes = F.one_hot(golden["label_ids"].long(), 20).permute(2, 0, 1).double().expand(3, -1, -1, -1)
    moved = transform(segments, network(segments, masks, planes))
    torch.testing.assert_close(golden.strided(moved).float(), planar(golden["transferred"]), atol=8e-5, rtol=0)
    canvas = network.place(segments, masks, planes)
    torch.testing.assert_close(golden.strided(canvas).float(), planar(golden["canvas"]), atol=8e-5, rtol=0)
    loss = 255 * masked_l1(canvas, real, masks).float()
    torch.testing.assert_close(loss, golden["loss/masked_l1"][0], rtol=1e-5, atol=0)


def test_the_transformation_begins_as_the_identity_and_learns() -> None:
    torch.manual_seed(0)
    network = TransformationNetwork(classes=2, widths=(2, 3, 4, 5))
    given = torch.rand(2, 3, 32, 64), torch.ones(2, 1, 32, 64), torch.rand(2, 2, 32, 64)
    theta = network(*given)
    assert theta.tolist() == [[1, 0, 0, 0, 1, 0]] * 2
    masked_l1(network.place(*given), torch.rand(1, 3, 32, 64), given[1]).backward()
    assert network.theta.weight.grad.abs().max() > 0


def test_parameters_at_full_width() -> None:
    with torch.device("meta"):
        network = SIMSSynthesis(SIMSSettings(), CITYSCAPES)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 55.7


@pytest.mark.parametrize(("size", "outer"), [((33, 47), False), ((64, 48), True), ((5, 5), False)])
def test_any_size_will_do(size: tuple[int, int], outer: bool) -> None:
    space = LabelSpace(classes=("a", "b"), instance_edges=True)
    network = SIMSSynthesis(SIMSSettings(widths=(2, 3, 4, 5), outer=outer), space)
    label_input = network.label_input(torch.ones(1, *size, dtype=torch.int32))
    picture, logits = network.mend(label_input.with_canvas(torch.rand(1, 4, *size)))
    assert picture.shape == (1, 3, *size) and logits.shape == (1, 2, *size)
