"""`spadework compile`: a trained generator to an engine that has been checked."""

from __future__ import annotations

import hashlib
import logging
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipeline.data.storage import first_line
from pipeline.datasets.sample_maps import sample_codes
from pipeline.engines.cache import build_lock, find_built, new_engine
from pipeline.engines.engine import Engine, file_digest, instance_styles, make_engine
from pipeline.engines.environment import COMPILERS, Backend, describe_device, find_versions
from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.manifest import EngineSpec, Manifest
from pipeline.engines.parity import compare, rejection
from pipeline.engines.plain import PlainGraph
from pipeline.engines.signature import Form, Signature
from pipeline.engines.subject import Subject, draws, own_styles, prepare_subject
from pipeline.errors import InputError
from pipeline.networks.generator import Generator
from pipeline.networks.generators import DrawsPictures
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.inference.frozen import freeze
from pipeline.networks.inference.int8 import Span, has_int8, observe_spans
from pipeline.networks.inference.onednn import has_bfloat16
from pipeline.precision import DTYPES, Precision
from pipeline.runtime.digits import three_digits

log = logging.getLogger(__name__)

ORDER: tuple[Backend, ...] = ("tensorrt", "inductor", "eager")
"""What `auto` tries."""
REPEATS = 5
NOISE = 1.05
"""Medians of repeats in turn differ by so much for no reason."""


def compile_generator(
    checkpoint: str | Path,
    out: Path,
    *,
    backend: Backend | Literal["auto"] = "auto",
    precision: Precision | Literal["auto"] = "auto",
    batch: int = 1,
    size: tuple[int, int] | None = None,
    modulation: Form | None = None,
    source: Path | None = None,
    maps: int = 4,
    calibrate: Path | None = None,
    bank: str | Path | None = None,
) -> tuple[Path, Manifest]:
    """Compile the generator of a checkpoint into the cache `out`, or find it there; returns its folder.

    `size` is (height, width), the recipe's by default. `modulation` None: the recipe's, and patterns where that is
    `auto`. `source` is a Parquet file of label maps, `maps` how many of them the engine is tuned for and checked with;
    without one, landscapes. `calibrate`, for int8, is another such file, whose label maps say what range of numbers
    each convolution takes in. `bank`, for SIMS, is the memory bank whose pieces are on the maps of `source` (None:
    the recipe's); the engine takes canvases of any bank. Log lines say what `auto` takes and why.

    Raises `InputError` where a backend is not there, and where no engine comes within the tolerance of its precision.
    """
    if (precision == "int8") != (calibrate is not None):
        raise InputError(
            "--precision int8 needs --calibrate, a Parquet file of typical label maps"
            if calibrate is None
            else "--calibrate is for --precision int8; leave it out"
        )
    subject = prepare_subject(checkpoint, size, modulation, batch, source, maps, bank=bank)
    if precision == "int8":
        backend = int8_backend(backend, subject)
    backends = _backends(backend, subject.device)
    precisions = _precisions(precision, subject.device)
    spans = () if calibrate is None else calibrated_spans(subject, calibrate, maps)
    rejected = []
    with build_lock(out):
        for name in backends:
            for kind in precisions:
                try:
                    folder, manifest = _find_or_build(subject, _spec(subject, name, kind, spans), out)
                except Exception as error:
                    if backend != "auto":
                        raise
                    log.warning("%s failed: %s", name, first_line(error))
                    break
                if manifest.refused:
                    log.warning("%s in %s rejected: %s", name, kind, manifest.refused)
                    rejected.append(f"{name} {kind}: {manifest.refused}")
                elif backend == "auto" and (slower := _slower(manifest)):
                    log.warning("not %s: %s", name, slower)
                    break
                else:
                    return folder, manifest
    raise InputError(f"no engine is within tolerance: {'; '.join(rejected)}; take --precision auto or fp32")


def _find_or_build(subject: Subject, spec: EngineSpec, out: Path) -> tuple[Path, Manifest]:
    manifest = find_built(out, spec.key)
    if manifest:
        log.info("%s is there already", out / spec.key)
    return out / spec.key, manifest or _build(subject, spec, out)


def _slower(manifest: Manifest) -> str | None:
    """What was measured where an engine is slower than the eager generator, which needs no file; None: it is not."""
    ours, theirs = manifest.milliseconds, manifest.eager_milliseconds
    if ours is None or theirs is None or ours <= NOISE * theirs:
        return None
    return f"{three_digits(ours)} ms a picture, where the eager generator takes {three_digits(theirs)}"


