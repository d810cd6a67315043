"""Engines in int8: calibrated, kept by what calibration found, and refused where that is missing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.engines import compile
from pipeline.engines.compile import compile_generator, int8_backend
from pipeline.engines.engine import load_engine
from pipeline.engines.environment import COMPILERS
from pipeline.engines.fake_int8 import FakeInt8Convolution
from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.manifest import FILE, Manifest
from pipeline.errors import InputError
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.inference.int8 import Int8Convolution, has_int8
from pipeline.synthesis.synthesize import plan_job
from tests.pipeline.synthesis import cases

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has no AVX-512 VNNI")


def compiled(checkpoint: Path, out: Path, calibrate: Path | None, **options) -> tuple[Path, Manifest]:
    defaults = {"backend": "eager", "precision": "int8", "maps": 2}
    return compile_generator(checkpoint, out, calibrate=calibrate, **defaults | options)


@needs_int8
def test_an_engine_keeps_what_calibration_found(trained, label_maps, tmp_path) -> None:
    folder, manifest = compiled(trained, tmp_path / "engines", label_maps)
    assert Manifest.read(folder) == manifest
    spans = manifest.spec.spans
    assert len(spans) == 14 and all(low <= 0 < high for low, high in spans)
    checkpoint = load_checkpoint(trained)
    generator, _ = load_engine(folder, checkpoint)
    assert isinstance(generator, FoldedGenerator)
    assert all(isinstance(layer, Int8Convolution) for layer in generator.convolutions)
    assert [layer.zero for layer in generator.convolutions] == [round(-255 * low / (high - low)) for low, high in spans]
    # Other label maps, other ranges, another engine; the same ones, the same.
    again, _ = compiled(trained, tmp_path / "engines", label_maps)
    assert again == folder
    maps = cases.write_maps(tmp_path / "others.parquet", 2, start=20)
    other, _ = compiled(trained, tmp_path / "engines", maps, source=label_maps)
    assert other != folder
    changed = json.loads((folder / FILE).read_text())
    changed["spec"]["spans"][3][1] *= 2
    (folder / FILE).write_text(json.dumps(changed))
    with pytest.raises(InputError, match="was changed by hand"):
        load_engine(folder, checkpoint)


def test_keys_of_other_engines_are_what_they_were_before_there_were_spans(trained, tmp_path) -> None:
    folder, _ = compiled(trained, tmp_path / "engines", None, precision="fp32", maps=1)
    fields = json.loads((folder / FILE).read_text())
    assert fields["spec"].pop("spans") == [] and fields.pop("scores") == []
    (folder / FILE).write_text(json.dumps(fields))
    assert Manifest.read(folder).key == folder.name


def test_through_tensorrt_pytorch_computes_what_calibration_found(trained, label_maps, tmp_path, monkeypatch) -> None:
    """With the graph, run by PyTorch, in the place of the engine."""
    kept = []

    def build(graph, path, **_):
        kept.append(graph)
        path.write_bytes(b"graph")

    load = lambda path, device: kept[-1]  # noqa: E731
    nothing = {"missing": lambda device: None, "versions": dict, "arguments": lambda device, dtype: {}}
    monkeypatch.setitem(COMPILERS, "tensorrt", SimpleNamespace(FILE="graph.pt2", build=build, load=load, **nothing))
    monkeypatch.setattr(GeneratorGraph, "export", lambda graph, tensors: graph)  # takes seconds
    monkeypatch.setattr(compile, "has_int8", lambda: True)
    partners = []
    monkeypatch.setattr(compile, "_benchmark", lambda subject, engine, eager: (partners.append(eager), (1.0, 2.0))[1])
    _, manifest = compiled(trained, tmp_path, label_maps, source=label_maps, backend="tensorrt")
    assert (manifest.spec.backend, manifest.spec.precision, manifest.refused) == ("tensorrt", "int8", None)
    assert manifest.parity.psnr > 28
    largest = [layer.largest.item() for layer in kept[0].modules() if isinstance(layer, FakeInt8Convolution)]
    assert len(largest) == 14 and largest == pytest.approx([max(-low, high) for low, high in manifest.spec.spans])
    assert not any(isinstance(layer, Int8Convolution) for layer in partners[0].convolutions)  # it is timed beside bf16


def test_on_a_gpu_int8_is_tensorrts() -> None:
    recipe = SimpleNamespace(generator=SimpleNamespace(kind="spade"))
    subject = SimpleNamespace(recipe=recipe, device=torch.device("cuda"))
    assert int8_backend("auto", subject) == int8_backend("tensorrt", subject) == "tensorrt"
    with pytest.raises(InputError, match="int8 on a GPU needs --backend tensorrt, not inductor; or take bf16 or fp16"):
        int8_backend("inductor", subject)


def test_a_processor_without_8_bit_products_has_none(monkeypatch) -> None:
    monkeypatch.setattr(compile, "has_int8", lambda: False)
    recipe = SimpleNamespace(generator=SimpleNamespace(kind="spade"))
    with pytest.raises(InputError, match="needs an NVIDIA GPU, or a CPU with AVX-512 VNNI and bfloat16; take bf16"):
        int8_backend("auto", SimpleNamespace(recipe=recipe, device=torch.device("cpu")))


def test_a_backend_that_is_not_there_is_told_before_anything_is_drawn_to_calibrate(
    trained, label_maps, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(compile, "has_int8", lambda: True)
    monkeypatch.delattr(compile, "calibrated_spans")
    nothing = SimpleNamespace(missing=lambda device: "TensorRT is not there; install it")
    monkeypatch.setitem(COMPILERS, "tensorrt", nothing)
    with pytest.raises(InputError, match="TensorRT is not there; install it"):
        compiled(trained, tmp_path, label_maps, maps=1, backend="tensorrt")


@needs_int8
def test_what_cannot_be_in_int8(trained, label_maps, tmp_path) -> None:
    with pytest.raises(InputError, match="--precision int8 needs --calibrate, a Parquet file of typical label maps"):
        compiled(trained, tmp_path, None)
    with pytest.raises(InputError, match="--calibrate is for --precision int8; leave it out"):
        compiled(trained, tmp_path, label_maps, precision="bf16")
    with pytest.raises(InputError, match="--precision int8 needs what calibration found: give --engine"):
        plan_job(label_maps, trained, tmp_path / "images", precision="int8")
    crn = cases.write_checkpoint(tmp_path / "crn", kind="crn", widths=(8, 8, 8, 8))
    with pytest.raises(InputError, match="--precision int8 is for SPADE, not for crn; take bf16 or fp32"):
        compiled(crn, tmp_path, label_maps)
