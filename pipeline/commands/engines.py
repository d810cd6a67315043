"""The verb `engines`, and `compile` but for what it asks of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.command_line import (
    CHECKPOINT,
    LABEL_MAPS,
    OUT,
    PICTURE_SIZE,
    Existing,
    Location,
    Verbs,
    batch_size_option,
)
from pipeline.command_output import show_log, tell
from pipeline.runtime.digits import three_digits

if TYPE_CHECKING:
    from pipeline.engines.manifest import Manifest


_COMPILE = (
    click.option("--checkpoint", type=CHECKPOINT, required=True, help="As for synthesize."),
    click.option(
        "--backend",
        type=click.Choice(["auto", "tensorrt", "inductor", "eager"]),
        default="auto",
        show_default=True,
        help="Compiler; auto: the first that is there.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
        default="auto",
        show_default=True,
        help="Arithmetic; auto: the smallest float whose pictures are within tolerance; int8: with --calibrate, on "
        "CPUs and, through TensorRT, on GPUs.",
    ),
    batch_size_option("batch", 1, "Styles of a label map in a pass, fixed."),
    PICTURE_SIZE,
    click.option(
        "--modulation",
        type=click.Choice(["pattern", "dense"]),
        help="How gamma and beta are computed  [default: the recipe's; pattern where that is auto]",
    ),
    click.option(
        "--input",
        "source",
        type=LABEL_MAPS,
        help="Parquet of label maps to tune for and check with  [default: landscapes]",
    ),
    click.option(
        "--calibrate",
        type=LABEL_MAPS,
        help="For int8: Parquet of label maps that say what numbers each layer takes in.",
    ),
    click.option(
        "--bank",
        type=Location("memory bank", "`spadework prepare bank` makes one"),
        help="For SIMS: bank whose pieces are on the label maps to check with  [default: the recipe's]",
    ),
    click.option("--maps", type=click.IntRange(1), default=4, show_default=True, help="How many of either."),
    click.option(
        "--out",
        type=OUT,
        default=Path("engines"),
        show_default=True,
        help="Folder of engines; each has its own in it.",
    ),
)


def compile_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `compile`, but for those of scores, which `cli.py` adds."""
    for option in reversed(_COMPILE):
        function = option(function)
    return function


def run_compile(
    checkpoint: str, out: Path, *, check: Callable[[Path, Manifest], Manifest] | None, **options: Any
) -> None:
    """Compile, and tell what came of it; then `check` an engine further: it returns the manifest, or rejects it with
    an `InputError`.
    """
    from pipeline.engines.compile import compile_generator as run

    show_log("pipeline.engines")
    folder, manifest = run(checkpoint, out, **options)
    if check is not None:
        manifest = check(folder, manifest)
    lines = [f"{folder}: {manifest.spec}", str(manifest.parity), *manifest.scores]
    if manifest.milliseconds and manifest.eager_milliseconds:
        ours, theirs = three_digits(manifest.milliseconds), three_digits(manifest.eager_milliseconds)
        lines.append(f"{ours} ms a picture, {theirs} ms eager")
    tell("\n".join(lines), engine=folder, manifest=manifest)


@click.group(cls=Verbs)
def engines() -> None:
    """What compile made: each engine in a folder named by everything that it depends on."""


ENGINES = click.argument(
    "folder", type=Existing("folder of engines", "`spadework compile` makes engines"), default=Path("engines")
)


@engines.command("list")
@ENGINES
def engines_list(folder: Path) -> None:
    """Show every engine: what it is, how far from float32, and why it cannot be used here, if so.

    \b
    Example:
      spadework engines list engines/
    """
    from pipeline.engines.cache import list_engines as run

    table = run(folder)
    tell(table, engines=table.splitlines())


@engines.command("clean")
@ENGINES
@click.option("--all", "everything", is_flag=True, help="Usable ones too.")
def engines_clean(folder: Path, everything: bool) -> None:
    """Remove engines that cannot be used here, and what killed builds left.

    \b
    Example:
      spadework engines clean engines/
    """
    from pipeline.engines.cache import clean_engines as run

    removed = list(run(folder, everything=everything))
    tell("\n".join(f"removed {path}" for path in removed) or "nothing to remove", removed=removed)
