"""The verbs `plan-samples`, `synthesize` and `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.command_line import (
    CHECKPOINT,
    DASHBOARD,
    LABEL_COLUMN,
    OUT,
    OUT_LOCATION,
    PALETTE,
    PROCESSES_OR_NONE,
    WORKER_THREADS,
    Amount,
    Existing,
    Location,
    Renamed,
)
from pipeline.command_output import tell
from pipeline.commands.export import KINDS
from pipeline.runtime.digits import three_digits

if TYPE_CHECKING:
    from pipeline.synthesis.job import Summary

INPUT = Location("label maps")


PHOTOGRAPH = Existing("photograph")


@click.command("plan-samples")
@click.argument("source", metavar="INPUT", type=INPUT)
@click.option("--out", required=True, type=OUT, help="Parquet file: the input, with a column samples.")
@click.option(
    "--target-pixels",
    multiple=True,
    metavar="N|CLASS=N",
    help="Pixels that each class (or this one) should have in all samples together.",
)
@click.option(
    "--scores",
    type=Existing("scores", "`spadework evaluate` writes them"),
    help="What evaluate wrote: more samples for maps (scores.parquet) or classes (report.json).",
)
@click.option(
    "--mean-samples", type=Amount(1), default=2.0, show_default=True, help="With --scores: of a map, on average."
)
@click.option("--max-samples", type=int, default=8, show_default=True, help="Of one label map.")
@LABEL_COLUMN
def plan_samples(source: str, out: Path, scores: Path | None, **options: Any) -> None:
    """Say how many samples each label map gets: more where classes are rare, or a segmenter does badly.

    INPUT is a Parquet file that prepare made, or a folder, pattern or URI of them. Give --target-pixels or --scores.

    \b
    Example:
      spadework plan-samples data/landscape/train.parquet --target-pixels 200000 --out planned.parquet
      spadework synthesize --input planned.parquet --samples-by samples --out planned-images/
    """
    from pipeline.synthesis.samples import plan_samples as run

    planned = run(source, out, scores=scores, **options)
    tell(planned, planned=planned, file=out)


@click.command()
@click.option(
    "--input",
    "source",
    type=INPUT,
    required=True,
    help="Label maps: a Parquet file, folder, 'pattern*' or URI (s3://, gs://).",
)
@click.option(
    "--checkpoint",
    type=CHECKPOINT,
    help="Run directory or .safetensors file; untrained:RECIPE.yaml for a baseline  "
    "[default: the landscapes that come with spadework]",
)
@click.option(
    "--out",
    cls=Renamed,
    old="--output",
    type=OUT_LOCATION,
    default="images",
    show_default=True,
    help="Folder for the pictures, or a URI; the same command continues a job there.",
)
@click.option("--samples", default=1, show_default=True, help="Pictures of each label map: other styles, other noise.")
@click.option("--samples-by", metavar="COLUMN", help="Column with each map's number of pictures (see plan-samples).")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of styles and noise.")
@LABEL_COLUMN
@click.option("--id-column", help="Column of the ids  [default: id; file and row where there is none]")
@click.option("--instance-column", help="Column of the instance maps  [default: instance, where there is one]")
@click.option("--palette", type=PALETTE, help="For RGB label maps: a line 'red green blue name' for each colour.")
@click.option("--keep-size", is_flag=True, help="Pictures as large as their label maps, not as in training.")
@click.option("--style", type=PHOTOGRAPH, help="Photograph that gives the style.")
@click.option("--style-column", help="Column of photographs: each map in the style of its own.")
@click.option(
    "--style-rows",
    type=click.Choice(["own", "other"]),
    default="own",
    show_default=True,
    help="With --style-column: each map in the style of its own photograph, or of another row's.",
)
@click.option(
    "--style-interpolate",
    nargs=3,
    metavar="A B STEPS",
    type=(PHOTOGRAPH, PHOTOGRAPH, int),
    help="As many pictures as steps from the style of one photograph to that of another.",
)
@click.option(
    "--truncation", type=Amount(0, 1), help="Spread of the styles: 0 (the mean) to 1  [default: 1; 0 with photographs]"
)
@click.option(
    "--region-styles",
    type=click.Choice(["none", "class", "instance"]),
    help="What has a style of its own: the picture, each class, or each instance  [default: as in training]",
)
@click.option(
    "--bank",
    type=Location("memory bank", "`spadework prepare bank` makes one"),
    help="Of a SIMS checkpoint: where pieces are taken from  [default: its recipe's]",
)
@click.option(
    "--own-pictures",
    type=click.Choice(["refuse", "exclude"]),
    default="refuse",
    show_default=True,
    help="With a bank: maps whose own picture is in it are refused, or do without its pieces.",
)
@click.option(
    "--format",
    "picture_format",
    type=click.Choice(["png", "webp", "jpeg"]),
    default="png",
    show_default=True,
    help="Of the pictures; webp is lossless.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
    help="Arithmetic; fp16 on GPUs only, int8 with an --engine of it  [default: fp32, or the engine's]",
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "truncate"]),
    default="nearest",
    show_default=True,
    help="To whole grey levels; truncate: the public SPADE's pixels.",
)
@click.option(
    "--engine",
    type=Existing("engine", "`spadework compile` makes engines"),
    help="Folder that compile made of the checkpoint, to draw with.",
)
@click.option(
    "--max-rejects", default="0", show_default=True, help="Bad rows to leave out before giving up: 10, or 1%."
)
@click.option(
    "--workers",
    cls=Renamed,
    old="--actors",
    type=PROCESSES_OR_NONE,
    help="Processes on Ray; 0: this process, without Ray  [default: as many as the cores or GPUs; for a small job 0]",
)
@WORKER_THREADS
@click.option(
    "--gpus-per-worker",
    cls=Renamed,
    old="--gpus-per-actor",
    type=Amount(0, min_open=True),
    default=1.0,
    show_default=True,
    help="May be a fraction.",
)
@click.option(
    "--export",
    multiple=True,
    type=click.Choice(KINDS),
    help="Also as files, tar shards, or in the format of another tool; again for more.",
)
@click.option("--dry-run", is_flag=True, help="Only say what it would take: shards, images, bytes, time; make nothing.")
@DASHBOARD
@click.pass_context
def synthesize(
    ctx: click.Context, source: str, checkpoint: str | None, out: str, dry_run: bool, **options: Any
) -> None:
    """Make pictures of label maps, every one exactly once.

    A killed job continues with the same command and ends with the same bytes. Exit code 0: all done; 3: all done but
    for rows in _job/rejects.parquet, within --max-rejects; 2: not done, with one line that says why.

    \b
    Example:
      spadework synthesize --input data/landscape/validation.parquet --checkpoint runs/x --out images/
    """
    from pipeline.checkpoints.file import LANDSCAPE
    from pipeline.synthesis.synthesize import plan_job

    if checkpoint is None:
        checkpoint = str(LANDSCAPE)
        click.echo(
            "No --checkpoint: the landscape generator that comes with spadework (14 classes, 128x128).", err=True
        )
    job = plan_job(source, checkpoint, out, **options)
    if dry_run:
        from pipeline.synthesis.estimate import estimate

        expected = estimate(job)
        tell(expected, estimate=expected)
        return
    summary = job.run()
    tell("\n".join(_what_was_made(summary, job.exports)), synthesis=summary)
    if summary.rejects:
        click.echo(f"{summary.rejects} label maps were rejected; see {summary.output}/_job/rejects.parquet", err=True)
        ctx.exit(3)


def _what_was_made(summary: Summary, exports: Sequence[str]) -> list[str]:
    """Lines on what a job made, and where to look at it."""
    pace = f", {three_digits(summary.images_per_second)} a second" if summary.images_this_run else ""
    lines = [
        f"{summary.images} images of {summary.label_maps} label maps in {summary.output} "
        f"({summary.images_this_run} in this run{pace})"
    ]
    if summary.images:
        lines.append(f"The first of them: {summary.output}/contact_sheet.png")
        lines += [f"As {kind}: {summary.output}/{kind}" for kind in exports]
    return lines


@click.command()
@click.argument("images", type=Location("synthesized pictures"))
@click.option(
    "--input",
    "source",
    type=INPUT,
    help="The job's input: also compare what each part was made of with it.",
)
def verify(images: str, source: str | None) -> None:
    """Check a finished synthesis, or what filter kept of one: every part, its checksum, its rows and its pictures.

    \b
    Example:
      spadework verify images/
    """
    from pipeline.synthesis.verify import verify as run

    found = run(images, source=source)
    tell(found, verified=found)
