"""The verb `bench train`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from pipeline.command_line import OVERRIDES, PICTURE_SIZE, RECIPE, batch_size_option, read_recipe
from pipeline.commands.bench import JSON, MAPS, NOISE, PATHS, PUBLIC, REPEATS, THREADS, bench, show_race


@bench.command("train")
@click.argument("recipe", type=RECIPE)
@MAPS
@batch_size_option("maps", 4, "Label maps in a step.")
@PICTURE_SIZE
@NOISE
@PATHS
@PUBLIC
@REPEATS
@THREADS
@JSON
@OVERRIDES
def bench_train(
    recipe: Path,
    paths: str | None,
    public: Path | None,
    repeats: int,
    threads: int | None,
    json_path: Path | None,
    overrides: tuple[str, ...],
    **load: Any,
) -> None:
    """Benchmark training steps (generator and discriminator, no perceptual term) with patterns and without.

    \b
    Example:
      spadework bench train landscape --repeats 3
    """
    settings = read_recipe(recipe, overrides)

    from pipeline.bench.synthesis import Load
    from training.bench import bench_train as run

    race = functools.partial(run, settings, load=Load(**load), repeats=repeats, public=public)
    show_race(race, paths, threads, json_path)
