"""[Ray] A batch job: every label map of an input to pictures, exactly once, whatever dies on the way.

The input is cut into shards, each shard becomes one part of the output, and a pool of actors works through those
that are not there yet. A killed job is continued by starting it again, and ends with the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.checkpoints.file import Checkpoint, load_checkpoint, resolve_checkpoint
from pipeline.config import RegionStyles
from pipeline.data.encoders import PictureFormat
from pipeline.data.images import Palette
from pipeline.data.provenance import XMP
from pipeline.data.records import DatasetInfo
from pipeline.data.shards import Plan, plan_shards
from pipeline.datasets.palette_file import read_palette
from pipeline.errors import InputError
from pipeline.exports.export import ExportKind
from pipeline.labels import LabelSpace
from pipeline.precision import Precision
from pipeline.segments.paste import OwnPictures
from pipeline.segments.pasting import NOTICE, bank_digest, find_bank
from pipeline.synthesis.actor_pool import choose_device, codec_threads
from pipeline.synthesis.checks import CALIBRATED, check_fits, check_options, parse_max_rejects, refuse_output_in_input
from pipeline.synthesis.job import Job, Summary
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.styles import choose_style
from pipeline.synthesis.synthesizer import Rounding
from pipeline.synthesis.worker import WorkOrder

if TYPE_CHECKING:
    from pipeline.engines.manifest import Manifest

log = logging.getLogger(__name__)


def synthesize(input: str | Path, checkpoint: str | Path, output: str | Path, **options: Any) -> Summary:
    """Make pictures of all label maps of `input` in the folder `output`; options and errors are those of `plan_job`."""
    return plan_job(input, checkpoint, output, **options).run()


def plan_job(
    input: str | Path,
    checkpoint: str | Path,
    output: str | Path,
    *,
    samples: int = 1,
    samples_by: str | None = None,
    seed: int = 0,
    label_column: str = "label",
    id_column: str | None = None,
    instance_column: str | None = None,
    palette: Path | None = None,
    keep_size: bool = False,
    style: Path | None = None,
    style_column: str | None = None,
    style_rows: Literal["own", "other"] = "own",
    style_interpolate: tuple[Path, Path, int] | None = None,
    truncation: float | None = None,
    region_styles: RegionStyles | None = None,
    bank: str | Path | None = None,
    own_pictures: OwnPictures = "refuse",
    picture_format: PictureFormat = "png",
    precision: Precision | None = None,
    rounding: Rounding = "nearest",
    engine: Path | None = None,
    max_rejects: str | int = 0,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    gpus_per_worker: float = 1.0,
    export: Sequence[ExportKind] = (),
    quiet: bool = False,
) -> Job:
    """The checked job that makes pictures of all label maps of `input` in the folder `output`; nothing is written yet.

    `input` is a Parquet file, folder, pattern or URI; `checkpoint` a run directory, a `.safetensors` file, or
    `untrained:` and a recipe. `samples` pictures a label map differ by style and noise; the column `samples_by` says
    how many each one has, 0 for none (a null, a negative number or a fraction makes a bad row). `region_styles` gives
    each class or instance a style of its own, or the picture one ("none"), whatever training did. `bank` is the memory
    bank of a generator that pastes from one (None: its recipe's), and `own_pictures` what happens to rows whose own
    picture is in it: they are bad rows ("refuse"), or that picture's pieces are not used ("exclude"). `max_rejects` bad
    rows are left out (a number, or a share such as `1%`) before the job gives up. `workers` processes with `threads` do
    the work (0: this process, without Ray; None: as many as the cores or GPUs allow, none where a small job on a CPU is
    done sooner than Ray starts). `export` writes the result once more as files. `engine` is what `compile` made of
    the checkpoint; it has a precision, size and device of its own. Without one, `precision` is fp32 unless given.
    `rounding` "truncate" gives the public SPADE's pixels.

    Raises `InputError` for anything wrong with the input or the options, and where `output` holds another job.
    """
    started = time.monotonic()
    samples = style_interpolate[2] if style_interpolate else samples
    check_options(samples, threads, workers, gpus_per_worker, picture_format)
    if samples_by is not None and (samples != 1 or style_interpolate):
        raise InputError("give only one of --samples-by, --samples and --style-interpolate")
    refuse_output_in_input(input, output)
    parse_max_rejects(max_rejects, 1)  # A mistake in it should not wait for the plan.
    choice = choose_style(
        photograph=style,
        from_rows=style_rows if style_column else None,
        interpolate=style_interpolate[:2] if style_interpolate else None,
        truncation=truncation,
    )
    source = resolve_checkpoint(checkpoint)
    loaded = load_checkpoint(source)
    plan = plan_shards(
        input,
        images_per_row=samples,
        label_column=label_column,
        id_column=id_column,
        instance_column=instance_column,
        style_column=style_column,
        samples_column=samples_by,
    )
    check_fits(plan, loaded, choice, keep_size=keep_size, region_styles=region_styles)
    pasted = find_bank(loaded.recipe, None if bank is None else str(bank))
    digest = bank_digest(pasted, loaded.recipe) if pasted else None
    if pasted and not quiet:
        log.warning(NOTICE)
    if engine and region_styles == "instance":
        raise InputError("engines have no styles of instances; leave out --region-styles instance, or --engine")
    compiled = _find_engine(engine, loaded, precision, keep_size) if engine else None
    if compiled:
        device, precision = compiled.manifest.spec.device["type"], compiled.manifest.spec.precision
    device, precision = device or choose_device(workers), precision or "fp32"
    if precision == "int8" and compiled is None:
        raise InputError(f"--precision int8 {CALIBRATED}")
    if precision == "fp16" and not device.startswith("cuda"):
        raise InputError("--precision fp16 needs a GPU, and the workers will find none; take bf16 or fp32")
    data = loaded.recipe.data
    size = compiled.manifest.spec.signature.size if compiled else (data.height, data.width)
    colours = None if palette is None else _palette_for(palette, loaded.recipe.labels)
    provenance = not JobFolder(output).begun_without_provenance
    settings = {
        "checkpoint": loaded.sha256,
        "recipe": loaded.recipe.name,
        "seed": seed,
        "samples": None if plan.columns.samples else samples,
        "palette": None if colours is None else sorted([*colour, number] for colour, number in colours.items()),
        "size": "as the label maps" if keep_size else f"{size[1]}x{size[0]}",
        "format": picture_format,
        "style": choice.describe(),
        "precision": precision,
        # Only where they are given, so that jobs from before there were such options can be resumed.
        **({"provenance": XMP} if provenance else {}),
        **({"engine": compiled.manifest.name} if compiled else {}),
        **({"region_styles": region_styles} if region_styles else {}),
        **({"bank": digest, "own_pictures": own_pictures} if pasted else {}),
        **({"rounding": rounding} if rounding != "nearest" else {}),
        "device": device.split(":")[0],
        "threads": threads,
    }
    source_info = plan.info.preprocessing if plan.info else {}
    # For reports; no setting of the job, which the checkpoint's hash stands for.
    learned_by = {} if loaded.learned_by is None else {"learned_by": dict(loaded.learned_by)}
    order = WorkOrder(
        output=JobFolder(output).folder.location,
        checkpoint=source,
        checkpoint_sha256=loaded.sha256,
        columns=plan.columns,
        info=DatasetInfo(loaded.recipe.labels, {"input": source_info, "synthesis": settings | learned_by}),
        seed=seed,
        samples=samples,
        max_rejects=parse_max_rejects(max_rejects, plan.rows),
        palette=colours,
        keep_size=keep_size,
        picture_format=picture_format,
        provenance=provenance,
        style=choice,
        region_styles=region_styles,
        bank=pasted,
        bank_digest=digest,
        own_pictures=own_pictures,
        precision=precision,
        rounding=rounding,
        engine=str(compiled.folder) if compiled else None,
        engine_name=compiled.manifest.name if compiled else None,
        device=device,
        threads=threads,
        codec_threads=codec_threads(device, gpus_per_worker),
    )
    del loaded  # The workers load their own, and this process would hold it to the end.
    return Job(
        plan=plan,
        order=order,
        description={"version": 1, "settings": settings, "input": _describe(plan)},
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        exports=export,
        quiet=quiet,
        started=started,
    )


def _palette_for(path: Path, space: LabelSpace) -> Palette:
    """The ids of the checkpoint's classes for the colours of a palette file, which may order or lack some of them."""
    read = read_palette(path)
    if unknown := [name for name in read.classes if name not in space.classes]:
        raise InputError(
            f"palette {path} has the class '{unknown[0]}'; the checkpoint's are {', '.join(space.classes)}"
        )
    if read.dont_care is not None and space.dont_care is None:
        raise InputError(f"palette {path} has a don't-care colour, but the checkpoint has no don't-care class")
    numbers = {index: space.classes.index(name) for index, name in enumerate(read.classes)}
    if read.dont_care is not None:
        assert space.dont_care is not None
        numbers[read.dont_care] = space.dont_care
    return {colour: numbers[number] for colour, number in read.ids.items()}


@dataclass(frozen=True)
class _Compiled:
    """An engine and where it is."""

    folder: Path
    manifest: Manifest


def _find_engine(engine: Path, checkpoint: Checkpoint, precision: Precision | None, keep_size: bool) -> _Compiled:
    """Refuse now what every worker would refuse later."""
    from pipeline.engines.cache import find_engine
    from pipeline.engines.engine import check_usable
    from pipeline.engines.manifest import Manifest

    folder = find_engine(engine)
    manifest = Manifest.read(folder)
    check_usable(folder, manifest, checkpoint.sha256)
    if precision not in (None, manifest.spec.precision):
        raise InputError(f"engine {folder} is {manifest.spec.precision}; leave out --precision {precision}")
    if keep_size:
        height, width = manifest.spec.signature.size
        raise InputError(
            f"engine {folder} makes pictures of one size, {width}x{height}; leave out --keep-size, or --engine"
        )
    return _Compiled(folder, manifest)


def _describe(plan: Plan) -> dict[str, Any]:
    """The input, as far as the bytes of the output depend on it, for `job.json`."""
    return {
        "columns": plan.columns.describe(),
        "files": [{"name": file.name, "rows": file.rows, "sha256": file.fingerprint} for file in plan.files],
        "shards": len(plan.shards),
        **({"images": plan.images} if plan.columns.samples else {}),
    }
