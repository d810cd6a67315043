"""How much a verb says, and its result: as text, or with --json as one object."""

from __future__ import annotations

import json
import logging

import click

from pipeline.runtime.json_text import jsonable
from pipeline.runtime.shown import show_progress

PACKAGES = ("pipeline", "training", "evaluation")
_AS_JSON = "spadework.json"
"""In the context's `meta`, which the contexts of all verbs within a call share."""


def tell(text: object, **result: object) -> None:
    """Print what a verb has to say of its `result`: the text, or with --json the result, each part by its name.

    Parts may be dataclasses, pydantic models, arrays, paths; numbers that are not finite become null.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(_AS_JSON):
        click.echo(json.dumps(jsonable(result), ensure_ascii=False))
    else:
        click.echo(text)


_level = logging.INFO
"""Of what `show_log` shows."""


def _quiet(context: click.Context, _: click.Parameter, given: bool) -> None:
    global _level
    _level = logging.WARNING if given else logging.INFO
    show_progress(not given)


def _verbose(context: click.Context, _: click.Parameter, given: bool) -> None:
    global _level
    if given:
        _level = logging.DEBUG
        for package in PACKAGES:
            show_log(package)


def _json(context: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        context.meta[_AS_JSON] = True


def show_log(package: str) -> None:
    """What a package of ours logs, on the terminal's error stream; of others, and with --quiet, warnings only."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger(package).setLevel(_level)


OPTIONS = (
    click.Option(
        ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_quiet, help="No progress, warnings only."
    ),
    click.Option(
        ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_verbose, help="Tell more of what is done."
    ),
    click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        callback=_json,
        help="The result as one JSON object.",
    ),
)
"""That every verb takes."""
