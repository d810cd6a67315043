"""spadework for notebooks and programs: a generator that paints label maps, and the verbs of the command line.

    import spadework

    synthesizer = spadework.load()
    picture = synthesizer.synthesize("label.png", "instance.png", seed=3)

`load` gives a `Synthesizer`, which paints one label map at a time. A mistake in what is given (a missing file, an id
beyond the classes, a checkpoint of other classes ...) is an `InputError`, one line that names the thing and the fix.
docs/python.md has examples.
"""

from __future__ import annotations

import io
import operator
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, overload

import numpy as np
from PIL import Image, ImageFile

from pipeline.errors import InputError

# torch, ray and pyarrow are imported inside the functions, so that `import spadework` takes no time.

if TYPE_CHECKING:
    import pyarrow as pa

    from evaluation.compare import Comparison as Compared
    from evaluation.scoring.scores import Scores, SetScores
    from pipeline.config import Recipe
    from pipeline.data.encoders import PictureFormat
    from pipeline.datasets.convert import Summary as Converted
    from pipeline.labels import LabelSpace
    from pipeline.precision import Precision
    from pipeline.synthesis.export import ExportKind
    from pipeline.synthesis.job import Summary
    from pipeline.synthesis.styles import Sample
    from pipeline.synthesis.synthesizer import Synthesizer as BatchSynthesizer

__all__ = [
    "Comparison",
    "Evaluation",
    "InputError",
    "Preparation",
    "Synthesis",
    "Synthesizer",
    "Training",
    "compare",
    "evaluate",
    "load",
    "prepare",
    "synthesize_dataset",
    "train",
]

PathLike: TypeAlias = "str | os.PathLike[str]"
"""The name of a file or a folder."""
Map: TypeAlias = "np.ndarray | Image.Image | PathLike"
"""A label or instance map: integers `[H, W]`, a Pillow image, or a file."""
Style: TypeAlias = "Image.Image | PathLike | np.ndarray | Sequence[float]"
"""A photograph (Pillow image, file, or uint8 `[H, W, 3]`), or a style vector `[style_dim]`."""

Size: TypeAlias = "str | tuple[int, int]"
"""Of pictures: "WIDTHxHEIGHT" as on the command line, or (height, width) as of arrays."""
Texts: TypeAlias = "str | Sequence[str]"
"""One, or several."""

DEFAULT_ID = "0"
"""The id of a label map that is no file, where none is given."""

_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
"""Formats in which ids may have changed."""

_THREADS = threading.Lock()
"""Held while torch has a number of threads that is ours, which is one number for the whole process."""


def load(
    checkpoint: PathLike | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    engine: PathLike | None = None,
    threads: int = 1,
) -> Synthesizer:
    """A generator, ready to paint.

    `checkpoint` is what `--checkpoint` takes: a run directory of `train`, a `.safetensors` file, or `untrained:` and a
    recipe. None: the landscapes that come with spadework (14 classes, 128x128, a style of 16 numbers).

    `device` is "cpu" or "cuda" (or "cuda:1" ...); `precision` "fp32", "bf16" or, on GPUs, "fp16". An `engine`, which is
    a folder that `compile` made of the checkpoint, has a device and a precision of its own: leave both out. `threads`
    compute a picture on a CPU; another number rounds in another way, in the last bits, and more are faster.

    Raises `InputError` for a checkpoint or an engine that is missing, damaged or of something else, and for a device
    that is not there.
    """
    return Synthesizer(
        _landscape() if checkpoint is None else checkpoint,
        device=device,
        precision=precision,
        engine=engine,
        threads=threads,
    )


