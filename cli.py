"""spadework's command line: each verb parses its options and calls one function of a package."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.config import Recipe

# Heavy modules (torch, ray, pyarrow) are imported inside the verbs, so that --help answers at once; and after recipes
# are read and `_check_there` has looked for files, so that a mistyped name is told at once too.

EXISTING = click.Path(path_type=Path)
MINUTES = click.FloatRange(0)
MAX_TOLD = 200
"""Characters of an unforeseen error, or of an argument, that a line shows."""
LANDSCAPE_RECIPE = Path(__file__).parent / "configs" / "landscape.yaml"


class Verbs(click.Group):
    """Verbs in the order of the work, and one line with exit code 2 for a user's mistake."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are defined, which is the order in which they are used."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; an `InputError`, or a file that cannot be used, ends in one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        except OSError as error:
            # A full disk (ENOSPC) comes without a file's name.
            told = error.strerror or " ".join(str(error).split()) or type(error).__name__
            click.echo(f"Error: {told}" if error.filename is None else f"Error: {error.filename}: {told}", err=True)
            sys.exit(2)


class NoTextError(click.ClickException):
    """An argument that is no text: one line, like an `InputError` of a verb."""

    exit_code = 2


class Program(Verbs):
    """The whole command line: whatever a verb raises that nobody foresaw ends in one line too."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run it; an unforeseen exception ends in one line that names the file with its traceback, and exit code 1."""
        try:
            return super().main(*args, **extra)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the last one who could say it in words
            told = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
            told = told if len(told) <= MAX_TOLD else f"{told[:MAX_TOLD]}..."
            click.echo(f"Error: unexpected error ({told}); {_keep_traceback(error)}", err=True)
            sys.exit(1)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse here, for all verbs, what can be neither a file's name nor text in a file that we write."""
        for argument in args:
            if "\0" in argument or any("\ud800" <= char <= "\udfff" for char in argument):  # bytes that are not UTF-8
                told = ascii(argument if len(argument) <= MAX_TOLD else f"{argument[:MAX_TOLD]}...")
                raise NoTextError(f"{told} has a NUL or is not UTF-8; give text, and rename such files")
        return super().parse_args(ctx, args)


def _keep_traceback(error: Exception) -> str:
    """Write the traceback to a file in the temporary directory; where it is, in words."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="spadework-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}")
    except OSError as failure:
        return f"its details could not be kept ({failure})"
    return f"details in {file.name}"


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="spadework")
def main() -> None:
    """Turn label maps into photographs at scale, and prove how good they are."""


class Size(click.ParamType):
    """WIDTHxHEIGHT on the command line; (height, width) in the code."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Two positive numbers, or a usage error."""
        if isinstance(value, tuple):
            return value
        width, _, height = value.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"'{value}' is not WIDTHxHEIGHT, such as 256x256", param, ctx)
        return int(height), int(width)


def _show_log(package: str) -> None:
    """What a package of ours logs, on the terminal's error stream; of others warnings only."""
    import logging

    logging.basicConfig(format="%(message)s")
    logging.getLogger(package).setLevel(logging.INFO)


def _check_there(what: str, path: Path | None, fix: str = "") -> None:
    """Refuse a file or folder that is not there, before what would read it is imported."""
    if path is not None and not path.exists():
        raise InputError(f"{what} {path} does not exist{fix and '; '}{fix}")


def _load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """`load_recipe`, whose imports take half a second."""
    _check_there("recipe", path)

    from pipeline.recipe_file import load_recipe

    return load_recipe(path, overrides)


@main.group(cls=Verbs)
def prepare() -> None:
    """Make the Parquet files that everything else reads: train.parquet and validation.parquet."""


WORKERS = click.option("--workers", type=click.IntRange(1), help="Processes  [default: one for each CPU]")
OUT = click.option("--out", required=True, type=EXISTING, help="Folder for the Parquet files.")
SHRUNK = click.option("--size", type=Size(), help="Resize to this  [default: keep]")
RESAMPLE = click.option(
    "--resample",
    type=click.Choice(["lanczos", "bicubic"]),
    default="lanczos",
    show_default=True,
    help="How --size resizes photographs; bicubic as the public SPADE training does.",
)
SKIP_BAD = click.option("--skip-bad", is_flag=True, help="Leave out and report bad files instead of stopping.")


