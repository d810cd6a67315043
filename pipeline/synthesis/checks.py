"""What a batch job refuses before anything is written: options, places and checkpoints that cannot work."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.checkpoints.file import Checkpoint
from pipeline.config import RegionStyles
from pipeline.data.encoders import PictureFormat
from pipeline.data.shards import Plan
from pipeline.data.storage import is_uri, local_path
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.limits import check_processes
from pipeline.synthesis.styles import StyleChoice

log = logging.getLogger(__name__)

CALIBRATED = "needs what calibration found: give --engine, which `spadework compile --precision int8 --calibrate` makes"
"""Said after the name of the option."""

PART = "part-00000.parquet"
"""The first part of any output."""


def parse_max_rejects(value: str | int, rows: int) -> int:
    """A number of rows, or a share of them as `1%`, to a number of rows; `InputError` for anything else.

    >>> parse_max_rejects("1%", 250), parse_max_rejects(3, 250)
    (2, 3)
    """
    text = str(value).strip()
    try:
        share = float(text[:-1]) if text.endswith("%") else None
        limit = int(text) if share is None else int(share / 100 * rows)
    except (ValueError, OverflowError):  # Of `inf%`.
        raise InputError(
            f"--max-rejects is '{value}'; give a number of rows such as 10, or a share such as 1%"
        ) from None
    if limit < 0 or (share is not None and not 0 <= share <= 100):
        if share is not None and not share < 0:
            raise InputError(f"--max-rejects is '{value}'; a share is at most 100%")
        raise InputError(f"--max-rejects is '{value}'; it cannot be negative")
    return limit


def check_options(
    samples: int, threads: int, workers: int | None, gpus_per_worker: float, picture_format: PictureFormat
) -> None:
    """Refuse (`InputError`) numbers out of range; a warning for JPEG."""
    if samples < 1:
        raise InputError(f"the number of pictures a label map is {samples}; give 1 or more")
    check_processes("--threads", threads)
    if workers is not None:
        check_processes("--workers", workers, least=0)
    if not 0 < gpus_per_worker < math.inf:
        raise InputError(f"--gpus-per-worker is {gpus_per_worker:g}; give 1, or a fraction such as 0.5")
    if picture_format == "jpeg":
        log.warning(
            "JPEG loses detail, which moves FID and other distances; take png or webp for pictures to be scored"
        )


def refuse_output_in_input(source: str | Path, output: str | Path) -> None:
    """`InputError` where the output's parts would be found as input: the job could never be continued."""
    if is_uri(source) != is_uri(output):
        return
    if is_uri(source):
        pattern, folder = (str(location).partition("?")[0].rstrip("/") for location in (source, output))
        part = f"{folder}/{PART}"
        found = fnmatchcase(part, pattern) if "*" in pattern else _visibly_below(part, pattern)
    else:
        path, folder = local_path(source), str(local_path(output))
        if path.is_dir():
            found = _visibly_below(str(Path(folder).resolve() / PART), str(path.resolve()))
        else:
            pattern = os.path.normpath(path)
            found = "*" in pattern and _matches(Path(os.path.normpath(folder), PART).parts, Path(pattern).parts)
    if found:
        raise InputError(
            f"output {output} lies in the input {source}, so that its pictures would be taken for label maps; "
            "give an output folder outside it"
        )


def _visibly_below(file: str, folder: str) -> bool:
    """Whether the search through a folder finds a file; it leaves out hidden and `_` names."""
    names = file.removeprefix(f"{folder.rstrip('/')}/")
    return names != file and not any(name.startswith((".", "_")) for name in names.split("/"))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern with `*` and `**` finds a path, both cut at the slashes."""
    if not pattern or not parts:
        return not parts and all(step == "**" for step in pattern)
    if pattern[0] == "**":
        deeper = not parts[0].startswith(".") and _matches(parts[1:], pattern)
        return deeper or _matches(parts, pattern[1:])
    hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    return not hidden and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def check_fits(
    plan: Plan, checkpoint: Checkpoint, choice: StyleChoice, *, keep_size: bool, region_styles: RegionStyles | None
) -> None:
    """Refuse (`InputError`) an input, a checkpoint and options that do not go together."""
    recipe = checkpoint.recipe
    space, style = recipe.labels, recipe.generator.style_dim
    theirs = plan.info.space if plan.info else space
    if theirs.classes != space.classes or theirs.dont_care not in (None, space.dont_care):
        raise InputError(
            f"the checkpoint is of other classes: {_named(space)}, where the input has {_named(theirs)}; "
            "take a checkpoint of the input's classes"
        )
    if space.instance_edges and plan.columns.instance is None:
        raise InputError(
            "the checkpoint wants instance maps, and the input has no column for them; name it with --instance-column"
        )
    if region_styles and not recipe.generator.style_channels:
        raise InputError(
            "the checkpoint's generator has no styles of regions (generator.style_input is not 'everywhere'); "
            "leave out --region-styles"
        )
    if (region_styles or recipe.generator.region_styles) == "instance" and plan.columns.instance is None:
        raise InputError(
            "each instance has a style of its own, and the input has no column of instance maps; name it with "
            "--instance-column, or take --region-styles class or none"
        )
    if choice.kind == "interpolation" and plan.most_samples < 2:
        raise InputError("--style-interpolate needs 2 steps or more")
    if not style and (choice.kind != "noise" or choice.truncation != 1):
        raise InputError(
            "the checkpoint's generator takes no style (generator.style_dim is 0); "
            "leave out --style... and --truncation"
        )
    if recipe.generator.kind == "pix2pixhd" and choice.kind == "noise" and choice.truncation != 1:
        raise InputError(
            "the checkpoint's generator draws styles from a list, of which none is the mean; leave out --truncation"
        )
    if plan.most_samples > 1 and not style and not recipe.generator.takes_seeds:
        why = "takes no style (generator.style_dim is 0) and adds no noise (generator.noise)"
        if recipe.generator.kind not in ("spade", "concat"):
            why = f"is of kind {recipe.generator.kind} and takes nothing but the label map"
        raise InputError(
            f"the checkpoint's generator {why}, so each label map has one picture; leave out --samples, and let "
            "--samples-by ask for 0 or 1"
        )
    if choice.kind != "noise" and checkpoint.encoder is None:
        raise InputError("the checkpoint has no style encoder, so photographs cannot give the style")
    if recipe.generator.one_size and keep_size:
        with_style = "with style" if style else f"of kind {recipe.generator.kind}"
        raise InputError(
            f"a generator {with_style} makes pictures of one size, {recipe.data.width}x{recipe.data.height}; "
            "leave out --keep-size"
        )


def _named(space: LabelSpace) -> str:
    more = ", ..." if len(space.classes) > 3 else ""
    return f"{len(space.classes)} ({', '.join(space.classes[:3])}{more}; don't-care {space.dont_care})"