class Synthesizer:
    """A generator that turns label maps into pictures; made by `load`. Safe to call from several threads, in turn."""

    def __init__(
        self,
        checkpoint: PathLike,
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        engine: PathLike | None = None,
        threads: int = 1,
    ) -> None:
        """The arguments and errors of `load`, which fills in the checkpoint."""
        from pipeline.checkpoints.source import resolve_source
        from pipeline.synthesis.synthesizer import Synthesizer as BatchSynthesizer

        _at_least(1, threads=threads)
        self._threads = threads
        source = resolve_source(os.fspath(checkpoint))
        folder: Path | None = None
        if engine is None:
            _check_device(device, precision)
        else:
            folder, device, precision = _open_engine(Path(engine), device, precision)
        with self._computing():
            self._inner: BatchSynthesizer = BatchSynthesizer(source, device=device, precision=precision, engine=folder)
        self._precision = precision

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; the position is the id in a label map."""
        return self._space.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """An RGB colour (0 to 255) for each class, to show label maps in."""
        return self._space.palette

    @property
    def dont_care(self) -> int | None:
        """The id that means "unknown", beyond those of the classes; None where there is none."""
        return self._space.dont_care

    @property
    def needs_instances(self) -> bool:
        """Whether the generator tells objects of a class apart, so that `synthesize` must be given an instance map."""
        return self._space.instance_edges or self._inner.recipe.generator.region_styles == "instance"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures, as of arrays; label maps of another size are resized to it."""
        return self._inner.size

    @property
    def style_dim(self) -> int:
        """The length of a style vector; 0 for a generator without style."""
        return self._inner.style_dim

    @property
    def _space(self) -> LabelSpace:
        return self._inner.recipe.labels

    def __repr__(self) -> str:
        height, width = self.size
        style = f"a style of {self.style_dim} numbers" if self.style_dim else "no style"
        recipe, where = self._inner.recipe.name, f"{self._precision} on {self._inner.device}"
        return f"<Synthesizer '{recipe}': {len(self.classes)} classes, {width}x{height}, {style}, {where}>"

    def synthesize(
        self,
        label_map: Map,
        instance_map: Map | None = None,
        style: Style | None = None,
        seed: int = 0,
        *,
        id: str | None = None,
    ) -> Image.Image:
        """Paint a label map: an RGB picture of the generator's `size`.

        `label_map` holds **ids**: the position of each pixel's class in `classes`, or `dont_care`. It is an array
        `[H, W]` of integers; a Pillow image of mode 1, L, P, I or I;16, whose values (of P, indices) are the ids; or a
        file, which is read as `prepare folder` reads it (Pillow stretches grey of 2 and 4 bits: give such as files).
        Ids are taken as they are, never shifted. A map of another size is resized by nearest neighbour, as the verb
        `synthesize` does unless told to keep sizes.

        `instance_map`, of the label map's size, has a number for each object; where no object is, any one number. Only
        the borders between different numbers count. A generator that `needs_instances` must have one.

        `style` is None for a random style; a photograph (a Pillow image, a file, or uint8 `[H, W, 3]`), whose mean
        style is taken; or a style vector `[style_dim]`, such as `style_of` gives. The random one is drawn from `seed`
        (0 to 2^63 - 1) and `id`. Without `id`, a file has its name without the extension, as `prepare folder` calls it,
        and everything else "0".

        The pixels are those of the verb `synthesize` (first sample, one thread, same device and precision) for the same
        label map, instance map and seed in a row of that id.

        Raises `InputError` for ids beyond the classes (looked for in the whole map, before it is resized), arrays of
        another shape or type, maps of different sizes, broken files, and a style that the generator cannot take.
        """
        label = _read_ids(label_map, "label map")
        self._refuse_unknown(label)
        instance = None if instance_map is None else _read_ids(instance_map, "instance map")
        if id is None:
            id = Path(label_map).stem if isinstance(label_map, (str, os.PathLike)) else DEFAULT_ID
        if not id:
            raise InputError("the id is empty; give a text, or leave it out")
        return Image.fromarray(self._synthesize(label, instance, style, _read_seed(seed), id))

    def style_of(self, photograph: Image.Image | PathLike | np.ndarray) -> np.ndarray:
        """The mean style of a photograph, float32 `[style_dim]`: a `style` for `synthesize`.

        Vectors between two of them are styles as well. Raises `InputError` where the generator has no style encoder.
        """
        with self._computing():
            return self._inner.style_of(_read_photograph(photograph))[0].numpy()

    def _synthesize(
        self, label: np.ndarray, instance: np.ndarray | None, style: Style | None, seed: int, name: str
    ) -> np.ndarray:
        """uint8 `[height, width, 3]`."""
        from pipeline.data.images import resize_ids

        if self.needs_instances and instance is None:
            raise InputError(
                "the generator tells objects apart, and got no instance map; give instance_map, "
                "numpy.zeros_like(label_map) where there are no objects"
            )
        if instance is not None and instance.shape != label.shape:
            raise InputError(
                f"the instance map is {_size_of(instance)} but its label map {_size_of(label)}; make them the same size"
            )
        label = resize_ids(label, *self.size)
        instance = None if instance is None else resize_ids(instance, *self.size)
        with self._computing():
            label_input = self._inner.prepare(self._inner.recipe.encode(label, instance))
            sample = self._sample(style, seed, name, label_input.region_count)
            (pixels,) = self._inner.synthesize(label_input, [sample], self.size)
        return pixels

    def _sample(self, style: Style | None, seed: int, name: str, regions: int) -> Sample:
        """The style and the seed of the noise, as in the first sample of a record of that name."""
        from pipeline.synthesis.styles import StyleChoice, StyleSource

        if style is not None and not self.style_dim:
            raise InputError("the generator takes no style (style_dim is 0); leave out style")
        vector = None if style is None else _read_vector(style, self.style_dim)
        choice = StyleChoice()
        if style is not None and vector is None:
            choice = StyleChoice("photograph", (_read_photograph(style),), 0.0)
        (sample,) = StyleSource(choice, self._inner, seed=seed, samples=1).samples(name, None, regions)
        if vector is None:
            return sample
        import torch

        return replace(sample, z=torch.from_numpy(vector))

    def _refuse_unknown(self, label: np.ndarray) -> None:
        """Raise `InputError` for an id that is neither a class nor don't-care."""
        count = len(self.classes)
        beyond = np.unique(label[(label < 0) | (label >= count)]).tolist()
        wrong = [value for value in beyond if value != self.dont_care]
        if wrong:
            listed = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            other = "there is no don't-care id" if self.dont_care is None else f"don't-care is {self.dont_care}"
            raise InputError(
                f"the label map has id {listed}, but the classes are 0 to {count - 1} and {other}; give each pixel the "
                "position of its class in `classes`"
            )

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Torch with our number of threads, on which its rounding depends; afterwards with as many as before."""
        import torch

        with _THREADS:
            before = torch.get_num_threads()
            torch.set_num_threads(self._threads)
            try:
                yield
            finally:
                torch.set_num_threads(before)


@dataclass(frozen=True)
class Preparation:
    """What `prepare` wrote; as text, what the command line says."""

    folder: Path
    summary: Converted
    """Files, records, pixels and what was left out, by split."""

    def __str__(self) -> str:
        return str(self.summary)

    def to_table(self) -> pa.Table:
        """A row for each class of each split: `split`, `id`, `class`, `pixels`, `records` (in which it occurs).

        Where there is a don't-care id, its row comes last and has no class.
        """
        import pyarrow as pa

        space = self.summary.space
        names: list[tuple[int | None, str | None]] = [*enumerate(space.classes)]
        names += [] if space.dont_care is None else [(space.dont_care, None)]
        rows = [
            {"split": split.path.stem, "id": number, "class": name, "pixels": int(pixels), "records": int(occurs)}
            for split in self.summary.splits
            for (number, name), pixels, occurs in zip(names, split.pixels, split.occurs, strict=True)
        ]
        return pa.Table.from_pylist(rows)


@dataclass(frozen=True)
class Training:
    """What a call of `train` came to."""

    folder: Path
    """A checkpoint for `load` and `synthesize_dataset`."""
    step: int
    """Steps done in all, those of earlier calls included."""
    finished: bool
    """Whether these are all steps of the recipe; if not, the same call goes on."""

    def to_table(self) -> pa.Table:
        """A row for each entry of `stats.jsonl`: `step`, losses, scores of the discriminator, speed, and where the run
        was validated `validation.mean_iou` and its like. Numbers that an entry lacks are null."""
        import pyarrow as pa

        from training.run_folder import RunFolder

        return pa.Table.from_pylist(_aligned([_flat(entry) for entry in RunFolder(self.folder).read_stats()]))


@dataclass(frozen=True)
class Synthesis:
    """What `synthesize_dataset` made."""

    summary: Summary
    """Counts, speed and versions."""

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The pictures: a row each with `id`, `sample`, `image`, `label` (structs of `bytes` and `path`), `instance`
        where the input has one, `seed` and `checkpoint`.

        All of them come into memory; `columns` leaves out what is not wanted.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from pipeline.synthesis.job_folder import JobFolder

        job = JobFolder(self.summary.output)
        parts = []
        for name in sorted(name for name, record in job.records().items() if record.rows):
            with job.folder.open(name) as file:
                parts.append(pq.ParquetFile(file).read(columns=None if columns is None else list(columns)))
        return pa.concat_tables(parts) if parts else pa.table({})


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; as text, the result in a sentence or two."""

    folder: Path
    """Of report.html, report.md, report.json and scores.parquet."""
    scores: Scores

    def __str__(self) -> str:
        from evaluation.report.tables import summary

        return summary(self.scores)

    def to_table(self, rows: Literal["sets", "classes", "pictures"] = "sets") -> pa.Table:
        """The scores; shares of 1, null where they are undefined.

        "sets": a row for each set of pictures (the synthesized ones first, the photographs, which are the ceiling,
        last) and protocol, with a column for each score and `..._low` and `..._high` for its 95 % interval.
        "classes": a row for each set, protocol and class, with `iou` and the `share` of known pixels.
        "pictures": a row for each synthesized picture, as in scores.parquet.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if rows == "pictures":
            from evaluation.scoring.image_scores import FILE_NAME

            return pq.read_table(self.folder / FILE_NAME)
        if rows not in ("sets", "classes"):
            raise InputError(f"rows is '{rows}'; take sets, classes or pictures")
        return pa.Table.from_pylist(
            _aligned(list(_set_rows(self.scores) if rows == "sets" else _class_rows(self.scores)))
        )


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; as text, a line for each run after the first."""

    folder: Path
    """Of compare.html, compare.md and compare.json."""
    found: Compared

    def __str__(self) -> str:
        from evaluation.compare import verdict

        return "\n".join(verdict(item, self.found.rows[0]["name"]) for item in self.found.differences)

    def to_table(self) -> pa.Table:
        """A row for each run: its scores, shares of 1, with `..._low` and `..._high` for the 95 % interval, and their
        differences from the first run, `..._change` with interval and `..._change_p`; null for the first."""
        import pyarrow as pa

        changes = {item.name: item.changes for item in self.found.differences}
        rows = []
        for run in self.found.rows:
            row = {name: value for name, value in run.items() if name != "intervals"} | _ends(run["intervals"])
            for name, change in changes.get(run["name"], {}).items():
                row |= {f"{name}_change": change.value, f"{name}_change_p": change.p}
                row |= _ends({f"{name}_change": change.interval})
            rows.append(row)
        return pa.Table.from_pylist(_aligned(rows))


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
    classes: PathLike | None = ...,
    palette: PathLike | None = ...,
    map_ids: PathLike | None = ...,
    dont_care: int | None = ...,
    label_suffix: str = ...,
    image_suffix: str = ...,
    instance_suffix: str = ...,
    validation: float = ...,
    size: Size | None = ...,
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
    kinds = ("landscape", "folder", "camvid", "coco-stuff", "ade20k", "cityscapes")
    if dataset not in kinds:
        raise InputError(f"there is no data set '{dataset}' to prepare; take {', '.join(kinds)}")
    if (source is None) != (dataset == "landscape"):
        fix = "name the folder of its files" if source is None else "leave out the folder, as they are drawn"
        raise InputError(f"prepare '{dataset}': {fix}")
    for name in ("images", "instances", "classes", "palette", "map_ids"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    if options.get("workers") is not None:
        _at_least(1, workers=options["workers"])
    size = options.pop("size", None)
    if dataset == "landscape":
        from pipeline.datasets.landscape.dataset import prepare as draw

        options = {"train": 2000, "validation": 200, "seed": 0, **options}
        _at_least(1, train=options["train"])
        _at_least(0, validation=options["validation"])
        _read_seed(options["seed"])
        height, width = _read_size(size or "128x128")
        return Preparation(Path(out), draw(Path(out), height=height, width=width, **options))
    if not 0 <= options.get("validation", 0.1) <= 1:
        raise InputError(f"validation is {options['validation']}; take a share from 0 to 1")
    assert source is not None
    convert = import_module(f"pipeline.datasets.{dataset.replace('-', '_')}").prepare
    shape = None if size is None else _read_size(size)
    return Preparation(Path(out), convert(Path(source), Path(out), size=shape, **options))


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
    """Train the generator of a recipe; without one, of configs/landscape.yaml. The same call goes on with a run.

    `out` is the run's folder (None: runs/NAME), `workers` processes on Ray (0: this process, without Ray), `max_time`
    minutes after which to stop with a checkpoint, `overrides` "section.field=value" each, as `--set` takes them.
    `vgg_weights` and `trunk_weights` are local files of frozen networks, as the options of these names take them. With
    `segmenter_weights` the run is validated every few epochs and keeps its best weights.

    Raises `InputError` before any work where the recipe, the data or the folder do not fit.
    """
    from pipeline.config import Recipe
    from pipeline.recipe_file import load_recipe
    from training.train import train as run

    _at_least(0, workers=workers, decoders=decoders)
    if max_time is not None and not max_time >= 0:
        raise InputError(f"max_time is {max_time} minutes; give 0 or more")
    if isinstance(recipe, Recipe):
        if overrides:
            raise InputError("overrides are for recipes in files; make the Recipe itself with these values")
        settings = recipe
    else:
        file = Path(__file__).with_name("configs") / "landscape.yaml" if recipe is None else Path(recipe)
        settings = load_recipe(file, _several(overrides))
    validate = None
    if segmenter_weights is not None:
        from evaluation.validation import Validation

        validate = Validation(settings, segmenter, Path(segmenter_weights))
    result = run(
        settings,
        Path("runs", settings.name) if out is None else Path(out),
        workers=workers,
        decoders=decoders,
        vgg_weights=_path(vgg_weights),
        trunk_weights=_path(trunk_weights),
        validate=validate,
        max_minutes=max_time,
    )
    return Training(result.folder, result.step, result.finished)


def synthesize_dataset(
    input: PathLike,
    *,
    checkpoint: PathLike | None = None,
    out: PathLike = "images",
    samples: int = 1,
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
    format: PictureFormat = "png",
    precision: Precision | None = None,
    engine: PathLike | None = None,
    max_rejects: str | int = 0,
    workers: int | None = None,
    threads: int = 1,
    gpus_per_worker: float = 1.0,
    export: Sequence[ExportKind] = (),
    quiet: bool = False,
) -> Synthesis:
    """Make pictures of all label maps of a Parquet file, folder, pattern or URI: the verb `synthesize`.

    Every label map once, in the folder or at the URI `out`; the same call goes on with a job that was stopped. The
    options are those of the verb (`spadework synthesize --help`), with its defaults; `quiet` shows no progress.
    `checkpoint` None: the landscapes that come with spadework. `workers` None: as many Ray actors as the machine
    carries; 0: this process, without Ray.

    Raises `InputError` for anything wrong with the input or the options, for more bad rows than `max_rejects`, and
    where `out` holds another job.
    """
    from pipeline.data.encoders import ENCODERS
    from pipeline.synthesis.synthesize import synthesize as run

    if format not in ENCODERS:
        raise InputError(f"format is '{format}'; take {', '.join(ENCODERS)}")
    if style_rows not in ("own", "other"):
        raise InputError(f"style_rows is '{style_rows}'; take own or other")
    if unknown := [kind for kind in _several(export) if kind not in ("folder", "webdataset")]:
        raise InputError(f"export is '{unknown[0]}'; take folder or webdataset")
    if precision not in (None, "fp32", "bf16", "fp16"):
        raise InputError(f"precision is '{precision}'; take fp32, bf16 or fp16")
    if region_styles not in (None, "none", "class", "instance"):
        raise InputError(f"region_styles is '{region_styles}'; take none, class or instance")
    between = style_interpolate
    summary = run(
        os.fspath(input),
        _landscape() if checkpoint is None else os.fspath(checkpoint),
        os.fspath(out),
        samples=samples,
        seed=_read_seed(seed),
        label_column=label_column,
        id_column=id_column,
        instance_column=instance_column,
        palette=_path(palette),
        keep_size=keep_size,
        style=_path(style),
        style_column=style_column,
        style_rows=style_rows,
        style_interpolate=None if between is None else (Path(between[0]), Path(between[1]), between[2]),
        truncation=truncation,
        region_styles=region_styles,
        picture_format=format,
        precision=precision,
        engine=_path(engine),
        max_rejects=max_rejects,
        workers=workers,
        threads=threads,
        gpus_per_worker=gpus_per_worker,
        export=_several(export),
        quiet=quiet,
    )
    return Synthesis(summary)


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
    fid_reference: PathLike | None = None,
    protocols: Texts = ("native",),
    overrides: Texts = (),
    workers: int = 0,
    batch_size: int = 16,
    examples: int = 8,
    cache: PathLike | None = None,
    title: str | None = None,
) -> Evaluation:
    """Score pictures by what a segmentation network sees in them, beside the real photographs; writes a report.

    `images` and each of `baselines` (by name) is what `synthesize_dataset` wrote, `reference` a data set with the
    photographs of the same label maps. `protocols` are names, `overrides` "field=value" each, as `--set` takes them.
    The rest is as for the verb (`spadework evaluate --help`), with its defaults.

    Raises `InputError` before any work where files are missing or unreadable, classes differ, or nothing pairs.
    """
    from evaluation.evaluate import evaluate as run
    from evaluation.scoring.protocols import find_protocol, parse_overrides

    _at_least(0, workers=workers, examples=examples)
    _at_least(1, batch_size=batch_size)
    chosen = [find_protocol(name, parse_overrides(_several(overrides))) for name in _several(protocols)]
    if not chosen:
        raise InputError("protocols is empty; name one, such as native")
    scores = run(
        Path(images),
        Path(reference),
        Path(out),
        segmenter=segmenter,
        segmenter_weights=_path(segmenter_weights),
        baselines={name: Path(path) for name, path in (baselines or {}).items()},
        inception_weights=_path(inception_weights),
        lpips_weights=_path(lpips_weights),
        fid_reference=_path(fid_reference),
        protocols=chosen,
        workers=workers,
        batch_size=batch_size,
        examples=examples,
        cache=_path(cache),
        title=title,
    )
    return Evaluation(Path(out), scores)


