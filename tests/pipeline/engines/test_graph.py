"""What is exported computes what the generator does, and takes only what it should."""

from __future__ import annotations

import re

import pytest
import torch

from pipeline.engines import graph
from pipeline.engines.engine import Engine
from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.signature import Form, Signature
from pipeline.errors import InputError
from pipeline.networks.generator import Generator
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.label_input import LabelInput
from tests.pipeline.engines.cases import SPACE, label_maps, lively_generator

CPU = torch.device("cpu")


def make(generator: Generator, form: Form, *, batch: int = 1, on_cpu: bool = True) -> Engine:
    """An engine whose function is the graph itself, not compiled."""
    signature = Signature(generator.settings, generator.space, generator.size, batch, form)
    return Engine(GeneratorGraph(generator, signature, torch.float32, on_cpu=on_cpu), signature, CPU)


@pytest.mark.parametrize("form", ["pattern", "dense"])
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"style_dim": 5},
        {"statistics": "instance"},
        {"kernel_size": 1},
        {"kernel_size": 5},
        {"noise": True, "style_dim": 5},
        {"noise": True, "enlargement": "bilinear"},
        {"noise": True, "statistics": "instance", "enlargement": "blur"},
        {"style_dim": 5, "style_input": "everywhere"},
        {"style_dim": 5, "style_input": "everywhere", "region_styles": "class", "style_encoder": False},
    ],
    ids=str,
)
def test_graph_is_the_generator(variant: dict, form: Form) -> None:
    generator = lively_generator((64, 96), **variant)
    codes = label_maps(2, (64, 96))
    z = torch.randn(2, 5) if "style_dim" in variant else None
    z = torch.randn(2, 6, 5) if "region_styles" in variant else z
    seeds = torch.tensor([3, 4]) if "noise" in variant else None
    with torch.no_grad():
        expected = generator(LabelInput(codes, SPACE, "dense"), z, seeds)
    assert 0.03 < expected.std() < 0.9
    first = [None if given is None else given[:1] for given in (z, seeds)]
    torch.testing.assert_close(make(generator, form)(codes[:1], *first), expected[:1], atol=2e-5, rtol=0)
    engine = make(generator, form, batch=2, on_cpu=False)
    torch.testing.assert_close(engine(codes, z, seeds), expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(FoldedGenerator(generator)(codes, z, seeds), expected, atol=2e-5, rtol=0)
    if generator.settings.style_channels:  # more styles of one map than the batch has room for
        z = torch.cat([z, z[:1] + 1])
        with torch.no_grad():
            torch.testing.assert_close(engine(codes[:1], z), generator(codes[:1], z), atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["pattern", "dense"])
def test_winograd_is_the_same_convolution(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every layer but those of odd width (3 at first)."""
    monkeypatch.setattr(graph, "WIDE", 0)
    generator, codes = lively_generator((64, 96)), label_maps(2, (64, 96))
    engine = make(generator, form, batch=2)
    assert sum(isinstance(module, graph.WinogradGraph) for module in engine._function.modules()) == 12
    with torch.no_grad():
        expected = generator(LabelInput(codes, SPACE, "dense"))
    torch.testing.assert_close(engine(codes), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["pattern", "dense"])
def test_the_last_batch_is_filled_up_and_shows_in_no_bit(form: Form) -> None:
    engine = make(lively_generator(style_dim=5), form, batch=4)
    codes, z = label_maps(1), torch.randn(6, 5)
    pictures = engine(codes, z)
    assert pictures.shape == (6, 3, 32, 64)
    assert torch.equal(pictures, engine(codes, torch.cat([z, torch.randn(2, 5)]))[:6])
    assert torch.equal(pictures[:1], engine(codes, z[:1]))
    assert torch.equal(pictures[4:5], engine(codes, z[4:5]))


def test_noise_alone_makes_samples_of_a_label_map() -> None:
    engine = make(lively_generator(noise=True), "pattern", batch=2)
    codes, seeds = label_maps(1), torch.tensor([3, 4, 5])
    pictures = engine(codes, None, seeds)
    assert (pictures[0] - pictures[1]).abs().mean() > 0.02
    for index in range(3):
        assert torch.equal(engine(codes, None, seeds[index : index + 1]), pictures[index : index + 1])


def test_several_label_maps() -> None:
    generator = lively_generator()
    codes = label_maps(3)
    with torch.no_grad():
        expected = generator(LabelInput(codes, SPACE, "dense"))
    torch.testing.assert_close(make(generator, "pattern", batch=2)(codes), expected, atol=1e-5, rtol=0)


def test_tables_filled_up_change_nothing_and_climb_in_powers_of_two() -> None:
    engine = make(lively_generator(), "pattern")
    codes = label_maps(1)
    label_input = engine.label_input(codes)
    lengths = engine.signature.table_lengths(label_input)
    longest = [entry.shape[0] for entry in engine.signature.inputs if entry.is_table]
    exact = engine(codes)
    engine._lengths = [max(2, length // 3) for length in lengths]  # as on a GPU
    assert engine._filled(lengths) == [
        min(4 * length, most) for length, most in zip(engine._lengths, longest, strict=True)
    ]
    assert engine._filled([2] * len(lengths)) == engine._lengths
    torch.testing.assert_close(engine(codes), exact, atol=1e-6, rtol=0)
    tensors = engine.signature.tensors(label_input, None, [0], longest)
    assert [tuple(tensor.shape) for tensor in tensors] == [entry.shape for entry in engine.signature.inputs]
    torch.testing.assert_close(engine._function(*tensors), exact, atol=1e-6, rtol=0)


CODES, Z = label_maps(2), torch.zeros(2, 5)
OTHER_DEVICE = torch.zeros(1, 32, 64, dtype=torch.int32, device="meta")


@pytest.mark.parametrize(
    ("codes", "z", "message"),
    [
        (CODES.long(), Z, "label codes are torch.int64 of shape [2, 32, 64]; the engine takes int32 [N, H, W]"),
        (CODES[0], Z, "label codes are torch.int32 of shape [32, 64]; the engine takes int32 [N, H, W]"),
        (CODES[:, :16], Z, "label map is 64x16, and the engine is for 64x32"),
        (CODES + 20, Z, "but the engine's 6 classes have the codes 1 to 12"),
        (CODES * 0, Z, "label map has the code 0, but"),
        (OTHER_DEVICE, Z, "label codes are on meta, and the engine is for cpu"),
        (CODES, None, "takes a style vector of length 5, and got none"),
        (CODES, Z[:, :4], "styles are torch.float32 of shape [2, 4]; the engine takes float32 [N, 5]"),
        (CODES, Z.half(), "styles are torch.float16 of shape [2, 5]"),
        (CODES, torch.zeros(3, 5), "3 styles for 2 label maps"),
        (CODES, torch.zeros(2, 5, device="meta"), "styles are on meta"),
    ],
)
def test_input_is_checked_before_the_engine_runs(codes, z, message) -> None:
    generator = lively_generator(style_dim=5)
    signature = Signature(generator.settings, generator.space, generator.size, 1, "pattern")

    def function(*_):
        raise AssertionError("the engine ran")

    with pytest.raises(InputError, match=re.escape(message)):
        Engine(function, signature, CPU)(codes, z)


def test_draws_that_a_generator_does_not_take_or_that_do_not_fit() -> None:
    seeds = torch.tensor([1, 2])
    with pytest.raises(InputError, match="got styles, but the engine's generator takes none"):
        make(lively_generator(), "dense")(CODES, Z)
    with pytest.raises(InputError, match="got seeds, but the engine's generator takes none"):
        make(lively_generator(), "dense")(CODES, None, seeds)
    engine = make(lively_generator(noise=True, style_dim=5), "dense")
    with pytest.raises(InputError, match="takes a seed for each picture, and got none"):
        engine(CODES, Z)
    with pytest.raises(InputError, match=r"seeds are torch.int32 of shape \[2\]; the engine takes int64 \[N\]"):
        engine(CODES, Z, seeds.int())
    with pytest.raises(InputError, match="1 styles and 2 seeds for 1 label maps; give as many"):
        engine(CODES[:1], Z[:1], seeds)
