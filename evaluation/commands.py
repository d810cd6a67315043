"""The verbs of scoring: train-segmenter, evaluate, evaluate-style, filter, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evaluation.segmenters import check_kind
from pipeline.command_line import CHECKPOINT, DATA, OUT, RECIPE, WEIGHTS, Existing, check_there, read_recipe
from pipeline.errors import InputError


class Segmenter(click.ParamType):
    """The name of a segmenter, or `hf:` and the folder or id of one of Hugging Face transformers."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given; `InputError` where there is no such segmenter on this machine."""
        folder = value.removeprefix("hf:")
        if folder == value:
            check_kind(value)
        elif folder.startswith(("/", ".")) or folder.count("/") != 1:  # An id is OWNER/NAME.
            check_there("folder of a segmenter", Path(folder))
        return value


class NamedWeights(Existing):
    """A weights file, or the name of one that `weights fetch` fetches."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or name; `InputError` where there is neither."""
        from pipeline.pretrained.registry import FILES

        names = [file.name for file in FILES if file.name.startswith(self.what.lower())]
        if str(value) in names:
            return Path(value)
        check_there(f"{self.what} weights file", Path(value), f"give a file, or a name: {', '.join(names)}")
        return super().convert(value, param, ctx)


class Baseline(click.ParamType):
    """NAME=PATH."""

    name = "NAME=PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Name and path; `InputError` where the text has another form or there is no such folder."""
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise InputError(f"--baseline {value}: write NAME=PATH, such as untrained=images-untrained/")
        check_there(f"baseline '{name}'", Path(path), PICTURES.fix)
        return name, Path(path)


PICTURES = Existing("folder of synthesized pictures", "`spadework synthesize` makes one")


SEGMENTER = Segmenter()


SEGMENTER_WEIGHTS = Existing("segmenter weights", "`spadework train-segmenter` makes them")


SCORES = Existing("table of scores", "`spadework evaluate` writes one")


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
    "--images", type=PICTURES, default=Path("images"), show_default=True, help="Folder that synthesize wrote."
)
@click.option(
    "--reference",
    type=DATA,
    default=Path("data/landscape/validation.parquet"),
    show_default=True,
    help="Parquet with the photographs of the same label maps.",
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
@click.option(
    "--baseline",
    "baselines",
    type=Baseline(),
    multiple=True,
    help="More pictures to compare with.",
)
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
    images: Path,
    reference: Path,
    out: Path,
    baselines: tuple[tuple[str, Path], ...],
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
@click.option("--maps", default=25, show_default=True, type=click.IntRange(1), help="Label maps to paint.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the photographs.")
def evaluate_style(checkpoint: str, reference: Path, out: Path, **options: Any) -> None:
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
@click.option("--scores", default="report/scores.parquet", show_default=True, type=SCORES, help="What evaluate wrote.")
@click.option("--out", type=OUT, help="New folder for the pictures that pass  [default: IMAGES-filtered]")
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

    from evaluation.filter import filter_pictures as run

    out = out or Path(f"{images.resolve()}-filtered")
    kept = run(images, scores, out, **limits)
    click.echo(f"{kept.pictures} of {kept.of} pictures pass, in {out}")


@click.command()
@click.argument("reports", nargs=-1, required=True, type=Existing("report", "`spadework evaluate` writes one"))
@click.option("--out", required=True, type=OUT, help="Folder for compare.html, compare.md and compare.json.")
def compare(reports: tuple[Path, ...], out: Path) -> None:
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