def compare(reports: Sequence[PathLike], *, out: PathLike) -> Comparison:
    """Put reports of `evaluate` side by side with the first, and say which differences are significant.

    Writes compare.html, compare.md and compare.json to `out`. Raises `InputError` where a folder is no report,
    protocols or segmenters differ, or no label map is shared.
    """
    from evaluation.compare import compare as run

    return Comparison(Path(out), run([Path(report) for report in _several(reports)], Path(out)))


def _set_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    """A row for each set and protocol."""
    from evaluation.scoring.scores import ratio

    for protocol in scores.protocols:
        ceiling = scores.ceiling.labels[protocol.name].mean_iou
        for part in scores.sets:
            labels = part.labels[protocol.name]
            distances = {"segmenter_frechet": part.segmenter, "fid": part.inception.get(protocol.name)}
            yield {
                **_set_name(part, protocol.name),
                "pictures": part.pictures,
                "label_maps": part.label_maps,
                "mean_iou": labels.mean_iou,
                "of_ceiling": ratio(labels.mean_iou, ceiling),
                "accuracy": labels.accuracy,
                "accuracy_void_as_error": labels.accuracy_void_as_error,
                "frequency_weighted_iou": labels.frequency_weighted_iou,
                "boundary_f": labels.boundary_f,
                **{name: found.frechet if found else None for name, found in distances.items()},
                "lpips_diversity": part.lpips.mean if part.lpips else None,
                **_ends(labels.intervals),
                **_ends({name: found.intervals.get("frechet") for name, found in distances.items() if found}),
                **_ends({"lpips_diversity": part.lpips.interval} if part.lpips else {}),
            }


