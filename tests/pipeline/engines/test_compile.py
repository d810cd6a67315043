"""What is chosen, what is rejected, what is kept: with the eager backend, which takes no time to compile."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from cli import main
from pipeline.checkpoints.file import load_checkpoint
from pipeline.engines import aot_inductor, compile, parity
from pipeline.engines.cache import LOCK, build_lock, clean_engines, find_engine, list_engines
from pipeline.engines.compile import compile_generator
from pipeline.engines.engine import load_engine
from pipeline.engines.environment import COMPILERS
from pipeline.engines.manifest import Manifest
from pipeline.engines.parity import Tolerance, compare, rejection
from pipeline.engines.subject import prepare_subject
from pipeline.errors import InputError
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.synthesis.synthesize import synthesize
from tests.pipeline.synthesis import cases

EXACT = Tolerance(max_error=0, mean_error=0, psnr=math.inf, ssim=1)


def eager(checkpoint: Path, out: Path, **options) -> tuple[Path, Manifest]:
    return compile_generator(checkpoint, out, **{"backend": "eager", "precision": "fp32", "maps": 2} | options)


def test_figures_against_hand_computed_ones() -> None:
    reference = torch.zeros(1, 3, 16, 16)
    reference[:, :, ::2] = 1
    pictures = reference.clone()
    pictures[0, 0, 0, 0] += 0.5
    found = compare(pictures, reference)
    assert found.max_error == 0.5
    assert found.mean_error == pytest.approx(0.5 / 768)
    assert found.psnr == pytest.approx(10 * math.log10(4 / (0.25 / 768)))
    assert found.contrast == pytest.approx(0.5, abs=1e-3)
    assert 0.9 < found.ssim < 1
    same = compare(reference, reference)
    assert (same.max_error, same.psnr, same.ssim) == (0, 200, 1)


def test_the_parity_check_rejects_what_is_beyond_and_what_overflows() -> None:
    reference = torch.rand(1, 3, 16, 16)
    assert rejection(compare(reference, reference), "fp32") is None
    assert rejection(compare(reference + 0.01, reference), "fp32") == (
        "max error 0.01 is beyond the tolerance of fp32, 0.002"
    )
    assert rejection(compare(reference + 0.01, reference), "bf16") is None
    overflown = reference.clone()
    overflown[0, 0, 0, 0] = math.nan
    assert rejection(compare(overflown, reference), "fp16") == "pictures are not finite: fp16 overflows"


def test_auto_steps_down_and_remembers_what_was_rejected(trained, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(compile, "has_bfloat16", lambda: True)
    monkeypatch.setitem(parity.TOLERANCES, "bf16", EXACT)
    with caplog.at_level(logging.INFO, "pipeline.engines"):
        folder, manifest = eager(trained, tmp_path, precision="auto")
    assert manifest.spec.precision == "fp32"
    assert "eager in bf16 rejected: max error" in caplog.text
    (rejected,) = (other for other in tmp_path.glob("[!.]*") if other != folder)
    with pytest.raises(InputError, match=r"cannot be used: it was rejected: max error .* beyond the tolerance of bf16"):
        load_engine(rejected, load_checkpoint(trained))
    assert "unusable: it was rejected" in list_engines(tmp_path)
    monkeypatch.setattr(compile, "_build", None)  # nothing is built again, the rejected one either
    assert eager(trained, tmp_path, precision="auto")[0] == folder
    with pytest.raises(InputError, match="no engine is within tolerance: eager bf16: max error"):
        eager(trained, tmp_path, precision="bf16")


def test_auto_takes_the_first_backend_that_is_there_and_that_works(trained, tmp_path, monkeypatch, caplog) -> None:
    def fail(*_, **__):
        raise RuntimeError("C++ compile error\nmany lines")

    monkeypatch.setattr(aot_inductor, "build", fail)
    with caplog.at_level(logging.INFO, "pipeline.engines"):
        _, manifest = compile_generator(trained, tmp_path, precision="fp32", maps=1)
    assert manifest.spec.backend == "eager"
    assert [record.getMessage() for record in caplog.records if not record.getMessage().startswith("compiling")] == [
        "not tensorrt: TensorRT needs an NVIDIA GPU, and PyTorch sees none here",
        "backend inductor: the first of tensorrt, inductor, eager that is there",
        "inductor failed: C++ compile error",
    ]
    assert not list(tmp_path.glob("*.tmp"))
    with pytest.raises(RuntimeError, match="C\\+\\+ compile error"):
        compile_generator(trained, tmp_path, backend="inductor", precision="fp32", maps=1)
    monkeypatch.setattr(aot_inductor, "missing", lambda _: "AOTInductor needs a C++ compiler; install one with: X")
    with pytest.raises(InputError, match="needs a C\\+\\+ compiler; install"):
        compile_generator(trained, tmp_path, backend="inductor", maps=1)


def test_auto_leaves_a_compiled_engine_that_is_slower(trained, tmp_path, monkeypatch, caplog) -> None:
    """With a compiler that only keeps the exported graph, and a stopwatch that says what it should."""
    kept = []

    def build(exported, path, **_):
        kept.append(exported)
        path.write_bytes(b"graph")

    fake = SimpleNamespace(
        FILE="graph.pt2",
        missing=lambda device: None,
        versions=dict,
        arguments=lambda device, dtype: {},
        build=build,
        load=lambda path, device: kept[-1].module(),
    )
    monkeypatch.setitem(COMPILERS, "inductor", fake)
    monkeypatch.setattr(compile, "_benchmark", lambda *_: (2.0, 1.0))
    with caplog.at_level(logging.INFO, "pipeline.engines"):
        _, manifest = compile_generator(trained, tmp_path, precision="fp32", maps=1)
    assert manifest.spec.backend == "eager"
    assert "not inductor: 2 ms a picture, where the eager generator takes 1" in caplog.messages
    _, manifest = compile_generator(trained, tmp_path, backend="inductor", precision="fp32", maps=1)
    assert (manifest.spec.backend, manifest.milliseconds) == ("inductor", 2.0)
    assert 0 < manifest.parity.max_error < 1e-5
    monkeypatch.setattr(compile, "_benchmark", lambda *_: (1.04, 1.0))
    _, manifest = compile_generator(trained, tmp_path / "other", precision="fp32", maps=1)
    assert manifest.spec.backend == "inductor"


@pytest.mark.parametrize(("style", "noise"), [(0, False), (4, False), (0, True), (4, True)])
def test_batches_are_timed_whole(tmp_path, style, noise) -> None:
    checkpoint = cases.write_checkpoint(tmp_path, style_dim=style, noise=noise)
    subject = prepare_subject(checkpoint, None, None, 3, None, 2)
    asked = []

    class Recorder(FoldedGenerator):
        def forward(self, codes, z=None, seeds=None):
            asked.append(max(len(given) for given in (codes.codes, z, seeds) if given is not None))
            return super().forward(codes, z, seeds)

    generator = Recorder(subject.generator)
    torch.testing.assert_close(subject.repeat(generator), subject.reference, atol=1e-4, rtol=0)
    expected = subject.reference.repeat_interleave(3, 0)
    torch.testing.assert_close(subject.repeat(generator, copies=3), expected, atol=1e-4, rtol=0)
    assert asked == [1, 1, 3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "TensorRT needs an NVIDIA GPU"),
        ({"precision": "fp16"}, "fp16 needs a GPU"),
        ({"size": (64, 64)}, "a generator with style makes pictures of one size, 32x32; leave out --size"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(trained, tmp_path, options, message) -> None:
    with pytest.raises(InputError, match=message):
        eager(trained, tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()


def test_styles_of_regions(tmp_path, label_maps) -> None:
    """Of classes they are in any engine; of instances, of which each map has another number, in none."""
    options = {"style_dim": 4, "style_input": "everywhere", "style_encoder": False}
    by_class = cases.write_checkpoint(tmp_path / "class", **options, region_styles="class")
    folder, manifest = eager(by_class, tmp_path / "cache")
    assert manifest.parity.max_error < 1e-4 and manifest.parity.contrast > 0.1
    for name, engine in (("plain", None), ("engine", folder)):
        synthesize(label_maps, by_class, tmp_path / name, engine=engine, workers=0, quiet=True)
    plain, drawn = ([row["image"] for row in cases.output_rows(tmp_path / name)] for name in ("plain", "engine"))
    assert plain == drawn
    with pytest.raises(InputError, match="engines have no styles of instances"):
        synthesize(label_maps, by_class, tmp_path / "out", engine=folder, region_styles="instance", workers=0)
    by_instance = cases.write_checkpoint(tmp_path / "instance", **options, region_styles="instance")
    with pytest.raises(InputError, match="a style for each instance, of which every label map has another number"):
        eager(by_instance, tmp_path / "cache")


def test_the_key_is_everything_that_the_engine_depends_on(trained, tmp_path, label_maps) -> None:
    keys = {
        eager(trained, tmp_path, **options)[1].key
        for options in ({}, {"batch": 2}, {"modulation": "dense"}, {"source": label_maps})
    }
    keys.add(eager(cases.write_checkpoint(tmp_path / "other", seed=1, style_dim=4), tmp_path)[1].key)
    assert len(keys) == 5
    assert eager(trained, tmp_path)[1].key in keys


def test_another_size_is_another_engine(tmp_path, label_maps) -> None:
    plain = cases.write_checkpoint(tmp_path / "plain")
    folder, manifest = eager(plain, tmp_path / "cache", size=(32, 64))
    assert manifest.spec.signature.size == (32, 64)
    synthesize(label_maps, plain, tmp_path / "out", engine=folder, workers=0, quiet=True)
    settings = json.loads((tmp_path / "out" / "_job" / "job.json").read_text())["settings"]
    assert (settings["size"], settings["engine"]) == ("64x32", manifest.key)


def test_a_cache_builds_one_at_a_time_and_the_second_finds_it(trained, tmp_path, monkeypatch) -> None:
    real, built = compile._build, []

    def build(subject, spec, out):
        with (out / LOCK).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        built.append(spec.key)
        return real(subject, spec, out)

    monkeypatch.setattr(compile, "_build", build)
    threads = [threading.Thread(target=eager, args=(trained, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert [folder.name for folder in tmp_path.glob("[!.]*")] == built


def test_damage_is_built_again(trained, tmp_path) -> None:
    folder, manifest = eager(trained, tmp_path)
    (folder / "manifest.json").write_text("{")
    (tmp_path / ".0123456789abcdef.99.tmp").mkdir()  # of a killed build
    assert eager(trained, tmp_path)[1].key == manifest.key
    assert not list(tmp_path.glob("*.tmp"))
    assert isinstance(load_engine(folder, load_checkpoint(trained))[0], FoldedGenerator)


def test_clean_removes_the_unusable(trained, tmp_path, monkeypatch) -> None:
    good, _ = eager(trained, tmp_path)
    monkeypatch.setitem(parity.TOLERANCES, "bf16", EXACT)
    with pytest.raises(InputError, match="no engine"):
        eager(trained, tmp_path, precision="bf16")
    killed = tmp_path / ".0123456789abcdef.99.tmp"
    killed.mkdir()
    (tmp_path / "fedcba9876543210").mkdir()  # without a manifest: damaged
    removed = clean_engines(tmp_path)
    assert killed in removed and len(removed) == 3
    assert [folder for folder in tmp_path.iterdir() if folder.is_dir()] == [good]
    assert find_engine(tmp_path) == good
    assert clean_engines(tmp_path, everything=True) == [good]
    with pytest.raises(InputError, match="has no usable engine"):
        find_engine(tmp_path)
    assert clean_engines(tmp_path / "nowhere") == []


def test_the_command_line(trained, tmp_path) -> None:
    out = str(tmp_path / "engines")
    command = ["compile", "--checkpoint", str(trained), "--backend", "eager", "--precision", "fp32", "--maps", "1"]
    done = CliRunner().invoke(main, [*command, "--out", out], catch_exceptions=False)
    assert done.exit_code == 0
    assert re.search(r"engines/[0-9a-f]{16}: eager fp32: tiny 32x32, pattern, batch 1, on .*\nmax error", done.output)
    listed = CliRunner().invoke(main, ["engines", "list", out], catch_exceptions=False)
    assert re.match(
        r"[0-9a-f]{16}  eager fp32: tiny 32x32, pattern, batch 1, on .*, 0.0 MB\n    max error", listed.output
    )
    assert CliRunner().invoke(main, ["engines", "clean", out]).output == "nothing to remove\n"
    assert CliRunner().invoke(main, ["engines", "clean", "--all", out]).output.startswith(f"removed {out}/")
    assert (
        CliRunner().invoke(main, ["engines", "list", out]).output
        == f"no engines in {out}; `spadework compile` makes them\n"
    )


def test_clean_removes_nothing_but_engines(tmp_path: Path) -> None:
    """A folder of something else, a cache that a user keeps things in, and what a killed build left."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "old.tmp").mkdir()
    assert clean_engines(tmp_path, everything=True) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.tmp", "photos"]
    with build_lock(tmp_path):
        (tmp_path / ".0123456789abcdef.77.tmp").mkdir()
        (tmp_path / "0123456789abcdef").mkdir()  # an engine without a manifest: damaged
    assert {path.name for path in clean_engines(tmp_path)} == {".0123456789abcdef.77.tmp", "0123456789abcdef"}
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "old.tmp", "photos"}
