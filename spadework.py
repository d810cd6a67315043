"""spadework for notebooks and programs: a generator that turns label maps into pictures, and the command line's verbs.

    import spadework

    synthesizer = spadework.load()
    picture = synthesizer.synthesize("label.png", "instance.png", seed=3)

`load` gives a `Synthesizer`, which takes one label map at a time. A mistake in what is given (a missing file, an id
beyond the classes, a checkpoint of other classes ...) is an `InputError`, one line that names the thing and the fix.
docs/python.md has examples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from pipeline.errors import InputError
from pipeline.synthesis.given import PathLike
from pipeline.synthesis.single import Synthesizer

# torch, ray, pyarrow and click are imported inside the functions, so that `import spadework` takes no time.

if TYPE_CHECKING:
    from evaluation.frames import Comparison, Evaluation, Study
    from pipeline.config import Recipe
    from pipeline.data.encoders import PictureFormat
    from pipeline.datasets.convert import Preparation
    from pipeline.exports.export import ExportKind
    from pipeline.precision import Precision
    from pipeline.synthesis.job import Synthesis
    from training.train import Training

__all__ = [
    "Comparison",
    "Evaluation",
    "InputError",
    "Preparation",
    "Study",
    "Synthesis",
    "Synthesizer",
    "Training",
    "compare",
    "evaluate",
    "load",
    "prepare",
    "study",
    "synthesize_dataset",
    "train",
]

Size: TypeAlias = "str | tuple[int, int]"
"""Of pictures: "WIDTHxHEIGHT" as on the command line, or (height, width) as of arrays."""
Texts: TypeAlias = "str | Sequence[str]"
"""One, or several."""


_RESULTS = {
    "Comparison": "evaluation.frames",
    "Evaluation": "evaluation.frames",
    "Preparation": "pipeline.datasets.convert",
    "Study": "evaluation.frames",
    "Synthesis": "pipeline.synthesis.job",
    "Training": "training.train",
}
"""Types of results and their modules, which import torch or pyarrow."""


def __getattr__(name: str) -> Any:
    """A type of results, imported when it is asked for."""
    if name not in _RESULTS:
        raise AttributeError(f"module 'spadework' has no attribute '{name}'")
    return getattr(import_module(_RESULTS[name]), name)


def load(
    checkpoint: PathLike | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    engine: PathLike | None = None,
    threads: int = 1,
    bank: PathLike | None = None,
) -> Synthesizer:
    """A generator, ready to use.

    `checkpoint` is what `--checkpoint` takes: a run directory of `train`, a `.safetensors` file, or `untrained:` and a
    recipe. None: the landscapes that come with spadework (14 classes, 128x128, a style of 16 numbers).

    `device` is "cpu" or "cuda" (or "cuda:1" ...); `precision` "fp32", "bf16" or, on GPUs, "fp16". An `engine`, which is
    a folder that `compile` made of the checkpoint, has a device and a precision of its own: leave both out. `threads`
    compute a picture on a CPU; another number rounds in another way, in the last bits, and more are faster. `bank` is
    the memory bank of a SIMS checkpoint (None: the one that its recipe names).

    Raises `InputError` for a checkpoint or an engine that is missing, damaged or of something else, and for a device
    that is not there.
    """
    return Synthesizer(
        _landscape() if checkpoint is None else checkpoint,
        device=device,
        precision=precision,
        engine=engine,
        threads=threads,
        bank=bank,
    )


@overload
def prepare(
    dataset: Literal["landscape"],
    *,
    out: PathLike,
    train: int = ...,
    validation: int = ...,
    size: Size = ...,
    seed: int = ...,
    workers: int | None = ...,
) -> Preparation: ...


@overload
def prepare(
    dataset: Literal["folder"],
    source: PathLike,
    *,
    out: PathLike,
    images: PathLike | None = ...,
    instances: PathLike | None = ...,
    connected_instances: str | None = ...,
    classes: PathLike | None = ...,
    palette: PathLike | None = ...,
    map_ids: PathLike | None = ...,
    dont_care: int | None = ...,
    label_suffix: str | None = ...,
    image_suffix: str | None = ...,
    instance_suffix: str | None = ...,
    validation: float = ...,
    split: PathLike | None = ...,
    group_by: str | None = ...,
    recipe: PathLike | None = ...,
    size: Size | None = ...,
    resample: Literal["lanczos", "bicubic"] = ...,
    workers: int | None = ...,
    skip_bad: bool = ...,
) -> Preparation: ...


@overload
def prepare(
    dataset: Literal["camvid", "coco-stuff", "ade20k", "cityscapes"],
    source: PathLike,
    *,
    out: PathLike,
    size: Size | None = ...,
    resample: Literal["lanczos", "bicubic"] = ...,
    workers: int | None = ...,
    skip_bad: bool = ...,
) -> Preparation: ...


def prepare(dataset: str, source: PathLike | None = None, *, out: PathLike, **options: Any) -> Preparation:
    """Make the Parquet files that everything else reads: `out`/train.parquet and `out`/validation.parquet.

    "landscape" draws `train` (2000) and `validation` (200) scenes of a `size` ("128x128") from a `seed` (0). The others
    convert the folder `source`: "folder" your own label maps, with `images`, `instances`, `classes` and the other
    options of `prepare folder`; "camvid", "coco-stuff", "ade20k" and "cityscapes" the data sets of those names. `size`
    resizes (None: keep), `workers` are processes (None: one for each CPU), `skip_bad` leaves out bad files.

    Raises `InputError` for files that are missing or bad, and options that are out of range.
    """
    from pipeline.command_line import as_the_verb_takes
    from pipeline.commands.prepare import prepare as verbs
    from pipeline.datasets.convert import Preparation

    names = [name for name in verbs.commands if name != "bank"]  # which is made of a data set, and is none
    if dataset not in names:
        raise InputError(f"there is no data set '{dataset}' to prepare; take {', '.join(names)}")
    if (source is None) != (dataset == "landscape"):
        fix = "name the folder of its files" if source is None else "leave out the folder, as they are drawn"
        raise InputError(f"prepare '{dataset}': {fix}")
    verb = verbs.commands[dataset]
    place = {} if source is None else {verb.params[0].name or "": source}
    given = as_the_verb_takes(verb, {"out": out, **place, **options})
    folder = given.pop("out")
    if source is None:
        from pipeline.datasets.landscape.dataset import prepare as draw

        height, width = given.pop("size")
        return Preparation(folder, draw(folder, height=height, width=width, **given))
    convert = import_module(f"pipeline.datasets.{dataset.replace('-', '_')}").prepare
    return Preparation(folder, convert(given.pop(*place), folder, **given))


def train(
    recipe: PathLike | Recipe | None = None,
    *,
    out: PathLike | None = None,
    workers: int = 1,
    decoders: int = 0,
    vgg_weights: PathLike | None = None,
    trunk_weights: PathLike | None = None,
    segmenter: str = "deeplab",
    segmenter_weights: PathLike | None = None,
    max_time: float | None = None,
    overrides: Texts = (),
) -> Training:
    """Train the generator of a recipe, a file or a name of `recipes list` (None: landscape). The same call resumes.

    `out` is the run's folder (None: runs/NAME), `workers` processes on Ray (0: this process, without Ray), `max_time`
    minutes after which to stop with a checkpoint, `overrides` "section.field=value" each, as `--set` takes them.
    `vgg_weights` and `trunk_weights` are local files of frozen networks, as the options of these names take them. With
    `segmenter_weights` the run is validated every few epochs and keeps its best weights.

    Raises `InputError` before any work where the recipe, the data or the folder do not fit.
    """
    options = locals()

    from cli import train as verb
    from pipeline.command_line import as_the_verb_takes
    from pipeline.config import Recipe
    from pipeline.recipe_file import load_recipe
    from training.train import train as run

    given = as_the_verb_takes(verb, options | ({"recipe": None} if isinstance(recipe, Recipe) else {}))
    file, folder, changes = given.pop("recipe"), given.pop("out"), given.pop("overrides")
    if isinstance(recipe, Recipe) and changes:
        raise InputError("overrides are for recipes in files; make the Recipe itself with these values")
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(file, changes)
    network, weights, validate = given.pop("segmenter"), given.pop("segmenter_weights"), None
    if weights is not None:
        from evaluation.validation import Validation

        validate = Validation(settings, network, weights)
    return run(settings, folder or Path("runs", settings.name), validate=validate, **given)


def synthesize_dataset(
    input: PathLike,
    *,
    checkpoint: PathLike | None = None,
    out: PathLike = "images",
    samples: int = 1,
    samples_by: str | None = None,
    seed: int = 0,
    label_column: str = "label",
    id_column: str | None = None,
    instance_column: str | None = None,
    palette: PathLike | None = None,
    keep_size: bool = False,
    style: PathLike | None = None,
    style_column: str | None = None,
    style_rows: Literal["own", "other"] = "own",
    style_interpolate: tuple[PathLike, PathLike, int] | None = None,
    truncation: float | None = None,
    region_styles: Literal["none", "class", "instance"] | None = None,
    bank: PathLike | None = None,
    own_pictures: Literal["refuse", "exclude"] = "refuse",
    format: PictureFormat = "png",
    precision: Precision | None = None,
    rounding: Literal["nearest", "truncate"] = "nearest",
    engine: PathLike | None = None,
    max_rejects: str | int = 0,
    workers: int | None = None,
    threads: int = 1,
    gpus_per_worker: float = 1.0,
    export: Sequence[ExportKind] = (),
    quiet: bool = False,
) -> Synthesis:
    """Make pictures of all label maps of a Parquet file, folder, pattern or URI: the verb `synthesize`.

    Every label map once, in the folder or at the URI `out`; the same call resumes a job that was stopped. The
    options are those of the verb (`spadework synthesize --help`), with its defaults; `quiet` shows no progress.
    `checkpoint` None: the landscapes that come with spadework. `workers` None: as many Ray actors as the machine
    carries, none for a small job; 0: this process, without Ray.

    Raises `InputError` for anything wrong with the input or the options, for more bad rows than `max_rejects`, and
    where `out` holds another job.
    """
    options = locals()
    del options["quiet"]

    from pipeline.command_line import as_the_verb_takes
    from pipeline.commands.synthesize import synthesize as verb

    given = as_the_verb_takes(verb, options)
    del given["dry_run"]

    from pipeline.synthesis.job import Synthesis
    from pipeline.synthesis.synthesize import synthesize as run

    labels, weights, folder = (given.pop(name) for name in ("source", "checkpoint", "out"))
    return Synthesis(run(labels, weights or _landscape(), folder, quiet=quiet, **given))


def evaluate(
    images: PathLike = "images",
    reference: PathLike = "data/landscape/validation.parquet",
    *,
    out: PathLike = "report",
    segmenter: str = "deeplab",
    segmenter_weights: PathLike | None = None,
    baselines: Mapping[str, PathLike] | None = None,
    inception_weights: PathLike | None = None,
    lpips_weights: PathLike | None = None,
    features: Mapping[str, PathLike] | None = None,
    fid_reference: PathLike | None = None,
    protocols: Texts = ("native",),
    overrides: Texts = (),
    workers: int = 0,
    batch_size: int = 16,
    examples: int = 8,
    cache: PathLike | None = None,
    marks: Sequence[PathLike] = (),
    title: str | None = None,
) -> Evaluation:
    """Score pictures by what a segmentation network sees in them, beside the real photographs; writes a report.

    `images` and each of `baselines` (by name) is what `synthesize_dataset` wrote, `reference` a data set with the
    photographs of the same label maps. `features` are networks (folders of transformers, or files of torchvision) by
    names of their own, on whose features distances are measured too. `protocols` are names, `overrides` "field=value"
    each, as `--set` takes them; `marks` are files of pictures that people marked.
    The rest is as for the verb (`spadework evaluate --help`), with its defaults.

    Raises `InputError` before any work where files are missing or unreadable, classes differ, or nothing pairs.
    """
    options = locals()
    del options["baselines"], options["features"]

    from evaluation.commands.scores import evaluate as verb
    from pipeline.command_line import as_the_verb_takes

    given = as_the_verb_takes(verb, options)

    from evaluation.evaluate import evaluate as run
    from evaluation.frames import Evaluation
    from evaluation.scoring.protocols import find_protocols, parse_overrides

    training = given["fid_reference"] is not None
    chosen = find_protocols(given.pop("protocols"), parse_overrides(given.pop("overrides")), training=training)
    pictures, photographs, folder = (given.pop(name) for name in ("images", "reference", "out"))
    given["baselines"] = {name: os.fspath(path) for name, path in (baselines or {}).items()}
    given["features"] = {name: Path(path) for name, path in (features or {}).items()}
    return Evaluation(folder, run(pictures, photographs, folder, protocols=chosen, **given))


def compare(reports: Sequence[PathLike], *, out: PathLike) -> Comparison:
    """Put reports of `evaluate` side by side with the first, and say which differences are significant.

    Writes compare.html, compare.md and compare.json to `out`. Raises `InputError` where a folder is no report,
    protocols or segmenters differ, or no label map is shared.
    """
    from evaluation.compare import compare as run
    from evaluation.frames import Comparison
    from pipeline.command_line import several

    return Comparison(Path(out), run([os.fspath(report) for report in several(reports)], Path(out)))


def study(file: PathLike, *, out: PathLike | None = None, workers: int = 0, threads: int = 1) -> Study:
    """Train the recipes of a study file with equal budgets and several seeds, and score all by one protocol.

    Writes study.html, study.json, study.csv and study.tex to `out` (None: runs/studies/NAME), where everything is kept:
    the same call resumes. `workers` trainings run at a time on Ray (0: one after the other here), each with `threads`.

    Raises `InputError` before any training where the recipes, their data or the segmenter do not fit.
    """
    options = locals()

    from cli import study as verb
    from pipeline.command_line import as_the_verb_takes

    given = as_the_verb_takes(verb, options)

    from evaluation.frames import Study
    from evaluation.study.page import write_study
    from evaluation.study.settings import load_study
    from evaluation.study.study import run_study
    from training.budget import train_within

    path, folder = given.pop("file"), given.pop("out")
    settings, folder = load_study(path), folder or Path("runs", "studies", path.stem)
    found = run_study(settings, folder, trainer=train_within, **given)
    write_study(folder, found, examples=settings.examples)
    return Study(folder, found)


def _landscape() -> Path:
    from pipeline.checkpoints.file import LANDSCAPE

    return LANDSCAPE