def _class_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    """A row for each set, protocol and class."""
    for protocol in scores.protocols:
        for part in scores.sets:
            labels = part.labels[protocol.name]
            for name, iou in labels.class_iou.items():
                yield {**_set_name(part, protocol.name), "class": name, "iou": iou, "share": labels.class_share[name]}


def _set_name(part: SetScores, protocol: str) -> dict[str, str]:
    return {"set": part.name, "role": part.role, "protocol": protocol}


def _ends(intervals: Mapping[str, Any]) -> dict[str, float]:
    """`name_low` and `name_high` of each interval that there is."""
    found: dict[str, float] = {}
    for name, interval in intervals.items():
        if interval is not None:
            found |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    return found


def _aligned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that all have the same columns, in the order in which they first come; pyarrow takes those of the first."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{**columns, **row} for row in rows]


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested numbers under `outer.inner`."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)


def _several(given: Any) -> Sequence[Any]:
    """One text or path, which Python would take for its letters, as a sequence."""
    return (given,) if isinstance(given, (str, os.PathLike)) else tuple(given)


def _read_size(size: Size) -> tuple[int, int]:
    """Height and width."""
    if isinstance(size, str):
        width, _, height = size.lower().partition("x")
        if width.isdecimal() and height.isdecimal() and int(width) and int(height):
            return int(height), int(width)
    elif len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return size
    raise InputError(f"size is {size!r}; give 'WIDTHxHEIGHT', such as '256x128', or (height, width)")