@prepare.command()
@OUT
@click.option("--train", default=2000, show_default=True, type=click.IntRange(1), help="Scenes to train on.")
@click.option("--validation", default=200, show_default=True, type=click.IntRange(0), help="Scenes to judge by.")
@click.option("--size", default="128x128", show_default=True, type=Size(), help="Of the scenes, in pixels.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Another seed, other scenes."
)
@WORKERS
def landscape(out: Path, size: tuple[int, int], **options: Any) -> None:
    """Draw landscapes: 14 classes, four moods, trees and houses with instance ids.

    \b
    Example:
      spadework prepare landscape --out data/landscape --size 128x128
    """
    from pipeline.datasets.landscape.dataset import prepare as run

    click.echo(run(out, height=size[0], width=size[1], **options))


@prepare.command()
@click.argument("labels", type=EXISTING)
@OUT
@click.option("--images", type=EXISTING, help="Folder of photographs with the same names.")
@click.option("--instances", type=EXISTING, help="Folder of instance maps with the same names.")
@click.option("--classes", type=EXISTING, help="File with the class names, a line each, in the order of the ids.")
@click.option("--palette", type=EXISTING, help="File with a line 'red green blue name' for each colour, or JSON.")
@click.option("--map-ids", type=EXISTING, help="File with a line 'stored new' for each id that label maps have.")
@click.option("--dont-care", type=click.IntRange(0, 65535), help="The id that means unknown.")
@click.option("--label-suffix", default="", help="What names of label maps end in, such as _gtFine_labelIds.")
@click.option("--image-suffix", default="", help="What names of photographs end in, such as _leftImg8bit.")
@click.option("--instance-suffix", default="", help="What names of instance maps end in.")
@click.option(
    "--validation", default=0.1, show_default=True, type=click.FloatRange(0, 1), help="Share to keep from training."
)
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def folder(labels: Path, out: Path, **options: Any) -> None:
    """Convert a folder of label maps (8- or 16-bit grey, palette, or with --palette RGB).

    \b
    Example:
      spadework prepare folder masks/ --images photos/ --classes classes.txt --out data/mine
    """
    from pipeline.datasets.folder import prepare as run

    click.echo(run(labels, out, **options))


@prepare.command()
@click.argument("root", type=EXISTING)
@OUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def camvid(root: Path, out: Path, **options: Any) -> None:
    """Convert CamVid with 11 classes: ROOT/{train,val}/{images,labels}.

    \b
    Example:
      spadework prepare camvid datasets/camvid --out data/camvid --size 128x96
    """
    from pipeline.datasets.camvid import prepare as run

    click.echo(run(root, out, **options))


@prepare.command("coco-stuff")
@click.argument("root", type=EXISTING)
@OUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def coco_stuff(root: Path, out: Path, **options: Any) -> None:
    """Convert COCO-Stuff: ROOT/{train,val}_{img,label,inst}.

    \b
    Example:
      spadework prepare coco-stuff datasets/coco_stuff --out data/coco_stuff --size 286x286
    """
    from pipeline.datasets.coco_stuff import prepare as run

    click.echo(run(root, out, **options))


@prepare.command()
@click.argument("root", type=EXISTING)
@OUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def ade20k(root: Path, out: Path, **options: Any) -> None:
    """Convert ADE20K with 150 classes: ROOT/{images,annotations}/{training,validation}.

    \b
    Example:
      spadework prepare ade20k ADEChallengeData2016 --out data/ade20k --size 286x286
    """
    from pipeline.datasets.ade20k import prepare as run

    click.echo(run(root, out, **options))


@prepare.command()
@click.argument("root", type=EXISTING)
@OUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def cityscapes(root: Path, out: Path, **options: Any) -> None:
    """Convert Cityscapes: ROOT/{gtFine,leftImg8bit}/{train,val}/<city>.

    \b
    Example:
      spadework prepare cityscapes datasets/cityscapes --out data/cityscapes --size 512x256
    """
    from pipeline.datasets.cityscapes import prepare as run

    click.echo(run(root, out, **options))


