"""A first recipe for a data set of one's own: it trains as it is, with sizes and widths for the machine at hand."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from PIL import Image

from pipeline.data.atomic import write_atomic
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import picture_bytes
from pipeline.datasets.convert import Summary
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.recipe_file import parse_recipe

LOOKED_AT = 64
"""Records whose size is looked at."""
MULTIPLE = 32
"""Of what the sides of pictures are multiples: five doublings, and five halvings of the discriminator."""
SMALLEST = 64
"""Side of the pictures."""
ALIKE = 1.15
"""Records whose aspect ratios differ by no more than this factor are resized to one size; of others parts are cut."""


@dataclass(frozen=True)
class Machine:
    """What training has at its disposal."""

    name: str
    """For the comment in the recipe."""
    gpu_gib: float = 0.0
    """Memory of the GPU; 0: there is none."""
    bfloat16: bool = False
    """Whether it has instructions for bfloat16."""


@dataclass(frozen=True)
class Data:
    """What is known about a data set."""

    train: str
    validation: str
    space: LabelSpace
    photographs: int
    sizes: Sequence[tuple[int, int]]
    """(height, width) of some of its records."""


def this_machine() -> Machine:
    """The machine that this runs on; its first GPU, where it has one."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gib = properties.total_memory / 2**30
        return Machine(f"{properties.name}, {gib:.0f} GiB", gib, torch.cuda.is_bf16_supported())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.is_file() else ""
    return Machine(f"{cores} CPU core{'s' if cores > 1 else ''}", 0.0, "avx512_bf16" in text or "amx_bf16" in text)


@dataclass(frozen=True)
class StarterRecipe:
    """A recipe that is to be written once its data set is there."""

    path: Path

    @classmethod
    def open(cls, path: Path, *, has_images: bool = True) -> StarterRecipe:
        """Refuse (`InputError`) before any work a file that is there already, and data without photographs."""
        if path.exists():
            raise InputError(f"{path} exists already; give another name for the recipe")
        if path.suffix not in (".yaml", ".yml"):
            raise InputError(f"{path} is no name of a recipe; give one that ends in .yaml")
        if not has_images:
            raise InputError("a recipe trains on photographs; give their folder with --images")
        return cls(path)

    def write(self, summary: Summary) -> str:
        """Write the recipe of what was prepared; a sentence that says so. `InputError` where nothing is to train on."""
        files = {split.path.stem: str(split.path) for split in summary.splits}
        if "train" not in files:
            raise InputError(
                "a recipe trains on train.parquet, but all records are held out; make --validation smaller"
            )
        return self.write_for(files["train"], files.get("validation"))

    def write_for(self, train: str, validation: str | None, machine: Machine | None = None) -> str:
        """The same for Parquet files that are there; `InputError` where they are no data set with photographs."""
        data = read_data(train, validation)
        write_atomic(self.path, starter_recipe(self.path.stem, data, machine or this_machine()).encode())
        return f"{self.path}: a recipe for these data and this machine; spadework train {self.path}"


def read_data(train: str, validation: str | None) -> Data:
    """What a recipe needs to know of prepared files; `InputError` where they have no photographs."""
    dataset = ParquetDataset.open(train)
    dataset.check_columns(("id", "label", "image"))
    sizes = list(islice(_sizes(dataset), LOOKED_AT))
    if not sizes:
        raise InputError(f"{train} has no photographs, which a recipe trains on; prepare it with --images")
    return Data(train, validation or train, dataset.require_info().space, dataset.rows, sizes)


def _sizes(dataset: ParquetDataset) -> Iterator[tuple[int, int]]:
    for row in dataset.iter_rows(["image"], batch_rows=16):
        data = picture_bytes(row["image"])
        if data is not None:
            with Image.open(io.BytesIO(data)) as picture:
                yield picture.height, picture.width


def starter_recipe(name: str, data: Data, machine: Machine) -> str:
    """The recipe as YAML text with comments, tried against the schema."""
    fields = _fields(name, data, machine)
    parse_recipe(fields, source=f"recipe {name}")
    heights, widths = sorted(size[0] for size in data.sizes), sorted(size[1] for size in data.sizes)
    lines = [
        f"A start for {data.train}: {data.photographs:,} photographs of {_range(widths)} x {_range(heights)} pixels.",
        "",
        f"  spadework train {name}.yaml --out runs/{name}",
        "",
        f"Hardware: sizes, widths and steps are for {machine.name}.",
        "The fields, and what else there is: spadework recipes schema.",
    ]
    if data.validation == data.train:
        lines.append("There are no validation records: scores and samples are of what was trained on.")
    head = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return head + yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def _fields(name: str, data: Data, machine: Machine) -> dict[str, Any]:
    ratios = [width / height for height, width in data.sizes]
    alike = max(ratios) <= ALIKE * min(ratios)
    height, width = _size(data.sizes, machine, square=not alike)
    gpu = machine.gpu_gib > 0
    roomy = machine.gpu_gib >= 16
    batch = max(1, min(data.photographs, 16 if machine.gpu_gib >= 24 else 8 if roomy else 4))
    steps = 2500
    if gpu:  # a hundred epochs, as the paper's for sets of this kind, within bounds
        steps = min(max(math.ceil(100 * data.photographs / batch / 500) * 500, 10_000), 200_000)
    crop = {} if alike else {"preprocess": "scale_short_side", "load_size": min(height, width)}
    small = height * width <= 128 * 128
    return {
        "name": name,
        "labels": data.space.model_dump(mode="json"),
        "data": {"train": data.train, "validation": data.validation, "height": height, "width": width, **crop},
        "generator": {"channels": 64 if roomy else 32 if gpu else 16, "hidden": 128 if gpu else 64},
        # The discriminator of OASIS needs no VGG19, and did best of those compared on small sets (docs/quality.md).
        "discriminator": {"kind": "segmentation", "channels": 64 if gpu else 32, "layers": 5},
        "losses": {"feature_matching": 0, "perceptual": 0},
        "training": {
            "steps": steps,
            "decay_steps": steps // 2,
            "batch_size": batch,
            "learning_rate": 0.0002 if gpu else 0.0004,
            "ema_decay": 0.999 if gpu else 0.998,
            "precision": "bf16" if machine.bfloat16 else "fp32",
        },
        "segmenter": {
            "backbone": "mobilenet_v3_large",
            "trunk": "early",
            "enlarge": 2 if small else 1,
            "steps": 4000 if gpu else 1500,
            "batch_size": min(8, max(1, data.photographs)),
            "learning_rate": 0.002,
        },
    }


def _size(sizes: Sequence[tuple[int, int]], machine: Machine, *, square: bool) -> tuple[int, int]:
    """Height and width of the pictures: of the data's proportions, not larger than its records or than goes well."""
    area = 128 * 96 if not machine.gpu_gib else 256 * 256 if machine.gpu_gib < 24 else 512 * 256
    height, width = median(size[0] for size in sizes), median(size[1] for size in sizes)
    if square:
        height = width = min(height, width)
    scale = min(1.0, math.sqrt(area / (height * width)))
    return _multiple(height * scale), _multiple(width * scale)


def _multiple(side: float) -> int:
    return max(SMALLEST, round(side / MULTIPLE) * MULTIPLE)
