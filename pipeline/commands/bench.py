"""The verb `bench`, to which training adds its own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.command_line import (
    CHECKPOINT,
    LABEL_MAPS,
    OUT,
    PICTURE_SIZE,
    PROCESSES,
    PROCESSES_OR_NONE,
    Existing,
    Renamed,
    Verbs,
    batch_size_option,
)


@click.group(cls=Verbs)
def bench() -> None:
    """Benchmark our paths beside the alternatives: same weights, same label maps, one process each, in turn."""


REPEATS = click.option(
    "--repeats",
    cls=Renamed,
    old="--laps",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Of each; medians count.",
)


STANDARD_OUTPUT = Path("-")


THREADS = click.option("--threads", type=PROCESSES, help="Of each process  [default: the cores]")


MAPS = click.option("--input", "source", type=LABEL_MAPS, help="Parquet of label maps  [default: landscapes]")


NOISE = click.option("--noise", is_flag=True, help="Random pixels for label maps: the worst case for patterns.")


JSON = click.option(
    "--json",
    "json_path",
    type=OUT,
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="All figures as one JSON object, in a file or, without one, in the place of the table.",
)


PUBLIC = click.option(
    "--public", type=Existing("checkout of the public SPADE"), help="Folder of the public SPADE, to race too."
)


PATHS = click.option("--paths", help="Comma-separated; an unknown one lists them  [default: all that make sense]")


@bench.command("synthesize")
@click.option(
    "--checkpoint", type=CHECKPOINT, required=True, help="As for synthesize; untrained:RECIPE.yaml for fresh weights."
)
@MAPS
@click.option("--maps", type=click.IntRange(1), default=4, show_default=True, help="Label maps in a repeat.")
@batch_size_option("batch", 1, "Label maps in a pass.")
@click.option("--samples", type=click.IntRange(1), default=1, show_default=True, help="Pictures of each label map.")
@PICTURE_SIZE
@NOISE
@PATHS
@PUBLIC
@click.option(
    "--busy-cores",
    type=PROCESSES_OR_NONE,
    default=0,
    show_default=True,
    help="Also measure beside N processes that keep a core busy.",
)
@REPEATS
@THREADS
@JSON
def bench_synthesize(
    checkpoint: str,
    paths: str | None,
    public: Path | None,
    repeats: int,
    threads: int | None,
    json_path: Path | None,
    busy_cores: int,
    **load: Any,
) -> None:
    """Benchmark ways to run a generator; those whose libraries are missing say so (extra [bench]).

    \b
    Example:
      spadework bench synthesize --checkpoint untrained:landscape --maps 2 --repeats 3
    """
    from pipeline.bench.synthesis import Load
    from pipeline.bench.synthesis import bench_synthesize as run

    show_race(
        functools.partial(run, checkpoint, load=Load(**load), repeats=repeats, public=public, busy_cores=busy_cores),
        paths,
        threads,
        json_path,
    )


def show_race(run: Callable[..., str], paths: str | None, threads: int | None, json_path: Path | None) -> None:
    """Run a benchmark with what its options say, and show its table unless its figures go to standard output."""
    names = tuple(paths.split(",")) if paths else ()
    table = run(candidates=names, threads=threads or os.cpu_count() or 1, json_path=json_path)
    if json_path != STANDARD_OUTPUT:
        click.echo(table)