@main.command()
@click.argument("recipe", type=EXISTING, default=LANDSCAPE_RECIPE, required=False)
@click.option(
    "--out", type=EXISTING, help="Run directory; the same command continues a training there  [default: runs/NAME]"
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Processes on Ray, each on a GPU where there are any; 0: this process, without Ray.",
)
@click.option(
    "--decoders",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Ray Data actors that read, decode and augment for each worker, on any machine; "
    "0: threads of the worker itself.",
)
@click.option("--vgg-weights", type=EXISTING, help="Local file of torchvision's vgg19, for the perceptual loss.")
@click.option("--segmenter", default="deeplab", show_default=True, help="Network that validates every few epochs ...")
@click.option("--segmenter-weights", type=EXISTING, help="... and its weights  [default: no validation]")
@click.option("--max-time", "max_minutes", type=MINUTES, metavar="MINUTES", help="Stop then, with a checkpoint.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe.")
def train(
    recipe: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    segmenter: str,
    segmenter_weights: Path | None,
    **options: Any,
) -> None:
    """Train the generator of a recipe; without one, of configs/landscape.yaml.

    Ctrl-C stops after the step at hand and leaves a checkpoint; the same command goes on from there. With
    --segmenter-weights the run keeps its best weights, best.safetensors, beside the newest.

    \b
    Example:
      spadework train configs/landscape.yaml --out runs/landscape --set training.steps=3000
    """
    settings = _load_recipe(recipe, overrides)
    for data in (settings.data.train, settings.data.validation):
        _check_there("data set", data, "give a Parquet file or a folder of them (the verb prepare makes one)")

    from training.train import train as run

    _show_log("training")
    validate = None
    if segmenter_weights:
        from evaluation.validation import Validation

        validate = Validation(settings, segmenter, segmenter_weights)
    result = run(settings, out or Path("runs", settings.name), validate=validate, **options)
    click.echo(f"{result.folder / 'generator.safetensors'}: {result.step} steps")
    if not result.finished:
        click.echo("Not all steps are done; the same command goes on.")


@main.command("compile")
@click.option("--checkpoint", required=True, help="As for synthesize.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "inductor", "eager"]),
    default="auto",
    show_default=True,
    help="Compiler; auto: the first that is there.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Arithmetic; auto: the smallest whose pictures are within tolerance.",
)
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Styles of a label map in a pass, fixed."
)
@click.option("--size", type=Size(), help="Of the pictures  [default: the recipe's]")
@click.option(
    "--modulation",
    type=click.Choice(["pattern", "dense"]),
    help="How gamma and beta are computed  [default: the recipe's; pattern where that is auto]",
)
@click.option(
    "--input", "source", type=EXISTING, help="Parquet of label maps to tune for and check with  [default: landscapes]"
)
@click.option("--maps", type=click.IntRange(1), default=4, show_default=True, help="How many of them.")
@click.option(
    "--out",
    type=EXISTING,
    default=Path("engines"),
    show_default=True,
    help="Folder of engines; each has its own in it.",
)
def compile_(checkpoint: str, out: Path, **options: Any) -> None:
    """Compile the generator for this machine, and check its pictures against float32.

    \b
    Example:
      spadework compile --checkpoint runs/x --out engines/
    """
    _check_there("label maps", options["source"])

    from pipeline.engines.compile import compile_generator as run

    _show_log("pipeline.engines")
    folder, manifest = run(checkpoint, out, **options)
    click.echo(f"{folder}: {manifest.spec}\n{manifest.parity}")
    if manifest.milliseconds:
        click.echo(f"{manifest.milliseconds:.3g} ms a picture, {manifest.eager_milliseconds:.3g} ms eager")


@main.group(cls=Verbs)
def engines() -> None:
    """What compile made: each engine in a folder named by everything that it depends on."""


ENGINES = click.argument("folder", type=EXISTING, default=Path("engines"))


@engines.command("list")
@ENGINES
def engines_list(folder: Path) -> None:
    """Show every engine: what it is, how far from float32, and why it cannot be used here, if so.

    \b
    Example:
      spadework engines list engines/
    """
    _check_there("folder of engines", folder, "`spadework compile` makes engines")

    from pipeline.engines.cache import list_engines as run

    click.echo(run(folder))


@engines.command("clean")
@ENGINES
@click.option("--all", "everything", is_flag=True, help="Usable ones too.")
def engines_clean(folder: Path, everything: bool) -> None:
    """Remove engines that cannot be used here, and what killed builds left.

    \b
    Example:
      spadework engines clean engines/
    """
    _check_there("folder of engines", folder, "`spadework compile` makes engines")

    from pipeline.engines.cache import clean_engines as run

    for path in run(folder, everything=everything):
        click.echo(f"removed {path}")