def _landscape() -> Path:
    from pipeline.checkpoints.file import LANDSCAPE

    return LANDSCAPE


def _check_device(device: str, precision: Precision) -> None:
    """Refuse what torch would refuse later and with many words (`InputError`)."""
    import torch

    from pipeline.precision import DTYPES

    if precision not in DTYPES:
        raise InputError(f"precision is '{precision}'; take {', '.join(DTYPES)}")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise InputError(f"device is '{device}'; take 'cpu' or 'cuda'")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise InputError(f"device is '{device}', and torch finds {torch.cuda.device_count()} GPUs here; take 'cpu'")
    if precision == "fp16" and kind == "cpu":
        raise InputError("precision fp16 needs a GPU; take bf16 or fp32")


def _open_engine(engine: Path, device: str, precision: Precision) -> tuple[Path, str, Precision]:
    """An engine's folder, device and precision; `InputError` where others were asked for."""
    from pipeline.engines.cache import find_engine
    from pipeline.engines.manifest import Manifest

    folder = find_engine(engine)
    spec = Manifest.read(folder).spec
    for name, wanted, default, own in (
        ("device", device, "cpu", spec.device["type"]),
        ("precision", precision, "fp32", spec.precision),
    ):
        if wanted not in (default, own):
            raise InputError(f"engine {folder} has {name} {own}; leave out {name} '{wanted}'")
    return folder, spec.device["type"], spec.precision


