"""The verbs of scoring: train-segmenter, evaluate, evaluate-style, filter, compare, prefer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from pipeline.command_line import EXISTING, check_there, read_recipe
from pipeline.errors import InputError


@click.command("train-segmenter")
@click.argument("recipe", type=EXISTING)
@click.option("--out", required=True, type=EXISTING, help="Run directory; the same command continues a training there.")
@click.option("--weights", type=EXISTING, help="Local file to start from: torchvision's DeepLabV3, or its backbone.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe.")
def train_segmenter(recipe: Path, out: Path, weights: Path | None, overrides: tuple[str, ...]) -> None:
    """Train the network that scores pictures, on the real photographs of a recipe.

    \b
    Example:
      spadework train-segmenter configs/landscape.yaml --out runs/segmenter
    """
    settings = read_recipe(recipe, overrides)
    check_there("weights file", weights)

    from evaluation.segmenters.training.train import train_segmenter as run

    trained = run(settings, out, weights=weights).settings.training
    click.echo(
        f"{out / 'segmenter.safetensors'}: mean IoU {trained['validation_mean_iou']:.1%}, "
        f"accuracy {trained['validation_accuracy']:.1%} on {trained['validation_photographs']} validation photographs"
    )


@click.command()
@click.option(
    "--images", type=EXISTING, default=Path("images"), show_default=True, help="Folder that synthesize wrote."
)
@click.option(
    "--reference",
    type=EXISTING,
    default=Path("data/landscape/validation.parquet"),
    show_default=True,
    help="Parquet with the photographs of the same label maps.",
)
@click.option("--segmenter", default="deeplab", show_default=True, help="Network that looks for the classes.")
@click.option(
    "--segmenter-weights", type=EXISTING, help="Its weights  [default: fetched ones; of deeplab for landscapes]"
)
@click.option(
    "--out",
    type=EXISTING,
    default=Path("report"),
    show_default=True,
    help="Folder for report.html, report.md and report.json.",
)
@click.option("--baseline", "baselines", multiple=True, metavar="NAME=PATH", help="More pictures to compare with.")
@click.option("--inception-weights", type=EXISTING, help="FID's Inception: file, or name of weights list.")
@click.option("--lpips-weights", type=EXISTING, help="Trunk of LPIPS, for diversity: file, or name of weights list.")
@click.option("--fid-reference", type=EXISTING, help="Photographs for --set fid_reference=training.")
@click.option("--protocol", "protocols", multiple=True, default=("native",), show_default=True, help="How to score.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the protocols.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0), help="Ray actors; 0: this process.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1), help="Pictures at a time.")
@click.option("--examples", default=8, show_default=True, type=click.IntRange(0), help="Pictures shown in the report.")
@click.option("--cache", type=EXISTING, help="Folder to keep image results in, for later evaluations too.")
@click.option("--title", help="Of the report.")
def evaluate(
    images: Path,
    reference: Path,
    out: Path,
    baselines: tuple[str, ...],
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
    check_there("synthesized pictures", images)
    check_there("reference data set", reference)

    from evaluation.evaluate import evaluate as run
    from evaluation.report.tables import summary
    from evaluation.scoring.protocols import find_protocol, parse_overrides

    chosen = [find_protocol(name, parse_overrides(overrides)) for name in protocols]
    named = {}
    for text in baselines:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise InputError(f"--baseline {text}: write NAME=PATH, such as untrained=images-untrained/")
        named[name] = Path(path)
    click.echo(summary(run(images, reference, out, baselines=named, protocols=chosen, **options)))
    click.echo(f"Report: {out / 'report.html'}")


@click.command("evaluate-style")
@click.option("--checkpoint", required=True, help="Run directory or .safetensors file, with a style encoder.")
@click.option("--reference", required=True, type=EXISTING, help="Parquet of label maps and photographs with moods.")
@click.option("--learn-from", required=True, type=EXISTING, help="Parquet of photographs that teach the moods.")
@click.option("--out", required=True, type=EXISTING, help="Folder for style.json and style.png.")
@click.option("--column", default="mood", show_default=True, help="Column that names a photograph's mood.")
@click.option("--maps", default=25, show_default=True, type=click.IntRange(1), help="Label maps to paint.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the photographs.")
def evaluate_style(checkpoint: str, reference: Path, out: Path, **options: Any) -> None:
    """See whether pictures take the mood of the photograph that gives their style.

    \b
    Example:
      spadework evaluate-style --checkpoint runs/x --reference data/landscape/validation.parquet \
        --learn-from data/landscape/train.parquet --out style/
    """
    for data in (reference, options["learn_from"]):
        check_there("data set", data, "give a Parquet file or a folder of them (the verb prepare makes one)")

    from evaluation.style_transfer import evaluate_style as run

    click.echo(run(checkpoint, reference, out, **options).summary())
    click.echo(f"Grid: {out / 'style.png'}")


@click.command("filter")
@click.argument("images", type=EXISTING)
@click.option(
    "--scores", default="report/scores.parquet", show_default=True, type=EXISTING, help="What evaluate wrote."
)
@click.option("--out", type=EXISTING, help="New folder for the pictures that pass  [default: IMAGES-filtered]")
@click.option("--min-accuracy", type=click.FloatRange(0, 1), help="Least share of pixels of the right class.")
@click.option("--min-mean-iou", type=click.FloatRange(0, 1), help="Least mean IoU of the picture.")
@click.option("--max-feature-distance", type=click.FloatRange(0), help="Largest distance to the photograph.")
def filter_(images: Path, scores: Path, out: Path | None, **limits: float | None) -> None:
    """Keep the pictures whose scores pass every limit, as training data of known quality.

    \b
    Example:
      spadework filter images/ --min-accuracy 0.8 --out good-images/
    """
    if all(limit is None for limit in limits.values()):
        raise InputError("give a limit: --min-accuracy, --min-mean-iou or --max-feature-distance")
    check_there("synthesized pictures", images)
    check_there("scores", scores, "`spadework evaluate` writes them")

    from evaluation.filter import filter_pictures as run

    out = out or Path(f"{images.resolve()}-filtered")
    kept = run(images, scores, out, **limits)
    click.echo(f"{kept.pictures} of {kept.of} pictures pass, in {out}")


@click.command()
@click.argument("reports", nargs=-1, required=True, type=EXISTING)
@click.option("--out", required=True, type=EXISTING, help="Folder for compare.html, compare.md and compare.json.")
def compare(reports: tuple[Path, ...], out: Path) -> None:
    """Put reports of evaluate side by side with the first, and say which differences are significant.

    \b
    Example:
      spadework compare report-a/ report-b/ --out comparison/
    """
    for report in reports:
        check_there("report", report, "`spadework evaluate` writes one")

    from evaluation.compare import compare as run
    from evaluation.compare import verdict

    found = run(reports, out)
    for item in found.differences:
        click.echo(verdict(item, found.rows[0]["name"]))
    click.echo(f"Comparison: {out / 'compare.html'}")


@click.command()
@click.argument("sets", nargs=-1, type=EXISTING, metavar="[FIRST SECOND]")
@click.option("--out", default="prefer.html", show_default=True, type=EXISTING, help="The page to write.")
@click.option("--pairs", default=60, show_default=True, type=click.IntRange(1), help="Pairs on it, at most.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**53), help="Of the pairs, and what is on the left."
)
@click.option("--votes", multiple=True, type=EXISTING, help="File that the page saved, of a voter each: count them.")
@click.option(
    "--ties",
    default="excluded",
    show_default=True,
    type=click.Choice(["excluded", "half"]),
    help="Whether ties are left out of the shares, or count half for each set.",
)
def prefer(
    sets: tuple[Path, ...], out: Path, pairs: int, seed: int, votes: tuple[Path, ...], ties: Literal["excluded", "half"]
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
    for path in sets:
        check_there("set of pictures", path)
    for path in votes:
        check_there("file of votes", path)

    from evaluation.prefer import count_votes, write_page

    if votes:
        click.echo(count_votes(votes).summary(ties))
    else:
        click.echo(f"{write_page(sets[0], sets[1], out, pairs=pairs, seed=seed)} pairs: open {out} in a browser")