def _backends(wanted: Backend | Literal["auto"], device: torch.device) -> Sequence[Backend]:
    """The backends to try, in order; what is taken, and why, is logged."""
    if wanted == "eager":
        return ["eager"]
    if wanted != "auto":
        if reason := COMPILERS[wanted].missing(device):
            raise InputError(reason)
        return [wanted]
    found = []
    for name in ORDER:
        reason = COMPILERS[name].missing(device) if name in COMPILERS else None
        if reason:
            log.info("not %s: %s", name, reason)
        else:
            found.append(name)
    log.info("backend %s: the first of %s that is there", found[0], ", ".join(ORDER))
    return found


def _precisions(wanted: Precision | Literal["auto"], device: torch.device) -> Sequence[Precision]:
    """The precisions to try, in order."""
    if device.type == "cuda":
        return ["fp16", "bf16", "fp32"] if wanted == "auto" else [wanted]
    if wanted == "fp16":
        raise InputError("--precision fp16 needs a GPU, and PyTorch sees none here; take bf16 or fp32")
    if wanted != "auto":
        return [wanted]
    return ["bf16", "fp32"] if has_bfloat16() else ["fp32"]


def int8_backend(wanted: Backend | Literal["auto"], subject: Subject) -> Backend | Literal["auto"]:
    """The backend for int8: `wanted` on a CPU; on a GPU TensorRT, which alone has it there.

    `InputError` for a generator, a machine or a backend that has no int8.
    """
    if subject.recipe.generator.kind != "spade":
        raise InputError(f"--precision int8 is for SPADE, not for {subject.recipe.generator.kind}; take bf16 or fp32")
    if subject.device.type == "cuda":
        if wanted not in ("auto", "tensorrt"):
            raise InputError(f"--precision int8 on a GPU needs --backend tensorrt, not {wanted}; or take bf16 or fp16")
        return "tensorrt"
    if subject.device.type != "cpu" or not has_int8():
        raise InputError(
            "--precision int8 needs an NVIDIA GPU, or a CPU with AVX-512 VNNI and bfloat16; take bf16 or fp16"
        )
    return wanted


def calibrated_spans(subject: Subject, source: Path, maps: int) -> tuple[Span, ...]:
    """What range of numbers each convolution of the blocks takes in, over `maps` label maps of `source`, in float32.

    `InputError` for a file with too few label maps.
    """
    assert isinstance(subject.generator, Generator)
    folded = FoldedGenerator(subject.generator)
    codes = torch.from_numpy(sample_codes(subject.recipe, source, count=maps, share_classes=True)).to(subject.device)
    styles, seeds = draws(subject.recipe, "calibration", len(codes), subject.device)
    passes = [
        partial(folded, one, *(None if given is None else given[index : index + 1] for given in (styles, seeds)))
        for index, one in enumerate(codes.split(1))
    ]
    log.info("calibrating with %d label maps of %s", len(codes), source)
    return observe_spans(folded.convolutions, passes)


def _spec(subject: Subject, backend: Backend, precision: Precision, spans: tuple[Span, ...]) -> EngineSpec:
    arguments = COMPILERS[backend].arguments(subject.device, DTYPES[precision]) if backend in COMPILERS else {}
    return EngineSpec(
        weights=subject.weights,
        recipe=subject.recipe.model_dump(mode="json"),
        backend=backend,
        precision=precision,
        batch=subject.signature.batch,
        lengths=tuple(typical_lengths(subject.signature, subject.codes, subject.styles)),
        maps=_digest(subject.codes, subject.canvases),
        arguments=arguments,
        device=describe_device(subject.device),
        versions=find_versions(backend),
        spans=spans,
    )


def _digest(*tensors: torch.Tensor | None) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            found.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return found.hexdigest()[:16]


def typical_lengths(signature: Signature, codes: torch.Tensor, styles: torch.Tensor | None = None) -> list[int]:
    """The median length of each table over label maps `[M, H, W]`, one map at a time, in a batch of styles."""
    z, places = None if styles is None else styles[:1], [0] * signature.batch
    inputs = (signature.batch_input(signature.label_input(one), z, places) for one in codes.split(1))
    each = [signature.table_lengths(label_input) for label_input in inputs]
    return [max(2, int(statistics.median(lengths))) for lengths in zip(*each, strict=True)]


