"""Engines of the other kinds of generators: the graph is the generator, and so is what compilers make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.data import shards as shard_plan
from pipeline.data.images import decode_image
from pipeline.engines.compile import compile_generator
from pipeline.engines.engine import Engine, instance_styles
from pipeline.engines.manifest import Manifest
from pipeline.engines.plain import PlainGraph
from pipeline.engines.signature import Signature
from pipeline.errors import InputError
from pipeline.synthesis.synthesize import synthesize
from tests.pipeline.engines.cases import KINDS, SIZE, SPACE, canvases, label_maps, lively, with_regions
from tests.pipeline.synthesis import cases

CPU = torch.device("cpu")
FEATURED = {
    "kind": "pix2pixhd", "channels": 2, "downsamplings": 2, "blocks": 1, "features": 2, "encoder_downsamplings": 2,
}  # fmt: skip
COMPILED = {
    "concat": {"kind": "concat", "channels": 2, "style_dim": 3, "style_input": "everywhere", "style_encoder": False},
    "pix2pixhd_plus": {"kind": "pix2pixhd_plus", "channels": 2, "downsamplings": 2, "blocks": 1, "labels": "concat"},
    "crn": {"kind": "crn", "widths": [4, 4, 4, 4], "pictures": 3},
    "pix2pixhd": FEATURED,
}
"""One of each kind, compiled."""


@pytest.mark.parametrize("name", KINDS)
def test_the_graph_is_the_generator(name: str) -> None:
    generator = lively(name)
    signature = Signature(generator.settings, SPACE, SIZE, 2, "dense")
    graph, styles = PlainGraph(generator, signature, torch.float32), instance_styles(generator)
    engine = Engine(graph, signature, CPU, styles=styles)
    codes = label_maps(3)
    if generator.settings.region_styles == "instance":
        codes = with_regions(codes)
    label_input = engine.label_input(codes)
    if generator.settings.kind == "sims":
        label_input = label_input.with_canvas(canvases(3))
    random = torch.Generator().manual_seed(1)
    z = torch.randn(3, *signature.style_shape, generator=random) if generator.settings.style_dim else None
    if styles is not None:
        z = torch.randn(3, label_input.region_count, 1, generator=random)
    seeds = torch.tensor([4, 5, 9]) if generator.settings.takes_seeds else None
    with torch.no_grad():
        expected = generator(label_input, z, seeds)
    assert 0.05 < expected.std() < 0.9
    torch.testing.assert_close(engine(label_input, z, seeds), expected, atol=2e-5, rtol=0)
    if z is not None or seeds is not None:  # several pictures of one label map
        one = signature.label_input(codes[:1])
        if styles is not None:
            z = z[:, : one.region_count]
        with torch.no_grad():
            expected = generator(one, z, seeds)
        found = engine(codes[:1], z, seeds)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
        assert (found[0] - found[1]).abs().max() > 0.01
    entries = [entry.name for entry in signature.inputs]
    drawn = ["z"] if styles is None else ["features"]
    pasted = ["canvas"] * (generator.settings.kind == "sims")
    assert entries == ["codes"] + pasted + drawn * (z is not None) + ["picture"] * (seeds is not None)


@pytest.mark.parametrize("name", ["sims", "featured"])
def test_what_compilers_get_is_the_graph(name: str) -> None:
    generator = lively(name)
    signature = Signature(generator.settings, SPACE, SIZE, 1, "dense")
    graph = PlainGraph(generator, signature, torch.float32)
    beside = canvases(1) if name == "sims" else torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    codes = label_maps(2)
    exported = graph.export([codes[:1], beside]).module()
    expected = graph(codes[1:], beside)  # of another label map than it was made with
    torch.testing.assert_close(exported(codes[1:], beside), expected, atol=1e-5, rtol=0)
    assert (graph(codes[1:], torch.zeros_like(beside)) - expected).abs().max() > 0.1


def test_a_label_map_on_which_nothing_was_pasted_is_refused() -> None:
    generator = lively("sims")
    signature = Signature(generator.settings, SPACE, SIZE, 1, "dense")
    graph = PlainGraph(generator, signature, torch.float32)
    assert not any("transformation" in name for name, _ in graph.named_parameters())  # which is of no use in an engine
    with pytest.raises(InputError, match="nothing was pasted on the label map"):
        Engine(graph, signature, CPU)(label_maps(1))


def test_regions_without_their_numbers_are_refused() -> None:
    generator = lively("featured")
    signature = Signature(generator.settings, SPACE, SIZE, 1, "dense")
    engine = Engine(PlainGraph(generator, signature, torch.float32), signature, CPU, styles=generator.styles)
    label_input = engine.label_input(with_regions(label_maps(1)))
    regions = label_input.region_count
    assert regions > SPACE.class_channels  # 11 or 12
    with pytest.raises(InputError, match=f"takes a number for each of {regions} regions, and got none"):
        engine(label_input)
    with pytest.raises(InputError, match=rf"of shape \[1, 5, 1\]; the engine takes float32 \[N, {regions}, 1\]"):
        engine(label_input, torch.zeros(1, 5, 1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPILED)
def test_compiled_checked_and_drawn_with(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AOTInductor's pictures pass the parity check; jobs with the engine do not depend on shards or batches."""
    size = {"side": 64} if kind == "concat" else {}  # of 32x32 its first feature map is one pixel
    checkpoint = cases.write_checkpoint(tmp_path / "run", **COMPILED[kind], **size)
    maps = cases.write_maps(tmp_path / "maps.parquet", 4)
    folder, manifest = compile_generator(
        checkpoint, tmp_path / "engines", backend="inductor", precision="fp32", batch=2, source=maps, maps=2
    )
    assert manifest.refused is None and manifest == Manifest.read(folder)
    assert (manifest.spec.backend, manifest.spec.signature.form) == ("inductor", "dense")
    assert manifest.parity.max_error < 1e-4 and manifest.parity.contrast > 0.1
    samples = {} if kind == "pix2pixhd_plus" else {"samples": 3}
    drawn = {}
    for name, options in (("eager", {}), ("engine", {"engine": folder}), ("shards", {"engine": folder})):
        if name == "shards":
            monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
        options |= samples | ({"instance_column": "instance"} if kind == "pix2pixhd" else {})
        synthesize(maps, checkpoint, tmp_path / name, workers=0, quiet=True, **options)
        rows = cases.output_rows(tmp_path / name)
        drawn[name] = {(row["id"], row["sample"]): row["image"]["bytes"] for row in rows}
    assert drawn["engine"] == drawn["shards"] and len(set(drawn["engine"].values())) == 4 * samples.get("samples", 1)
    for key, image in drawn["engine"].items():
        difference = np.abs(decode_image(image).astype(int) - decode_image(drawn["eager"][key]))
        assert difference.max() <= 1


