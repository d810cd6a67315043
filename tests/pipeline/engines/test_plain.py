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
from pipeline.engines.engine import Engine
from pipeline.engines.manifest import Manifest
from pipeline.engines.plain import PlainGraph
from pipeline.engines.signature import Signature
from pipeline.errors import InputError
from pipeline.networks.label_input import LabelInput
from pipeline.synthesis.synthesize import synthesize
from tests.pipeline.engines.cases import KINDS, SIZE, SPACE, label_maps, lively
from tests.pipeline.synthesis import cases

CPU = torch.device("cpu")
COMPILED = {
    "concat": {"kind": "concat", "channels": 2, "style_dim": 3, "style_input": "everywhere", "style_encoder": False},
    "pix2pixhd_plus": {"kind": "pix2pixhd_plus", "channels": 2, "downsamplings": 2, "blocks": 1, "labels": "concat"},
    "crn": {"kind": "crn", "widths": [4, 4, 4, 4], "pictures": 3},
    "pix2pixhd": {"kind": "pix2pixhd", "channels": 2, "downsamplings": 2, "blocks": 1},
}
"""One of each kind, compiled."""


@pytest.mark.parametrize("name", KINDS)
def test_the_graph_is_the_generator(name: str) -> None:
    generator = lively(name)
    signature = Signature(generator.settings, SPACE, SIZE, 2, "dense")
    engine = Engine(PlainGraph(generator, signature, torch.float32), signature, CPU)
    codes = label_maps(3)
    random = torch.Generator().manual_seed(1)
    z = torch.randn(3, *signature.style_shape, generator=random) if generator.settings.style_dim else None
    seeds = torch.tensor([4, 5, 9]) if generator.settings.takes_seeds else None
    with torch.no_grad():
        expected = generator(LabelInput(codes, SPACE, "dense"), z, seeds)
    assert 0.05 < expected.std() < 0.9
    torch.testing.assert_close(engine(codes, z, seeds), expected, atol=2e-5, rtol=0)
    if z is not None or seeds is not None:  # several pictures of one label map
        with torch.no_grad():
            expected = generator(LabelInput(codes[:1], SPACE, "dense"), z, seeds)
        found = engine(codes[:1], z, seeds)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
        assert (found[0] - found[1]).abs().max() > 0.01
    entries = [entry.name for entry in signature.inputs]
    assert entries == ["codes"] + ["z"] * (z is not None) + ["picture"] * (seeds is not None)


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
    samples = {"samples": 3} if kind in ("concat", "crn") else {}
    drawn = {}
    for name, options in (("eager", {}), ("engine", {"engine": folder}), ("shards", {"engine": folder})):
        if name == "shards":
            monkeypatch.setattr(shard_plan, "SMALLEST_SHARD", 1)
        synthesize(maps, checkpoint, tmp_path / name, workers=0, quiet=True, **samples, **options)
        rows = cases.output_rows(tmp_path / name)
        drawn[name] = {(row["id"], row["sample"]): row["image"]["bytes"] for row in rows}
    assert drawn["engine"] == drawn["shards"] and len(set(drawn["engine"].values())) == 4 * samples.get("samples", 1)
    for key, image in drawn["engine"].items():
        difference = np.abs(decode_image(image).astype(int) - decode_image(drawn["eager"][key]))
        assert difference.max() <= 1


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
    featured = cases.write_checkpoint(tmp_path / "features", **kind, features=2, encoder_downsamplings=2)
    refused("draws features for each region, .* draw without --engine", featured)
    flat = cases.write_cells(
        tmp_path / "flat.parquet", [cases.encode_png(np.zeros((32, 32), np.uint8))] * 2, ["a", "b"]
    )
    refused(
        "all label maps are of one class, which instance normalisation washes away", checkpoint, source=flat, maps=2
    )