def _build(subject: Subject, spec: EngineSpec, out: Path) -> Manifest:
    """Compile, compare, time; the folder appears with its manifest, and without a file where the engine is rejected."""
    started = time.monotonic()
    # TensorRT's int8 has no eager form that is of any use; it is timed beside the type of its other layers, bfloat16.
    eager = freeze(subject.generator, DTYPES[spec.precision], () if spec.backend == "tensorrt" else spec.spans)
    with new_engine(out, spec.key) as folder:
        engine, file, cuda_graphs = None, None, False
        if spec.backend == "eager":
            pictures = subject.repeat(eager)
        else:
            log.info("compiling: %s", spec)
            file = _compile(subject, spec, folder)
            engine, pictures, cuda_graphs = _first_repeat(subject, spec, file)
        build_seconds = time.monotonic() - started
        parity = compare(pictures, subject.reference)
        reason = rejection(parity, spec.precision)
        if reason and file:
            file.unlink()
            file = None
        ours, theirs = _benchmark(subject, engine, eager) if engine and not reason else (None, None)
        manifest = Manifest(
            spec=spec,
            parity=parity,
            refused=reason,
            cuda_graphs=cuda_graphs,
            file=file.name if file else None,
            sha256=file_digest(file) if file else None,
            bytes=file.stat().st_size if file else 0,
            build_seconds=round(build_seconds, 1),
            milliseconds=ours,
            eager_milliseconds=theirs,
        )
        manifest.write(folder)
    return manifest


def _compile(subject: Subject, spec: EngineSpec, folder: Path) -> Path:
    """The compiled file."""
    compiler = COMPILERS[spec.backend]
    exported = _graph(subject, spec).export(_example(subject, spec))
    file = folder / compiler.FILE
    compiler.build(exported, file, signature=subject.signature, lengths=spec.lengths, settings=dict(spec.arguments))
    return file


def _graph(subject: Subject, spec: EngineSpec) -> GeneratorGraph | PlainGraph:
    """What is compiled."""
    generator, dtype = subject.generator, DTYPES[spec.precision]
    if isinstance(generator, Generator) and generator.settings.kind == "spade":
        on_cpu = spec.backend == "inductor" and subject.device.type == "cpu"
        return GeneratorGraph(generator, subject.signature, dtype, on_cpu=on_cpu, spans=spec.spans)
    return PlainGraph(generator, subject.signature, dtype)


def _first_repeat(subject: Subject, spec: EngineSpec, file: Path) -> tuple[Engine, torch.Tensor, bool]:
    """The engine, its pictures, and whether it runs as CUDA graphs: where it can be recorded, it does."""
    styles = instance_styles(subject.generator)
    if spec.backend == "inductor" and subject.device.type == "cuda":
        try:
            engine = make_engine(spec, file, cuda_graphs=True, styles=styles)
            return engine, subject.repeat(engine), True
        except RuntimeError as error:
            log.warning("no CUDA graphs: %s", first_line(error))
    engine = make_engine(spec, file, cuda_graphs=False, styles=styles)
    return engine, subject.repeat(engine), False


def _example(subject: Subject, spec: EngineSpec) -> list[torch.Tensor]:
    """Inputs of typical shapes."""
    signature = subject.signature
    label_input = subject.label_input(signature, 0)
    z = own_styles(subject.styles, 0, label_input)
    if (styles := instance_styles(subject.generator)) is not None and z is not None:
        z = styles(label_input, z)
    seeds = None if subject.seeds is None else subject.seeds[:1]
    places = [0] * signature.batch
    tensors = signature.tensors(signature.batch_input(label_input, z, places), z, places, seeds=seeds)
    lengths = iter(spec.lengths)
    return [
        tensor.new_zeros(next(lengths), *tensor.shape[1:]) if entry.is_table else tensor
        for entry, tensor in zip(signature.inputs, tensors, strict=True)
    ]


def _benchmark(subject: Subject, engine: Engine, eager: DrawsPictures) -> tuple[float, float]:
    """Milliseconds a picture of either, in whole batches, medians of repeats in turn."""
    times: dict[DrawsPictures, list[float]] = {engine: [], eager: []}
    for repeat in range(REPEATS + 1):
        for generator in times:
            started = time.perf_counter()
            pictures = subject.repeat(generator, copies=subject.signature.batch)
            if repeat:  # the first warms up
                times[generator].append((time.perf_counter() - started) / len(pictures) * 1e3)
    return statistics.median(times[engine]), statistics.median(times[eager])