@pytest.mark.parametrize("regions", ["instance", "class"])
def test_features_drawn_for_regions_with_the_eager_engine(
    regions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By seed, id, sample and region, to the same bits as without an engine, however the job is cut up."""
    checkpoint = cases.write_checkpoint(tmp_path / "run", **FEATURED, feature_regions=regions)
    maps = cases.write_maps(tmp_path / "maps.parquet", 3)
    folder, manifest = compile_generator(
        checkpoint, tmp_path / "e", backend="eager", precision="fp32", source=maps, maps=2
    )
    assert (manifest.refused, manifest.parity.pictures) == (None, 2) and manifest.parity.max_error < 1e-5
    drawn = {}
    for name, options in (("eager", {}), ("engine", {"engine": folder}), ("shards", {"engine": folder})):
        if name == "shards":
            monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
        output = tmp_path / name
        synthesize(maps, checkpoint, output, workers=0, quiet=True, samples=3, instance_column="instance", **options)
        drawn[name] = {(row["id"], row["sample"]): cases.pixels(row) for row in cases.output_rows(output)}
    assert drawn["eager"] == drawn["engine"] == drawn["shards"]
    assert len(drawn["eager"]) == 9 and len(set(drawn["eager"].values())) > 4


def test_the_eager_engine_and_what_cannot_be_compiled(tmp_path: Path) -> None:
    kind = {"kind": "pix2pixhd", "channels": 2, "downsamplings": 2, "blocks": 1}
    checkpoint = cases.write_checkpoint(tmp_path / "run", **kind)
    maps = cases.write_maps(tmp_path / "maps.parquet", 2)
    folder, manifest = compile_generator(
        checkpoint, tmp_path / "e", backend="eager", precision="fp32", source=maps, maps=2
    )
    assert (manifest.refused, manifest.parity.pictures) == (None, 2) and manifest.parity.max_error < 1e-5
    synthesize(maps, checkpoint, tmp_path / "with", workers=0, quiet=True, engine=folder)
    synthesize(maps, checkpoint, tmp_path / "without", workers=0, quiet=True)
    with_, without = (
        pq.read_table(next((tmp_path / name).glob("part-*"))).column("image").to_pylist()
        for name in ("with", "without")
    )
    assert with_ == without
    # Another size, where the generator takes it.
    _, manifest = compile_generator(
        checkpoint, tmp_path / "e", backend="eager", precision="fp32", size=(16, 24), maps=2
    )
    assert manifest.spec.signature.size == (16, 24)

    def refused(said: str, checkpoint: Path, **options: object) -> None:
        with pytest.raises(InputError, match=said):
            compile_generator(checkpoint, tmp_path / "e", backend="eager", precision="fp32", **options)  # type: ignore[arg-type]

    refused(
        "compiled as they are, without tables of windows; leave out --modulation pattern",
        checkpoint,
        modulation="pattern",
    )
    refused("data.width is 18, but this generator makes multiples of 4; take 16 or 20", checkpoint, size=(16, 18))
    crn = cases.write_checkpoint(tmp_path / "crn", kind="crn", widths=[4, 4, 4, 4])
    refused("a generator of kind crn makes pictures of one size, 32x32; leave out --size", crn, size=(64, 64))
    flat = cases.write_cells(
        tmp_path / "flat.parquet", [cases.encode_png(np.zeros((32, 32), np.uint8))] * 2, ["a", "b"]
    )
    refused(
        "all label maps are of one class, which instance normalisation washes away", checkpoint, source=flat, maps=2
    )
