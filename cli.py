"""spadework's command line: its verbs, in the order of the work. Each parses its options and calls one function."""

from __future__ import annotations

import math
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evaluation.command_line import SEGMENTER, SEGMENTER_WEIGHTS, TRAINING_THREADS
from evaluation.commands.scores import compare, evaluate, evaluate_style, memorisation, prefer, washing_away
from evaluation.commands.training_data import filter_, train_segmenter, usefulness
from pipeline.command_line import (
    DASHBOARD,
    DATA,
    MINUTES,
    OUT,
    OVERRIDES,
    PROCESSES_OR_NONE,
    RECIPE,
    WEIGHTS,
    Existing,
    Location,
    NamedWeights,
    Program,
    read_recipe,
)
from pipeline.command_output import show_log, tell
from pipeline.commands.bench import bench
from pipeline.commands.card import card
from pipeline.commands.engines import compile_options, engines, run_compile
from pipeline.commands.export import export
from pipeline.commands.prepare import prepare
from pipeline.commands.recipes import recipes
from pipeline.commands.serve import serve
from pipeline.commands.synthesize import plan_samples, synthesize, verify
from pipeline.commands.weights import import_weights, weights
from pipeline.errors import InputError
from pipeline.runtime.digits import plural
from pipeline.shipped_recipes import find_study
from training import commands as training

if TYPE_CHECKING:
    from pipeline.engines.manifest import Manifest


class StudyFile(Existing):
    """A study's file, or the name of one that comes with spadework."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; `InputError` where there is neither."""
        return super().convert(find_study(value), param, ctx)


STUDY = StudyFile("study")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="spadework")
def main() -> None:
    """Turn label maps into photographs at scale, and prove how good they are."""


@click.command()
@click.argument("recipe", type=RECIPE, default="landscape", required=False)
@click.option(
    "--out", type=OUT, help="Run directory; the same command continues a training there  [default: runs/NAME]"
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=PROCESSES_OR_NONE,
    help="Processes on Ray, each on a GPU where there are any; 0: this process, without Ray.",
)
@click.option(
    "--decoders",
    default=0,
    show_default=True,
    type=PROCESSES_OR_NONE,
    help="Ray Data actors that read, decode and augment for each worker, on any machine; "
    "0: threads of the worker itself.",
)
@click.option(
    "--vgg-weights", type=NamedWeights("VGG"), help="VGG19 of the perceptual loss: file, or name of weights list."
)
@click.option(
    "--trunk-weights",
    type=WEIGHTS,
    help="A frozen backbone for the perceptual loss or discriminator.kind=projected: what train-segmenter wrote, or a "
    "local file of torchvision's resnet50 or mobilenet_v3_large.",
)
@click.option(
    "--segmenter",
    type=SEGMENTER,
    default="deeplab",
    show_default=True,
    help="Network that validates every few epochs ...",
)
@click.option("--segmenter-weights", type=SEGMENTER_WEIGHTS, help="... and its weights  [default: no validation]")
@click.option("--max-time", "max_minutes", type=MINUTES, metavar="MINUTES", help="Stop then, with a checkpoint.")
@DASHBOARD
@OVERRIDES
def train(
    recipe: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    segmenter: str,
    segmenter_weights: Path | None,
    **options: Any,
) -> None:
    """Train the generator of a recipe: a file, or a name of `recipes list`  [default: landscape].

    Ctrl-C stops after the step at hand, leaves a checkpoint and ends with exit code 130; the same command resumes from
    there. With --segmenter-weights the run keeps its best weights, best.safetensors, beside the newest.

    \b
    Example:
      spadework train landscape --out runs/landscape --set training.steps=3000
    """
    settings = read_recipe(recipe, overrides)
    for data in (*(source.path for source in settings.data.sources), settings.data.validation):
        DATA.convert(data, None, None)

    from training.train import train as run

    show_log("training")
    validate = None
    if segmenter_weights:
        from evaluation.validation import Validation

        validate = Validation(settings, segmenter, segmenter_weights)
    result = run(settings, out or Path("runs", settings.name), validate=validate, **options)
    if result.stopped:
        raise KeyboardInterrupt  # which the training took for itself, to leave a checkpoint
    file = result.folder / "generator.safetensors"
    pictures = shlex.join(
        ["spadework", "synthesize", "--input", settings.data.validation, "--checkpoint", str(result.folder)]
    )
    then = f"Pictures with it: {pictures}" if result.finished else "Not all steps are done; the same command resumes."
    tell(
        f"{file}: {result.step} {plural('step', result.step)}\n{then}",
        checkpoint=file,
        steps=result.step,
        finished=result.finished,
    )


