"""What the verbs of scoring share: options, and types that look for files before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evaluation.segmenters import check_kind
from evaluation.usefulness.arms import has_name
from pipeline.command_line import PROCESSES, PROCESSES_OR_NONE, Existing, Location, check_there
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


class Baseline(click.ParamType):
    """NAME=PATH."""

    name = "NAME=PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name and path; `InputError` where the text has another form or there is no such folder."""
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise InputError(f"--baseline {value}: write NAME=PATH, such as untrained=images-untrained/")
        return name, Location(f"baseline '{name}'", PICTURES.fix).convert(path, param, ctx)


class Features(click.ParamType):
    """NAME=PATH of a network on whose features distances are measured."""

    name = "NAME=PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Name and path; `InputError` where the text has another form, or there is neither folder nor file."""
        name, equals, path = value.partition("=")
        if not (name and equals and path) or "/" in name or name in TAKEN:
            raise InputError(f"--features {value}: write NAME=FOLDER, such as dinov2=models/dinov2-large")
        check_there(f"features '{name}'", Path(path), "give a folder of transformers, or a weights file of torchvision")
        return name, Path(path)


TAKEN = ("segmenter", "Inception")
"""Names of features that every report may have."""


class Synthetic(Location):
    """NAME=PATH, or PATH alone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given, which `parse_sets` reads; `InputError` where there is no such folder."""
        super().convert(value.partition("=")[2] if has_name(value) else value, param, ctx)
        return value


PICTURES = Location("folder of synthesized pictures", "`spadework synthesize` makes one")


SEGMENTER = Segmenter()


SEGMENTER_WEIGHTS = Existing("segmenter weights", "`spadework train-segmenter` makes them")


SCORES = Location("table of scores", "`spadework evaluate` writes one")


SCORES_FILE = "report/scores.parquet"


REPORT = Location("report", "`spadework evaluate` writes one")


ITS_WEIGHTS = click.option(
    "--segmenter-weights", type=SEGMENTER_WEIGHTS, help="Its weights  [default: those that evaluate takes]"
)


WORKERS = click.option(
    "--workers", default=0, show_default=True, type=PROCESSES_OR_NONE, help="Ray actors; 0: this process."
)


BATCH_SIZE = click.option(
    "--batch-size", default=16, show_default=True, type=click.IntRange(1), help="Pictures at a time."
)


TRAINING_THREADS = click.option("--threads", default=1, show_default=True, type=PROCESSES, help="Of each training.")