def _read_ids(given: Map, what: str) -> np.ndarray:
    """Integers `[H, W]`, of whatever width; `InputError` names what is wrong with the map."""
    from pipeline.data.images import decode_instance, decode_label

    decode = decode_instance if what == "instance map" else decode_label
    if isinstance(given, Image.Image):
        lazy = isinstance(given, ImageFile.ImageFile) and given.tile and given.filename
        # Pillow stretches 2- and 4-bit grey; what it has not read yet, we read as it stands in the file.
        if lazy:
            return _read_ids(Path(os.fsdecode(given.filename)), what)  # type: ignore[attr-defined]
        return _image_ids(given, what, decode)
    if isinstance(given, (str, os.PathLike)):
        try:
            return decode(_read_file(given, what))
        except InputError as error:
            raise InputError(f"{what} {os.fspath(given)} {error}") from None
    ids = np.asarray(given)
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iu":
        found = f"{ids.dtype} {list(ids.shape)}" if ids.dtype != object else type(given).__name__
        raise InputError(f"the {what} is {found}; give integers [height, width], a Pillow image or a file")
    return ids


def _image_ids(image: Image.Image, what: str, decode: Any) -> np.ndarray:
    """The ids that a Pillow image holds."""
    if image.format in _LOSSY:
        raise InputError(f"the {what} is a {image.format} image, a format that may change ids; save it as PNG")
    if image.mode in ("L", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("1", "P") or (image.mode == "RGB" and what == "instance map"):
        # What palettes mean is decided in one place, from the file.
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        try:
            return decode(buffer.getvalue())
        except InputError as error:
            raise InputError(f"the {what} {error}") from None
    raise InputError(
        f"the {what} is a Pillow image of mode {image.mode}; give one whose values are ids: mode 1, L, P, I or I;16"
    )


def _read_photograph(given: Any) -> bytes:
    """A photograph as the bytes of a picture, which is what style encoders of checkpoints take."""
    from pipeline.data.images import decode_image, encode_png

    if isinstance(given, Image.Image):
        if given.mode.startswith(("I", "F")):
            raise InputError(f"the photograph is a Pillow image of mode {given.mode}; give 8 bits a channel")
        given = np.asarray(given.convert("RGB"))
    if isinstance(given, (str, os.PathLike)):
        data = _read_file(given, "photograph")
        try:
            decode_image(data)
        except InputError as error:
            raise InputError(f"photograph {os.fspath(given)} {error}") from None
        return data
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(
            f"the photograph is {pixels.dtype} {list(pixels.shape)}; give uint8 [height, width, 3], a Pillow image or "
            "a file"
        )
    return encode_png(pixels, compress_level=1)


def _read_vector(style: Style, length: int) -> np.ndarray | None:
    """A style that is a vector as float32 `[length]`; None for photographs."""
    if isinstance(style, (Image.Image, str, os.PathLike)):
        return None
    try:
        vector = np.array(style, np.float32) if np.ndim(style) == 1 else None
    except (TypeError, ValueError):
        raise InputError("the style is neither a photograph nor a vector of numbers") from None
    if vector is None:
        return None
    if vector.shape != (length,) or not np.isfinite(vector).all():
        what = f"{vector.size} numbers" if vector.shape != (length,) else "a vector with NaN or infinite numbers"
        raise InputError(f"the style is {what}; the generator takes {length} finite numbers")
    return vector


def _read_seed(seed: SupportsIndex) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        raise InputError(f"seed is {seed!r}; give a whole number") from None
    if not 0 <= number < 2**63:
        raise InputError(f"seed is {number}; take 0 to {2**63 - 1}")
    return number


def _read_file(path: PathLike, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {os.fspath(path)} does not exist") from None
    except OSError as error:
        raise InputError(f"{what} {os.fspath(path)} cannot be read: {error.strerror}") from None


def _at_least(least: int, **values: int) -> None:
    """Refuse smaller arguments, by their names (`InputError`)."""
    for name, value in values.items():
        if value < least:
            raise InputError(f"{name} is {value}; give {least} or more")


def _size_of(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