@click.command()
@click.argument("file", metavar="STUDY", type=STUDY)
@click.option("--out", type=OUT, help="Folder of the page, and of all that is kept  [default: runs/studies/FILE]")
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=PROCESSES_OR_NONE,
    help="Trainings at a time, on Ray; 0: one after the other in this process.",
)
@TRAINING_THREADS
def study(file: Path, out: Path | None, workers: int, threads: int) -> None:
    """Compare recipes: train each with several seeds and equal budgets, score all by one protocol, write one page.

    Ctrl-C stops the trainings at hand with a checkpoint; the same command resumes, and does nothing twice.

    \b
    Example:
      spadework study pictures_landscape --workers 2
    """
    from evaluation.study.page import study_rows, summary, write_study
    from evaluation.study.settings import load_study
    from evaluation.study.study import run_study
    from training.budget import train_within

    settings, folder = load_study(file), out or Path("runs", "studies", file.stem)
    found = run_study(settings, folder, trainer=train_within, workers=workers, threads=threads)
    write_study(folder, found, examples=settings.examples)
    lines = []
    for row in found.rows:
        estimate, change = row.scores["mean_iou"].estimate, row.scores["mean_iou"].gain
        gained = "" if change is None else f", {100 * change.value:+.1f} points (p = {change.p:.2g})"
        lines.append(f"{row.name}: mean IoU {estimate.value if estimate else math.nan:.1%}{gained}")
    lines += [*(f"Note: {line}" for line in found.warnings), summary(found), f"Page: {folder / 'study.html'}"]
    tell("\n".join(lines), study=study_rows(found), warnings=found.warnings, page=folder / "study.html")


@click.command()
@click.option("--minutes", type=MINUTES, default=5.0, show_default=True, help="Of training the generator, at most.")
def demo(minutes: float) -> None:
    """Run the whole workflow on landscapes, from nothing to a report in demo/: ten minutes on two cores.

    Each command is shown before it runs. Run again, the trainings resume where they stopped.

    \b
    Example:
      spadework demo
    """
    recipe, out = "demo", "demo"
    reference, untrained = f"{out}/data/validation.parquet", f"{out}/images-untrained"
    shutil.rmtree(f"{out}/images", ignore_errors=True)  # of an earlier call, and so of other weights
    segmenter = ["--segmenter", "deeplab", "--segmenter-weights", f"{out}/segmenter"]
    rest = [*segmenter, "--baseline", f"untrained={untrained}", "--out", f"{out}/report"]
    for arguments in (
        ["prepare", "landscape", "--out", f"{out}/data", "--train", "1000", "--validation", "100", "--size", "64x64"],
        ["train-segmenter", recipe, "--out", f"{out}/segmenter"],
        ["train", recipe, "--out", f"{out}/run", "--max-time", f"{minutes:g}"],
        ["synthesize", "--input", reference, "--checkpoint", f"{out}/run", "--out", f"{out}/images"],
        ["synthesize", "--input", reference, "--checkpoint", f"untrained:{recipe}", "--out", untrained],
        ["evaluate", "--images", f"{out}/images", "--reference", reference, *rest],
    ):
        click.secho(f"\n$ spadework {shlex.join(arguments)}", bold=True)
        main(arguments, standalone_mode=False)
    click.secho(f"\nThe report: {Path(out, 'report', 'report.html').resolve().as_uri()}", bold=True)


@click.command("compile")
@compile_options
@click.option(
    "--reference",
    type=Location("data set with photographs"),
    help="Score the engine and float32 on its label maps, and reject the engine where they differ.",
)
@click.option("--segmenter", type=SEGMENTER, default="deeplab", show_default=True, help="Network that scores ...")
@click.option(
    "--segmenter-weights", type=SEGMENTER_WEIGHTS, help="... and its weights  [default: those that evaluate takes]"
)
def compile_(
    checkpoint: str,
    out: Path,
    reference: str | None,
    segmenter: str,
    segmenter_weights: Path | None,
    **options: Any,
) -> None:
    """Compile the generator for this machine, and check its pictures against float32.

    \b
    Example:
      spadework compile --checkpoint runs/x --out engines/
    """

    if reference is None and segmenter_weights is not None:
        raise InputError("--segmenter-weights is for --reference; give that too, or leave it out")

    def check(folder: Path, manifest: Manifest) -> Manifest:
        from evaluation.engine_scores import check_engine

        assert reference is not None
        return check_engine(
            folder,
            manifest,
            checkpoint,
            reference,
            segmenter=segmenter,
            weights=segmenter_weights,
            bank=options["bank"],
        )

    run_compile(checkpoint, out, check=None if reference is None else check, **options)


for verb in (
    prepare,
    recipes,
    train,
    compile_,
    engines,
    plan_samples,
    synthesize,
    verify,
    serve,
    export,
    card,
    import_weights,
    train_segmenter,
    demo,
    bench,
    evaluate,
    evaluate_style,
    filter_,
    memorisation,
    compare,
    study,
    usefulness,
    prefer,
    washing_away,
    weights,
):
    main.add_command(verb)
bench.add_command(training.bench_train)


if __name__ == "__main__":
    main()