@main.command()
@click.option(
    "--input", "source", required=True, help="Label maps: a Parquet file, folder, 'pattern*' or URI (s3://, gs://)."
)
@click.option(
    "--checkpoint",
    help="Run directory or .safetensors file; untrained:RECIPE.yaml for a baseline  "
    "[default: the landscapes that come with spadework]",
)
@click.option(
    "--output",
    default="images",
    show_default=True,
    help="Folder for the pictures, or a URI; the same command continues a job there.",
)
@click.option("--samples", default=1, show_default=True, help="Pictures of each label map, in different styles.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the styles.")
@click.option("--label-column", default="label", show_default=True, help="Column of the label maps.")
@click.option("--id-column", help="Column of the ids  [default: id; file and row where there is none]")
@click.option("--instance-column", help="Column of the instance maps  [default: instance, where there is one]")
@click.option("--palette", type=EXISTING, help="For RGB label maps: a line 'red green blue name' for each colour.")
@click.option("--keep-size", is_flag=True, help="Pictures as large as their label maps, not as in training.")
@click.option("--style", type=EXISTING, help="Photograph that gives the style.")
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
    type=(EXISTING, EXISTING, int),
    help="As many pictures as steps from the style of one photograph to that of another.",
)
@click.option(
    "--truncation", type=float, help="Spread of the styles: 0 (the mean) to 1  [default: 1; 0 with photographs]"
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
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Arithmetic; fp16 on GPUs only  [default: fp32, or the engine's]",
)
@click.option("--engine", type=EXISTING, help="Folder that compile made of the checkpoint, to draw with.")
@click.option(
    "--max-rejects", default="0", show_default=True, help="Bad rows to leave out before giving up: 10, or 1%."
)
@click.option("--actors", type=int, help="Worker processes; 0: no Ray  [default: as many as the cores or GPUs]")
@click.option("--threads", default=1, show_default=True, help="Of each worker's arithmetic.")
@click.option("--gpus-per-actor", default=1.0, show_default=True, help="May be a fraction.")
@click.option(
    "--export", multiple=True, type=click.Choice(["folder", "webdataset"]), help="Also as files, or as tar shards."
)
@click.pass_context
def synthesize(ctx: click.Context, source: str, checkpoint: str | None, output: str, **options: Any) -> None:
    """Make pictures of label maps, every one exactly once.

    A killed job continues with the same command and ends with the same bytes. Exit code 0: all done; 3: all done but
    for rows in _job/rejects.parquet, within --max-rejects; 2: not done, with one line that says why.

    \b
    Example:
      spadework synthesize --input data/landscape/validation.parquet --checkpoint runs/x --output images/
    """
    from pipeline.checkpoints.file import LANDSCAPE
    from pipeline.synthesis.synthesize import synthesize as run

    if checkpoint is None:
        checkpoint = str(LANDSCAPE)
        click.echo(
            "No --checkpoint: the landscape generator that comes with spadework (14 classes, 128x128).", err=True
        )
    summary = run(source, checkpoint, output, **options)
    click.echo(
        f"{summary.images} images of {summary.label_maps} label maps in {summary.output} "
        f"({summary.images_this_run} in this run, {summary.images_per_second:.3g} a second)"
    )
    if summary.rejects:
        click.echo(f"{summary.rejects} label maps were rejected; see {summary.output}/_job/rejects.parquet", err=True)
        ctx.exit(3)


@main.command()
@click.argument("images")
@click.option("--input", "source", help="The job's input: also compare what each part was made of with it.")
def verify(images: str, source: str | None) -> None:
    """Check a finished synthesis: every part, its checksum, its rows and its pictures.

    \b
    Example:
      spadework verify images/
    """
    from pipeline.synthesis.verify import verify as run

    click.echo(run(images, source=source))


@main.command("import-weights")
@click.argument("generator", type=EXISTING)
@click.option("--recipe", required=True, type=EXISTING, help="Of the network that the weights are of.")
@click.option("--encoder", type=EXISTING, help="The style encoder's file, for networks with style.")
@click.option(
    "--dont-care-first/--dont-care-last",
    default=None,
    help="Where the channel of don't-care is  [default: first for ADE20K, last for COCO-Stuff; others must say]",
)
@click.option("--out", required=True, type=EXISTING, help="The checkpoint to write (.safetensors).")
def import_weights(
    generator: Path, recipe: Path, encoder: Path | None, dont_care_first: bool | None, out: Path
) -> None:
    """Convert a public SPADE checkpoint (latest_net_G.pth) for synthesize.

    \b
    Example:
      spadework import-weights latest_net_G.pth --recipe configs/coco_stuff.yaml --out coco.safetensors
    """
    settings = _load_recipe(recipe)
    for file in (generator, encoder):
        _check_there("weights file", file)

    from pipeline.checkpoints.import_public import import_weights as run

    assumed = run(generator, settings, out, encoder_file=encoder, dont_care_first=dont_care_first)
    click.echo(f"wrote {out}; {assumed}")


@main.command("train-segmenter")
@click.argument("recipe", type=EXISTING)
@click.option("--out", required=True, type=EXISTING, help="Run directory; the same command continues a training there.")
@click.option("--weights", type=EXISTING, help="Local file to start from: torchvision's DeepLabV3, or its backbone.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe.")
def train_segmenter(recipe: Path, out: Path, weights: Path | None, overrides: tuple[str, ...]) -> None:
    """Train the network that judges pictures, on the real photographs of a recipe.

    \b
    Example:
      spadework train-segmenter configs/landscape.yaml --out runs/segmenter
    """
    settings = _load_recipe(recipe, overrides)
    _check_there("weights file", weights)

    from evaluation.segmenters.training.train import train_segmenter as run

    made = run(settings, out, weights=weights).settings.training
    click.echo(
        f"{out / 'segmenter.safetensors'}: mean IoU {made['validation_mean_iou']:.1%}, "
        f"accuracy {made['validation_accuracy']:.1%} on {made['validation_photographs']} validation photographs"
    )


@main.command()
@click.option("--minutes", type=MINUTES, default=5.0, show_default=True, help="Of training the generator, at most.")
def demo(minutes: float) -> None:
    """Run the whole line on landscapes, from nothing to a report in demo/: ten minutes on two cores.

    Each command is shown before it runs. Run again, the trainings go on where they stopped.

    \b
    Example:
      spadework demo
    """
    recipe, out = os.path.relpath(Path(__file__).parent / "configs" / "demo.yaml"), "demo"
    reference, untrained = f"{out}/data/validation.parquet", f"{out}/images-untrained"
    shutil.rmtree(f"{out}/images", ignore_errors=True)  # of an earlier call, and so of other weights
    judge = ["--segmenter", "deeplab", "--segmenter-weights", f"{out}/segmenter"]
    rest = [*judge, "--baseline", f"untrained={untrained}", "--out", f"{out}/report"]
    for arguments in (
        ["prepare", "landscape", "--out", f"{out}/data", "--train", "1000", "--validation", "100", "--size", "64x64"],
        ["train-segmenter", recipe, "--out", f"{out}/segmenter"],
        ["train", recipe, "--out", f"{out}/run", "--max-time", f"{minutes:g}"],
        ["synthesize", "--input", reference, "--checkpoint", f"{out}/run", "--output", f"{out}/images"],
        ["synthesize", "--input", reference, "--checkpoint", f"untrained:{recipe}", "--output", untrained],
        ["evaluate", "--images", f"{out}/images", "--reference", reference, *rest],
    ):
        click.secho(f"\n$ spadework {shlex.join(arguments)}", bold=True)
        main(arguments, standalone_mode=False)
    click.secho(f"\nThe report: {Path(out, 'report', 'report.html').resolve().as_uri()}", bold=True)


@main.group(cls=Verbs)
def bench() -> None:
    """Race our paths against the alternatives: same weights, same label maps, one process each, laps in turn."""


LAPS = click.option("--laps", type=click.IntRange(1), default=5, show_default=True, help="Of each; medians count.")
THREADS = click.option("--threads", type=click.IntRange(1), help="Of each process  [default: the cores]")
MAPS = click.option("--input", "source", type=EXISTING, help="Parquet of label maps  [default: landscapes]")
NOISE = click.option("--noise", is_flag=True, help="Random pixels for label maps: the worst case for patterns.")
JSON = click.option("--json", "json_path", type=EXISTING, help="Write all figures to this file.")
PATHS = click.option("--paths", help="Comma-separated; an unknown one lists them  [default: all that make sense]")
CROP = click.option("--size", type=Size(), help="Of the pictures  [default: the recipe's]")


@bench.command("synthesize")
@click.option("--checkpoint", required=True, help="As for synthesize; untrained:RECIPE.yaml for fresh weights.")
@MAPS
@click.option("--maps", type=click.IntRange(1), default=4, show_default=True, help="Label maps in a lap.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Label maps in a pass.")
@click.option("--samples", type=click.IntRange(1), default=1, show_default=True, help="Pictures of each label map.")
@CROP
@NOISE
@PATHS
@LAPS
@THREADS
@JSON
def bench_synthesize(
    checkpoint: str, paths: str | None, laps: int, threads: int | None, json_path: Path | None, **load: Any
) -> None:
    """Race ways to run a generator; those whose libraries are missing say so (extra [bench]).

    \b
    Example:
      spadework bench synthesize --checkpoint untrained:configs/landscape.yaml --maps 2 --laps 3
    """
    _check_there("label maps", load["source"])

    from pipeline.bench.synthesis import Load
    from pipeline.bench.synthesis import bench_synthesize as run

    names = tuple(paths.split(",")) if paths else ()
    threads = threads or os.cpu_count() or 1
    click.echo(run(checkpoint, load=Load(**load), contestants=names, laps=laps, threads=threads, json_path=json_path))


@bench.command("train")
@click.argument("recipe", type=EXISTING)
@MAPS
@click.option("--batch", "maps", type=click.IntRange(1), default=4, show_default=True, help="Label maps in a step.")
@CROP
@NOISE
@PATHS
@LAPS
@THREADS
@JSON
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe.")
def bench_train(
    recipe: Path,
    paths: str | None,
    laps: int,
    threads: int | None,
    json_path: Path | None,
    overrides: tuple[str, ...],
    **load: Any,
) -> None:
    """Race training steps (generator and discriminator, no perceptual term) with patterns and without.

    \b
    Example:
      spadework bench train configs/landscape.yaml --laps 3
    """
    settings = _load_recipe(recipe, overrides)
    _check_there("label maps", load["source"])

    from pipeline.bench.synthesis import Load
    from training.bench import bench_train as run

    names = tuple(paths.split(",")) if paths else ()
    threads = threads or os.cpu_count() or 1
    click.echo(run(settings, load=Load(**load), contestants=names, laps=laps, threads=threads, json_path=json_path))


@main.command()
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
@click.option("--cache", type=EXISTING, help="Folder to keep judgements in, for later evaluations too.")
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
    _check_there("synthesized pictures", images)
    _check_there("reference data set", reference)

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


@main.command("evaluate-style")
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
        _check_there("data set", data, "give a Parquet file or a folder of them (the verb prepare makes one)")

    from evaluation.style_transfer import evaluate_style as run

    click.echo(run(checkpoint, reference, out, **options).summary())
    click.echo(f"Grid: {out / 'style.png'}")


@main.command("filter")
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
    _check_there("synthesized pictures", images)
    _check_there("scores", scores, "`spadework evaluate` writes them")

    from evaluation.filter import filter_pictures as run

    out = out or Path(f"{images.resolve()}-filtered")
    kept = run(images, scores, out, **limits)
    click.echo(f"{kept.pictures} of {kept.of} pictures pass, in {out}")


@main.command()
@click.argument("reports", nargs=-1, required=True, type=EXISTING)
@click.option("--out", required=True, type=EXISTING, help="Folder for compare.html, compare.md and compare.json.")
def compare(reports: tuple[Path, ...], out: Path) -> None:
    """Put reports of evaluate side by side with the first, and say which differences are significant.

    \b
    Example:
      spadework compare report-a/ report-b/ --out comparison/
    """
    for report in reports:
        _check_there("report", report, "`spadework evaluate` writes one")

    from evaluation.compare import compare as run
    from evaluation.compare import verdict

    found = run(reports, out)
    for item in found.differences:
        click.echo(verdict(item, found.rows[0]["name"]))
    click.echo(f"Comparison: {out / 'compare.html'}")


@main.group(cls=Verbs)
def weights() -> None:
    """Public weights of segmenters, FID's Inception, VGG19 and LPIPS: never fetched unless asked for."""


@weights.command("list")
def weights_list() -> None:
    """Show every known file: purpose, size, licence, address, SHA-256, and whether it is here.

    \b
    Example:
      spadework weights list
    """
    from pipeline.pretrained.registry import list_weights as run

    click.echo(run())


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch(names: tuple[str, ...]) -> None:
    """Fetch files by name into the cache ($SPADEWORK_CACHE) and verify them; the same command continues a transfer.

    \b
    Example:
      spadework weights fetch inception-pytorch-fid
    """
    from pipeline.pretrained.registry import fetch_weights as run

    for name in names:
        for path in run(name):
            click.echo(path)


@weights.command("check")
@click.pass_context
def weights_check(ctx: click.Context) -> None:
    """Verify what is in the cache; exit code 2 if a file is not what it should be.

    \b
    Example:
      spadework weights check
    """
    from pipeline.pretrained.registry import check_weights as run

    lines, good = run()
    click.echo("\n".join(lines))
    ctx.exit(0 if good else 2)


if __name__ == "__main__":
    main()
