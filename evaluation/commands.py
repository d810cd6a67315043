"""The verbs of scoring: train-segmenter, evaluate and the like, filter, memorisation, compare, usefulness, prefer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from evaluation.command_line import (
    PICTURES,
    REPORT,
    SCORES,
    SCORES_FILE,
    SEGMENTER,
    SEGMENTER_WEIGHTS,
    Baseline,
    Synthetic,
)
from pipeline.command_line import (
    CHECKPOINT,
    DATA,
    OUT,
    OUT_LOCATION,
    RECIPE,
    WEIGHTS,
    Existing,
    NamedWeights,
    read_recipe,
)
from pipeline.errors import InputError

VOTES = Existing("file of votes", "the page of `spadework prefer` saves it")


@click.command("train-segmenter")
@click.argument("recipe", type=RECIPE)
@click.option("--out", required=True, type=OUT, help="Run directory; the same command continues a training there.")
@click.option("--weights", type=WEIGHTS, help="Local file to start from: torchvision's DeepLabV3, or its backbone.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe.")
def train_segmenter(recipe: Path, out: Path, weights: Path | None, overrides: tuple[str, ...]) -> None:
    """Train the network that scores pictures, on the real photographs of a recipe.

    \b
    Example:
      spadework train-segmenter configs/landscape.yaml --out runs/segmenter
    """
    settings = read_recipe(recipe, overrides)

    from evaluation.segmenters.training.train import train_segmenter as run

    trained = run(settings, out, weights=weights).settings.training
    click.echo(
        f"{out / 'segmenter.safetensors'}: mean IoU {trained['validation_mean_iou']:.1%}, "
        f"accuracy {trained['validation_accuracy']:.1%} on {trained['validation_photographs']} validation photographs"
    )


@click.command()
@click.option(
    "--images", type=PICTURES, default="images", show_default=True, help="Folder that synthesize wrote, or its URI."
)
@click.option(
    "--reference",
    type=DATA,
    default="data/landscape/validation.parquet",
    show_default=True,
    help="Parquet with the photographs of the same label maps: a file, folder, 'pattern*' or URI.",
)
@click.option(
    "--segmenter", type=SEGMENTER, default="deeplab", show_default=True, help="Network that looks for the classes."
)
@click.option(
    "--segmenter-weights",
    type=SEGMENTER_WEIGHTS,
    help="Its weights  [default: fetched ones; of deeplab for landscapes]",
)
@click.option(
    "--out",
    type=OUT,
    default=Path("report"),
    show_default=True,
    help="Folder for report.html, report.md and report.json.",
)
@click.option("--baseline", "baselines", type=Baseline(), multiple=True, help="More pictures to compare with.")
@click.option(
    "--inception-weights", type=NamedWeights("Inception"), help="FID's Inception: file, or name of weights list."
)
@click.option(
    "--lpips-weights", type=NamedWeights("LPIPS"), help="Trunk of LPIPS, for diversity: file, or name of weights list."
)
@click.option("--fid-reference", type=DATA, help="Photographs for --set fid_reference=training.")
@click.option("--protocol", "protocols", multiple=True, default=("native",), show_default=True, help="How to score.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the protocols.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0), help="Ray actors; 0: this process.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1), help="Pictures at a time.")
@click.option("--examples", default=8, show_default=True, type=click.IntRange(0), help="Pictures shown in the report.")
@click.option("--cache", type=OUT, help="Folder to keep image results in, for later evaluations too.")
@click.option("--title", help="Of the report.")
def evaluate(
    images: str,
    reference: str,
    out: Path,
    baselines: tuple[tuple[str, str], ...],
    protocols: tuple[str, ...],
    overrides: tuple[str, ...],
    **options: Any,
) -> None:
    """Score pictures by what a segmentation network sees in them, beside the real photographs.

    \b
    Example:
      spadework evaluate --images images/ --reference data/landscape/validation.parquet \\
        --segmenter-weights runs/segmenter --out report/
    """
    from evaluation.evaluate import evaluate as run
    from evaluation.report.tables import summary
    from evaluation.scoring.protocols import find_protocol, parse_overrides

    chosen = [find_protocol(name, parse_overrides(overrides)) for name in protocols]
    click.echo(summary(run(images, reference, out, baselines=dict(baselines), protocols=chosen, **options)))
    click.echo(f"Report: {out / 'report.html'}")


@click.command("evaluate-style")
@click.option(
    "--checkpoint", type=CHECKPOINT, required=True, help="Run directory or .safetensors file, with a style encoder."
)
@click.option("--reference", required=True, type=DATA, help="Parquet of label maps and photographs with moods.")
@click.option("--learn-from", required=True, type=DATA, help="Parquet of photographs that teach the moods.")
@click.option("--out", required=True, type=OUT, help="Folder for style.json and style.png.")
@click.option("--column", default="mood", show_default=True, help="Column that names a photograph's mood.")
@click.option("--maps", default=25, show_default=True, type=click.IntRange(1), help="Label maps to synthesize.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the photographs.")
def evaluate_style(checkpoint: str, reference: str, out: Path, **options: Any) -> None:
    """See whether pictures take the mood of the photograph that gives their style.

    \b
    Example:
      spadework evaluate-style --checkpoint runs/x --reference data/landscape/validation.parquet \
        --learn-from data/landscape/train.parquet --out style/
    """
    from evaluation.style_transfer import evaluate_style as run

    click.echo(run(checkpoint, reference, out, **options).summary())
    click.echo(f"Grid: {out / 'style.png'}")


@click.command("filter")
@click.argument("images", type=PICTURES)
@click.option("--scores", type=SCORES, help=f"What evaluate wrote, for limits  [default: {SCORES_FILE}]")
@click.option(
    "--out", type=OUT_LOCATION, help="New folder, or URI, for the pictures that pass  [default: IMAGES-filtered]"
)
@click.option("--min-accuracy", type=click.FloatRange(0, 1), help="Least share of pixels of the right class.")
@click.option("--min-mean-iou", type=click.FloatRange(0, 1), help="Least mean IoU of the picture.")
@click.option("--max-feature-distance", type=click.FloatRange(0), help="Largest distance to the photograph.")
@click.option(
    "--regions",
    is_flag=True,
    help="Add label_trusted, where pixels of too large a loss are don't-care.",
)
@click.option("--reference", type=DATA, help="Parquet of real photographs, whose losses say what is too large ...")
@click.option(
    "--loss-factor", type=click.FloatRange(0, min_open=True), help="... times the mean of the class.  [default: 1.25]"
)
@click.option("--segmenter", type=SEGMENTER, help="Network that looks for the classes.  [default: deeplab]")
@click.option("--segmenter-weights", type=SEGMENTER_WEIGHTS, help="Its weights  [default: those that evaluate takes]")
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
    if kept.regions is not None:
        click.echo(kept.regions)
    click.echo(f"{kept.pictures} of {kept.of} pictures pass, in {out}")


@click.command()
@click.option("--images", type=PICTURES, default="images", show_default=True, help="Folder that synthesize wrote.")
@click.option(
    "--training",
    type=DATA,
    default="data/landscape/train.parquet",
    show_default=True,
    help="Parquet of the photographs that the generator was trained on.",
)
@click.option("--held-out", type=DATA, help="Photographs that it was not trained on, to compare with.")
@click.option(
    "--segmenter", type=SEGMENTER, default="deeplab", show_default=True, help="Network whose features are compared."
)
@click.option("--segmenter-weights", type=SEGMENTER_WEIGHTS, help="Its weights  [default: those that evaluate takes]")
@click.option(
    "--inception-weights",
    type=NamedWeights("Inception"),
    help="Compare Inception's features: file, or name of weights list.",
)
@click.option("--out", type=OUT, default=Path("memorisation"), show_default=True, help="Folder for page, JSON and CSV.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0), help="Ray actors; 0: this process.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1), help="Pictures at a time.")
@click.option("--pairs", default=8, show_default=True, type=click.IntRange(0), help="Closest pairs shown on the page.")
@click.option("--cache", type=OUT, help="Folder to keep image results in, as in evaluate.")
def memorisation(images: str, training: str, out: Path, **options: Any) -> None:
    """See whether pictures are copies of the photographs that were trained on, or of each other.

    \b
    Example:
      spadework memorisation --images images/ --training data/landscape/train.parquet \\
        --held-out data/landscape/validation.parquet
    """
    from evaluation.memorisation import measure_memorisation as run

    click.echo(run(images, training, out, **options))
    click.echo(f"Page: {out / 'memorisation.html'}")


@click.command()
@click.argument("reports", nargs=-1, required=True, type=REPORT)
@click.option("--out", required=True, type=OUT, help="Folder for compare.html, compare.md and compare.json.")
def compare(reports: tuple[str, ...], out: Path) -> None:
    """Put reports of evaluate side by side with the first, and say which differences are significant.

    \b
    Example:
      spadework compare report-a/ report-b/ --out comparison/
    """
    from evaluation.compare import compare as run
    from evaluation.compare import verdict

    found = run(reports, out)
    for item in found.differences:
        click.echo(verdict(item, found.rows[0]["name"]))
    click.echo(f"Comparison: {out / 'compare.html'}")


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
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe.")
@click.option("--label-column", "label_columns", multiple=True, metavar="NAME=COLUMN", help="Of a set's label maps.")
@click.option("--fractions", default="1/8,1/4,1/2,1", show_default=True, help="Of the real photographs: the curve.")
@click.option("--mixed-at", help="Fractions that are mixed with synthetic pictures too  [default: all of them]")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Trainings of each mixture.")
@click.option("--synthetic-share", default=0.5, show_default=True, type=float, help="Of what a mixed training sees.")
@click.option(
    "--segmenter",
    type=SEGMENTER,
    default="deeplab",
    show_default=True,
    help="deeplab, or hf:FOLDER of transformers.",
)
@click.option("--weights", "pretrained", type=WEIGHTS, help="Local file that deeplab starts from.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0), help="Trainings at a time, on Ray.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Of each training.")
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
      spadework usefulness --real data/train.parquet --synthetic images/ --test data/validation.parquet
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
    for arm in found.arms:
        gained = "" if arm.gain is None else f", {100 * arm.gain.value:+.1f} points (p = {arm.gain.p:.2g})"
        click.echo(f"{arm.name}: mean IoU {arm.mean_iou.value:.1%}{gained}")
    click.echo(summary(found))
    click.echo(f"Page: {out / 'usefulness.html'}")


@click.command()
@click.argument("sets", nargs=-1, type=PICTURES, metavar="[FIRST SECOND]")
@click.option("--out", default="prefer.html", show_default=True, type=OUT, help="The page to write.")
@click.option("--pairs", default=60, show_default=True, type=click.IntRange(1), help="Pairs on it, at most.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**53), help="Of the pairs, and what is on the left."
)
@click.option("--votes", multiple=True, type=VOTES, help="File that the page saved, of a voter each: count them.")
@click.option(
    "--ties",
    default="excluded",
    show_default=True,
    type=click.Choice(["excluded", "half"]),
    help="Whether ties are left out of the shares, or count half for each set.",
)
def prefer(
    sets: tuple[str, ...], out: Path, pairs: int, seed: int, votes: tuple[Path, ...], ties: Literal["excluded", "half"]
) -> None:
    """Let people choose between two sets of pictures, blindly: write the page, and later count the votes.

    FIRST and SECOND are folders that synthesize wrote from the same label maps. The page needs no server and no other
    file; arrow keys vote.

    \b
    Example:
      spadework prefer images/ my-images/ --out prefer.html
      spadework prefer --votes votes.json
    """
    if bool(votes) == bool(sets) or (sets and len(sets) != 2):
        raise InputError("give two sets of pictures to write a page, or --votes FILE to count what it saved")

    from evaluation.prefer import count_votes, write_page

    if votes:
        click.echo(count_votes(votes).summary(ties))
    else:
        click.echo(f"{write_page(sets[0], sets[1], out, pairs=pairs, seed=seed)} pairs: open {out} in a browser")
