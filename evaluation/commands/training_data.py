"""The verbs around training a segmenter: train-segmenter, and what pictures do as its data: filter, usefulness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evaluation.command_line import ITS_WEIGHTS, PICTURES, SCORES, SCORES_FILE, SEGMENTER, TRAINING_THREADS, Synthetic
from pipeline.command_line import (
    DATA,
    OUT,
    OUT_LOCATION,
    OVERRIDES,
    PROCESSES_OR_NONE,
    RECIPE,
    WEIGHTS,
    Amount,
    read_recipe,
)
from pipeline.command_output import tell
from pipeline.errors import InputError

SHARE = Amount(0, 1, min_open=True, max_open=True)


@click.command("train-segmenter")
@click.argument("recipe", type=RECIPE)
@click.option("--out", required=True, type=OUT, help="Run directory; the same command continues a training there.")
@click.option("--weights", type=WEIGHTS, help="Local file to start from: torchvision's DeepLabV3, or its backbone.")
@OVERRIDES
def train_segmenter(recipe: Path, out: Path, weights: Path | None, overrides: tuple[str, ...]) -> None:
    """Train the network that scores pictures, on the real photographs of a recipe.

    \b
    Example:
      spadework train-segmenter landscape --out runs/segmenter
    """
    settings = read_recipe(recipe, overrides)

    from evaluation.segmenters.training.train import train_segmenter as run

    trained = run(settings, out, weights=weights).settings.training
    tell(
        f"{out / 'segmenter.safetensors'}: mean IoU {trained['validation_mean_iou']:.1%}, "
        f"accuracy {trained['validation_accuracy']:.1%} on {trained['validation_photographs']} validation photographs",
        segmenter=out / "segmenter.safetensors",
        training=trained,
    )


@click.command("filter")
@click.argument("images", type=PICTURES)
@click.option("--scores", type=SCORES, help=f"What evaluate wrote, for limits  [default: {SCORES_FILE}]")
@click.option(
    "--out", type=OUT_LOCATION, help="New folder, or URI, for the pictures that pass  [default: IMAGES-filtered]"
)
@click.option("--min-accuracy", type=Amount(0, 1), help="Least share of pixels of the right class.")
@click.option("--min-mean-iou", type=Amount(0, 1), help="Least mean IoU of the picture.")
@click.option("--max-feature-distance", type=Amount(0), help="Largest distance to the photograph.")
@click.option(
    "--regions",
    is_flag=True,
    help="Add label_trusted, where pixels of too large a loss are don't-care.",
)
@click.option("--reference", type=DATA, help="Parquet of real photographs, whose losses say what is too large ...")
@click.option("--loss-factor", type=Amount(0, min_open=True), help="... times the mean of the class.  [default: 1.25]")
@click.option("--segmenter", type=SEGMENTER, help="Network that looks for the classes.  [default: deeplab]")
@ITS_WEIGHTS
def filter_(
    images: str,
    scores: str | None,
    out: str | None,
    regions: bool,
    reference: str | None,
    loss_factor: float | None,
    segmenter: str | None,
    segmenter_weights: Path | None,
    **limits: float | None,
) -> None:
    """Keep the pictures whose scores pass every limit, and mark the regions that do not show their label.

    \b
    Example:
      spadework filter images/ --min-accuracy 0.8 --out good-images/
      spadework filter images/ --regions --reference data/landscape/train.parquet
    """
    limited = any(limit is not None for limit in limits.values())
    if not limited and not regions:
        raise InputError("give a limit (--min-accuracy, --min-mean-iou, --max-feature-distance) or --regions")
    given: dict[str, Any] = {
        "reference": reference,
        "loss_factor": loss_factor,
        "segmenter": segmenter,
        "segmenter_weights": segmenter_weights,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if options and not regions:
        raise InputError(f"--{next(iter(options)).replace('_', '-')} is for regions; add --regions, or leave it out")
    if regions and reference is None:
        raise InputError("--regions measures losses against real photographs; give them with --reference")
    if limited and scores is None:
        scores = SCORES.convert(SCORES_FILE, None, None)

    from evaluation.filter import filter_pictures as run
    from evaluation.regions import RegionSettings
    from pipeline.data.storage import beside

    out = out or beside(images, "-filtered")
    kept = run(images, scores, out, regions=RegionSettings(**options) if regions else None, **limits)
    lines = []
    if kept.regions is not None:
        lines.append(str(kept.regions))
    lines.append(f"{kept.pictures} of {kept.of} pictures pass, in {out}")
    tell("\n".join(lines), kept=kept, folder=out)


@click.command()
@click.option("--real", required=True, type=DATA, help="Parquet of real photographs with label maps.")
@click.option(
    "--synthetic",
    type=Synthetic("synthetic set", PICTURES.fix),
    required=True,
    multiple=True,
    metavar="[NAME=]PATH",
    help="Pictures of synthesize or filter; again for more sets, each by a name.",
)
@click.option("--test", required=True, type=DATA, help="Parquet of other real photographs, to test on.")
@click.option("--out", type=OUT, default=Path("usefulness"), show_default=True, help="Folder for the page.")
@click.option("--recipe", type=RECIPE, help="For its segmenter section and size  [default: the synthetic pictures']")
@OVERRIDES
@click.option("--label-column", "label_columns", multiple=True, metavar="NAME=COLUMN", help="Of a set's label maps.")
@click.option("--fractions", default="1/8,1/4,1/2,1", show_default=True, help="Of the real photographs: the curve.")
@click.option("--mixed-at", help="Fractions that are mixed with synthetic pictures too  [default: all of them]")
@click.option("--mixed-only", is_flag=True, help="No trainings on synthetic pictures alone.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Trainings of each mixture.")
@click.option(
    "--synthetic-share", default=0.5, show_default=True, type=SHARE, help="Of what a mixed training sees of both."
)
@click.option(
    "--real-last",
    default=0.0,
    show_default=True,
    type=Amount(0, 1, max_open=True),
    help="Share of a mixed training's steps, at the end, with real photographs alone.",
)
@click.option(
    "--segmenter",
    type=SEGMENTER,
    default="deeplab",
    show_default=True,
    help="deeplab, or hf:FOLDER of transformers.",
)
@click.option("--weights", "pretrained", type=WEIGHTS, help="Local file that deeplab starts from.")
@click.option("--workers", default=0, show_default=True, type=PROCESSES_OR_NONE, help="Trainings at a time, on Ray.")
@TRAINING_THREADS
@click.option("--keep-segmenters", is_flag=True, help="Keep the trained networks in OUT/cells.")
def usefulness(
    real: str,
    synthetic: tuple[str, ...],
    test: str,
    out: Path,
    recipe: Path | None,
    overrides: tuple[str, ...],
    label_columns: tuple[str, ...],
    fractions: str,
    mixed_at: str | None,
    **options: Any,
) -> None:
    """Train segmenters with and without synthetic pictures, and see which are better on real photographs.

    \b
    Example:
      spadework usefulness --real data/train.parquet --synthetic planned-images/ --test data/validation.parquet
    """
    from evaluation.usefulness.arms import parse_fractions, parse_sets

    sets = parse_sets(synthetic, label_columns)
    curve = parse_fractions(fractions)
    mixed = curve if mixed_at is None else parse_fractions(mixed_at)
    settings = None if recipe is None else read_recipe(recipe, overrides)

    from evaluation.usefulness.page import summary, write_usefulness
    from evaluation.usefulness.usefulness import default_recipe, measure_usefulness

    found = measure_usefulness(
        settings or default_recipe(real, sets, overrides),
        out,
        real=real,
        synthetic=sets,
        test=test,
        fractions=curve,
        mixed_at=mixed,
        **options,
    )
    write_usefulness(out, found)
    lines = []
    for arm in found.arms:
        gained = "" if arm.gain is None else f", {100 * arm.gain.value:+.1f} points (p = {arm.gain.p:.2g})"
        lines.append(f"{arm.name}: mean IoU {arm.mean_iou.value:.1%}{gained}")
    lines += [summary(found), f"Page: {out / 'usefulness.html'}"]
    tell("\n".join(lines), usefulness=found, page=out / "usefulness.html")
