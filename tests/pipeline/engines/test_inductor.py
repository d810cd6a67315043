"""An AOTInductor package, compiled once and used in new processes: the same pictures, and no crash for wrong input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.data.images import decode_image
from pipeline.engines.engine import Engine, load_engine
from pipeline.engines.manifest import Manifest
from pipeline.errors import InputError
from pipeline.labels import encode
from pipeline.networks.label_input import LabelInput
from tests.pipeline.synthesis import cases

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

IN_A_NEW_PROCESS = """
import json, sys, torch
from pathlib import Path
from pipeline.engines import aot_inductor
from pipeline.engines.manifest import Manifest
from pipeline.engines.engine import make_engine

folder, tensors, out = map(Path, sys.argv[1:])
manifest = Manifest.read(folder)
codes, z, seeds = torch.load(tensors)
engine = make_engine(manifest.spec, folder / manifest.file, cuda_graphs=False)
torch.save(engine(codes, z, seeds), out)

signature = engine.signature
right = signature.tensors(engine.label_input(codes[:1]), z[:2], [0, 1], seeds=seeds)
wrong = [*right[:-1], right[-1].repeat(3, 1)]
try:
    engine._function(*wrong)
    error = None
except RuntimeError as caught:
    error = "RuntimeError"
engine(codes, z, seeds)
print(json.dumps({"compiles": "torch._inductor.graph" in sys.modules, "error": error}))
"""


def test_in_a_new_process_it_draws_the_same_and_survives_a_wrong_batch(compiled, trained, tmp_path) -> None:
    codes = torch.from_numpy(np.stack([encode(cases.label_map(index), None, cases.SPACE) for index in range(3)]))
    z, seeds = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([5, 6, 7])
    torch.save((codes, z, seeds), tmp_path / "tensors.pt")
    arguments = [str(compiled), str(tmp_path / "tensors.pt"), str(tmp_path / "pictures.pt")]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["error"] == "RuntimeError"
    assert not found["compiles"]  # the lowering is not even imported
    generator = load_checkpoint(trained).generator
    with torch.no_grad():
        expected = generator(LabelInput(codes, generator.space, "dense"), z, seeds)
    assert expected.std() > 0.1
    torch.testing.assert_close(
        torch.load(tmp_path / "pictures.pt"), expected, atol=1e-4, rtol=0
    )  # other noise would be 0.1


def test_manifest_says_what_it_is_and_how_far_from_float32(compiled, trained) -> None:
    manifest = Manifest.read(compiled)
    spec = manifest.spec
    assert (spec.backend, spec.precision, spec.batch, spec.signature.form) == ("inductor", "fp32", 2, "pattern")
    assert spec.weights == load_checkpoint(trained).sha256
    assert spec.versions["torch"] == torch.__version__
    assert manifest.key == compiled.name
    assert manifest.parity.pictures == 3
    assert 0 < manifest.parity.max_error < 1e-5
    assert manifest.parity.psnr > 100
    assert manifest.parity.ssim > 0.9999
    assert manifest.parity.contrast > 0.1
    assert manifest.milliseconds is not None and manifest.milliseconds > 0


def test_synthesize_draws_with_it_and_no_bit_depends_on_the_batch(compiled, trained, label_maps, tmp_path) -> None:
    cases.synthesize(label_maps, trained, tmp_path / "eager", samples=3)
    cases.synthesize(label_maps, trained, tmp_path / "three", samples=3, engine=compiled)
    cases.synthesize(label_maps, trained, tmp_path / "one", samples=1, engine=compiled.parent)  # the only engine there
    eager, three, one = (cases.output_rows(tmp_path / name) for name in ("eager", "three", "one"))
    assert [(row["id"], row["sample"]) for row in three] == [(row["id"], row["sample"]) for row in eager]
    for ours, theirs in zip(three, eager, strict=True):
        pictures = [decode_image(row["image"]["bytes"]).astype(int) for row in (ours, theirs)]
        assert pictures[0].std() > 2
        assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert [row["image"] for row in three if row["sample"] == 0] == [row["image"] for row in one]
    settings = json.loads((tmp_path / "one" / "_job" / "job.json").read_text())["settings"]
    assert settings["engine"] == Manifest.read(compiled).name


@pytest.mark.ray
def test_workers_with_it_make_the_same_bytes(ray_session, compiled, trained, label_maps, tmp_path) -> None:
    cases.synthesize(label_maps, trained, tmp_path / "here", engine=compiled)
    cases.synthesize(label_maps, trained, tmp_path / "pool", engine=compiled, workers=2)
    assert cases.output_bytes(tmp_path / "here") == cases.output_bytes(tmp_path / "pool")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "is fp32; leave out --precision bf16"),
        ({"keep_size": True}, "leave out --keep-size"),
        ({"engine": Path("elsewhere")}, "elsewhere is no engine: it has no manifest.json"),
    ],
)
def test_options_that_an_engine_excludes(compiled, trained, label_maps, tmp_path, options, message) -> None:
    with pytest.raises(InputError, match=message):
        cases.synthesize(label_maps, trained, tmp_path / "out", **{"engine": compiled} | options)
    assert not (tmp_path / "out").exists()


def test_a_job_with_it_is_another_job(compiled, trained, label_maps, tmp_path) -> None:
    cases.synthesize(label_maps, trained, tmp_path / "out", engine=compiled)
    with pytest.raises(InputError, match=r"settings\.engine is .* there and null here"):
        cases.synthesize(label_maps, trained, tmp_path / "out")


def test_other_weights_are_refused(compiled, label_maps, tmp_path) -> None:
    levers = {"noise": True, "enlargement": "bilinear"}
    other = cases.write_checkpoint(tmp_path / "other", seed=1, style_dim=4, encoder=True, **levers)
    with pytest.raises(InputError, match=r"was made from other weights .* than the checkpoint's .*; compile it again"):
        cases.synthesize(label_maps, other, tmp_path / "out", engine=compiled)


def copied(compiled: Path, tmp_path: Path, **changes) -> Path:
    """An engine folder with another manifest, its key made anew."""
    folder = tmp_path / "copy"
    shutil.copytree(compiled, folder)
    fields = json.loads((folder / "manifest.json").read_text())
    fields["spec"] |= changes
    from pipeline.engines.manifest import EngineSpec

    spec = EngineSpec(**{**fields["spec"], "lengths": tuple(fields["spec"]["lengths"])})
    (folder / "manifest.json").write_text(json.dumps(fields | {"key": spec.key}))
    return folder


def test_an_engine_of_another_machine_or_library_is_refused(compiled, trained, tmp_path) -> None:
    weights = load_checkpoint(trained)
    assert isinstance(load_engine(copied(compiled, tmp_path), weights)[0], Engine)
    shutil.rmtree(tmp_path / "copy")
    spec = Manifest.read(compiled).spec
    with pytest.raises(InputError, match=r"its versions differ: torch 1\.0 there"):
        load_engine(copied(compiled, tmp_path, versions=spec.versions | {"torch": "1.0"}), weights)
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(InputError, match="its device differ: capability NEON there"):
        load_engine(copied(compiled, tmp_path, device=spec.device | {"capability": "NEON"}), weights)


def test_damage_is_noticed(compiled, trained, tmp_path) -> None:
    weights = load_checkpoint(trained)
    folder = copied(compiled, tmp_path)
    with (folder / "generator.pt2").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    with pytest.raises(InputError, match="is damaged"):
        load_engine(folder, weights)
    (folder / "generator.pt2").unlink()
    with pytest.raises(InputError, match=r"generator\.pt2 is missing"):
        load_engine(folder, weights)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"batch": 2', '"batch": 4'))
    with pytest.raises(InputError, match="was changed by hand"):
        load_engine(folder, weights)
    (folder / "manifest.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="is damaged"):
        load_engine(folder, weights)
