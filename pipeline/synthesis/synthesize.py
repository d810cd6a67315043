"""[Ray] A batch job: every label map of an input to pictures, exactly once, whatever dies on the way.

The input is cut into shards, each shard becomes one part of the output, and a pool of actors works through those
that are not there yet. A killed job is continued by starting it again, and ends with the same bytes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.checkpoints.file import Checkpoint, load_checkpoint, resolve_checkpoint
from pipeline.config import RegionStyles
from pipeline.data.encoders import PictureFormat
from pipeline.data.images import Palette
from pipeline.data.records import DatasetInfo
from pipeline.data.shards import Plan, plan_shards
from pipeline.data.storage import is_uri, local_path
from pipeline.datasets.folder import read_palette
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.precision import Precision
from pipeline.synthesis.actor_pool import choose_device, codec_threads
from pipeline.synthesis.export import ExportKind
from pipeline.synthesis.job import Job, Summary
from pipeline.synthesis.job_folder import JobFolder
from pipeline.synthesis.styles import StyleChoice, choose_style
from pipeline.synthesis.worker import WorkOrder

if TYPE_CHECKING:
    from pipeline.engines.manifest import Manifest

log = logging.getLogger(__name__)

PART = "part-00000.parquet"
"""The first part of any output."""


def synthesize(
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
    picture_format: PictureFormat = "png",
    precision: Precision | None = None,
    engine: Path | None = None,
    max_rejects: str | int = 0,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
    gpus_per_worker: float = 1.0,
    export: Sequence[ExportKind] = (),
    quiet: bool = False,
) -> Summary:
    """Make pictures of all label maps of `input` in the folder `output`.

    `input` is a Parquet file, folder, pattern or URI; `checkpoint` a run directory, a `.safetensors` file, or
    `untrained:` and a recipe. `samples` pictures a label map differ by style and noise; the column `samples_by` says
    how many each one has, 0 for none (a null, a negative number or a fraction makes a bad row). `region_styles` gives
    each class or instance a style of its own, or the picture one ("none"), whatever training did. `max_rejects` bad
    rows are left out (a number, or a share such as `1%`) before the job gives up. `workers` processes with `threads` do
    the work (None: as many as the cores or GPUs allow; 0: this process, without Ray). `export` writes the result once
    more as files. `engine` is what `compile` made of the checkpoint; it has a precision, size and device of its own.
    Without one, `precision` is fp32 unless given.

    Raises `InputError` for anything wrong with the input or the options, and where `output` holds another job.
    """
    started = time.monotonic()
    samples = style_interpolate[2] if style_interpolate else samples
    _check_options(samples, threads, gpus_per_worker, picture_format)
    if samples_by is not None and (samples != 1 or style_interpolate):
        raise InputError("give only one of --samples-by, --samples and --style-interpolate")
    _refuse_output_in_input(input, output)
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
    _check(plan, loaded, choice, keep_size=keep_size, region_styles=region_styles)
    if engine and region_styles == "instance":
        raise InputError("engines have no styles of instances; leave out --region-styles instance, or --engine")
    compiled = _find_engine(engine, loaded, precision, keep_size) if engine else None
    if compiled:
        device, precision = compiled.manifest.spec.device["type"], compiled.manifest.spec.precision
    device, precision = device or choose_device(workers), precision or "fp32"
    if precision == "fp16" and not device.startswith("cuda"):
        raise InputError("--precision fp16 needs a GPU, and the workers will find none; take bf16 or fp32")
    size = compiled.manifest.spec.signature.size if compiled else loaded.generator.size
    colours = None if palette is None else _palette_for(palette, loaded.recipe.labels)
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
        **({"engine": compiled.manifest.name} if compiled else {}),
        **({"region_styles": region_styles} if region_styles else {}),
        "device": device.split(":")[0],
        "threads": threads,
    }
    source_info = plan.info.preprocessing if plan.info else {}
    order = WorkOrder(
        output=JobFolder(output).folder.location,
        checkpoint=source,
        checkpoint_sha256=loaded.sha256,
        columns=plan.columns,
        info=DatasetInfo(loaded.recipe.labels, {"input": source_info, "synthesis": settings}),
        seed=seed,
        samples=samples,
        max_rejects=parse_max_rejects(max_rejects, plan.rows),
        palette=colours,
        keep_size=keep_size,
        picture_format=picture_format,
        style=choice,
        region_styles=region_styles,
        precision=precision,
        engine=str(compiled.folder) if compiled else None,
        engine_name=compiled.manifest.name if compiled else None,
        device=device,
        threads=threads,
        codec_threads=codec_threads(device, gpus_per_worker),
    )
    del loaded  # The workers load their own, and this process would hold it to the end.
    job = Job(
        plan=plan,
        order=order,
        description={"version": 1, "settings": settings, "input": _describe(plan)},
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        exports=export,
        quiet=quiet,
        started=started,
    )
    return job.run()


def parse_max_rejects(value: str | int, rows: int) -> int:
    """A number of rows, or a share of them as `1%`, to a number of rows; `InputError` for anything else.

    >>> parse_max_rejects("1%", 250), parse_max_rejects(3, 250)
    (2, 3)
    """
    text = str(value).strip()
    try:
        share = float(text[:-1]) if text.endswith("%") else None
        limit = int(text) if share is None else int(share / 100 * rows)
    except (ValueError, OverflowError):  # Of `inf%`.
        raise InputError(
            f"--max-rejects is '{value}'; give a number of rows such as 10, or a share such as 1%"
        ) from None
    if limit < 0 or (share is not None and not 0 <= share <= 100):
        if share is not None and not share < 0:
            raise InputError(f"--max-rejects is '{value}'; a share is at most 100%")
        raise InputError(f"--max-rejects is '{value}'; it cannot be negative")
    return limit


def _check_options(samples: int, threads: int, gpus_per_worker: float, picture_format: PictureFormat) -> None:
    for option, value in (("the number of pictures a label map", samples), ("--threads", threads)):
        if value < 1:
            raise InputError(f"{option} is {value}; give 1 or more")
    if gpus_per_worker <= 0:
        raise InputError(f"--gpus-per-worker is {gpus_per_worker:g}; give 1, or a fraction such as 0.5")
    if picture_format == "jpeg":
        log.warning(
            "JPEG loses detail, which moves FID and other distances; take png or webp for pictures to be scored"
        )


def _refuse_output_in_input(source: str | Path, output: str | Path) -> None:
    """`InputError` where the output's parts would be found as input: the job could never be continued."""
    if is_uri(source) != is_uri(output):
        return
    if is_uri(source):
        pattern, folder = (str(location).partition("?")[0].rstrip("/") for location in (source, output))
        part = f"{folder}/{PART}"
        found = fnmatchcase(part, pattern) if "*" in pattern else _visibly_below(part, pattern)
    else:
        path, folder = local_path(source), str(local_path(output))
        if path.is_dir():
            found = _visibly_below(str(Path(folder).resolve() / PART), str(path.resolve()))
        else:
            pattern = os.path.normpath(path)
            found = "*" in pattern and _matches(Path(os.path.normpath(folder), PART).parts, Path(pattern).parts)
    if found:
        raise InputError(
            f"output {output} lies in the input {source}, so that its pictures would be taken for label maps; "
            "give an output folder outside it"
        )


def _visibly_below(file: str, folder: str) -> bool:
    """Whether the search through a folder finds a file; it leaves out hidden and `_` names."""
    names = file.removeprefix(f"{folder.rstrip('/')}/")
    return names != file and not any(name.startswith((".", "_")) for name in names.split("/"))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern with `*` and `**` finds a path, both cut at the slashes."""
    if not pattern or not parts:
        return not parts and all(step == "**" for step in pattern)
    if pattern[0] == "**":
        deeper = not parts[0].startswith(".") and _matches(parts[1:], pattern)
        return deeper or _matches(parts, pattern[1:])
    hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    return not hidden and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


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


def _check(
    plan: Plan, checkpoint: Checkpoint, choice: StyleChoice, *, keep_size: bool, region_styles: RegionStyles | None
) -> None:
    """Refuse what cannot work before anything is written."""
    recipe = checkpoint.recipe
    space, style = recipe.labels, recipe.generator.style_dim
    theirs = plan.info.space if plan.info else space
    if theirs.classes != space.classes or theirs.dont_care not in (None, space.dont_care):
        raise InputError(
            f"the checkpoint is of other classes: {_named(space)}, where the input has {_named(theirs)}; "
            "take a checkpoint of the input's classes"
        )
    if space.instance_edges and plan.columns.instance is None:
        raise InputError(
            "the checkpoint wants instance maps, and the input has no column for them; name it with --instance-column"
        )
    if region_styles and not recipe.generator.style_channels:
        raise InputError(
            "the checkpoint's generator has no styles of regions (generator.style_input is not 'everywhere'); "
            "leave out --region-styles"
        )
    if (region_styles or recipe.generator.region_styles) == "instance" and plan.columns.instance is None:
        raise InputError(
            "each instance has a style of its own, and the input has no column of instance maps; name it with "
            "--instance-column, or take --region-styles class or none"
        )
    if choice.kind == "interpolation" and plan.most_samples < 2:
        raise InputError("--style-interpolate needs 2 steps or more")
    if not style and (choice.kind != "noise" or choice.truncation != 1):
        raise InputError(
            "the checkpoint's generator takes no style (generator.style_dim is 0); "
            "leave out --style... and --truncation"
        )
    if plan.most_samples > 1 and not style and not recipe.generator.noise:
        raise InputError(
            "the checkpoint's generator takes no style (generator.style_dim is 0) and adds no noise (generator.noise), "
            "so each label map has one picture; leave out --samples, and let --samples-by ask for 0 or 1"
        )
    if choice.kind != "noise" and checkpoint.encoder is None:
        raise InputError("the checkpoint has no style encoder, so photographs cannot give the style")
    if style and keep_size and not recipe.generator.style_channels:
        raise InputError(
            f"a generator with style makes pictures of one size, {recipe.data.width}x{recipe.data.height}; "
            "leave out --keep-size"
        )


def _named(space: LabelSpace) -> str:
    more = ", ..." if len(space.classes) > 3 else ""
    return f"{len(space.classes)} ({', '.join(space.classes[:3])}{more}; don't-care {space.dont_care})"


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
