"""What every verb of the command line is made of: groups, options, one line for a mistake."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.command_output import OPTIONS
from pipeline.data.storage import is_uri
from pipeline.errors import InputError
from pipeline.runtime.limits import MOST_PROCESSES
from pipeline.runtime.waiting import bound_spinning
from pipeline.shipped_recipes import find_recipe

if TYPE_CHECKING:
    from pipeline.config import Recipe

# Heavy modules (torch, ray, pyarrow) are imported inside the verbs, so that --help answers at once; and files that a
# verb reads have a type that looks for them, so that a mistyped name is told at once too.


OUT = click.Path(path_type=Path)
"""A file or folder that a verb writes, and that need not be there."""


OUT_LOCATION = click.Path(path_type=str)
"""The same, on this machine or at a URI."""


MAX_TOLD = 200
"""Characters of an unforeseen error, or of an argument, that a line shows."""


STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""


class Verbs(click.Group):
    """Verbs in the order of the work, and one line with exit code 2 for a user's mistake."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """A verb, with the options that every verb takes."""
        if not isinstance(cmd, click.Group):
            taken = {option for param in cmd.params for option in param.opts}
            cmd.params += [option for option in OPTIONS if not taken.intersection(option.opts)]
        super().add_command(cmd, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each verb with the whole first sentence of its help."""
        rows = [(name, command.help or "") for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([(name, " ".join(text.split("\n\n")[0].split())) for name, text in rows])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are defined, which is the order in which they are used."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; an `InputError`, or a file that cannot be used, ends in one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _in_one_line(error) from None
        except (KeyboardInterrupt, click.Abort):
            click.echo(f"Stopped. To go on, repeat: {_command()}", err=True)
            sys.exit(STOPPED)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        except OSError as error:
            # A full disk (ENOSPC) comes without a file's name.
            told = error.strerror or " ".join(str(error).split()) or type(error).__name__
            click.echo(f"Error: {told}" if error.filename is None else f"Error: {error.filename}: {told}", err=True)
            sys.exit(2)


def _command() -> str:
    """The command line, as it can be pasted."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _in_one_line(error: click.UsageError) -> click.UsageError:
    """What is wrong with the options, without the lines that click prints before it."""
    help_alone = isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ()))  # click 8.1 has none
    if error.ctx is None or help_alone:
        return error
    told = " ".join(error.format_message().split()).rstrip(".")
    return click.UsageError(f"{told}; see {error.ctx.command_path} --help")


class NoTextError(click.ClickException):
    """An argument that is no text: one line, like an `InputError` of a verb."""

    exit_code = 2


class Program(Verbs):
    """The whole command line: whatever a verb raises that nobody foresaw ends in one line too."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run it; an unforeseen exception ends in one line that names the file with its traceback, and exit code 1."""
        bound_spinning()
        try:
            return super().main(*args, **extra)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the last one who could say it in words
            told = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
            told = told if len(told) <= MAX_TOLD else f"{told[:MAX_TOLD]}..."
            click.echo(f"Error: unexpected error ({told}); {_keep_traceback(error)}", err=True)
            sys.exit(1)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse here, for all verbs, what can be neither a file's name nor text in a file that we write."""
        for argument in args:
            if "\0" in argument or any("\ud800" <= char <= "\udfff" for char in argument):  # bytes that are not UTF-8
                told = ascii(argument if len(argument) <= MAX_TOLD else f"{argument[:MAX_TOLD]}...")
                raise NoTextError(f"{told} has a NUL or is not UTF-8; give text, and rename such files")
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _in_one_line(error) from None


def _keep_traceback(error: Exception) -> str:
    """Write the traceback to a file in the temporary directory; where it is, in words."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="spadework-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}")
    except OSError as failure:
        return f"its details could not be kept ({failure})"
    return f"details in {file.name}"


class Renamed(click.Option):
    """An option whose spelling of earlier versions, `old`, still works; help does not show it."""

    def __init__(self, *args: Any, old: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.old = old

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know both spellings."""
        super().add_to_parser(parser, ctx)
        parser.add_option(self, [self.old], dest=self.name, action="store", nargs=self.nargs)


class Amount(click.FloatRange):
    """A number within bounds; NaN, which no comparison refuses, and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


MINUTES = Amount(0)


PROCESSES = click.IntRange(1, MOST_PROCESSES)
"""How many threads, workers or processes."""


PROCESSES_OR_NONE = click.IntRange(0, MOST_PROCESSES)
"""The same, where 0 means this process alone."""


class Existing(click.Path):
    """A file or folder that a verb reads: refused where it is not there. `what` names it, `fix` says what makes one."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(path_type=Path)
        self.what, self.fix = what, fix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; `InputError` where it does not exist."""
        check_there(self.what, Path(value), self.fix)
        return super().convert(value, param, ctx)


class Location(Existing):
    """The same for a path that may also be a pattern with `*`, or a URI (which is not looked at)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given; `InputError` where nothing on this machine matches it."""
        location = str(value)
        path = location.removeprefix("file://")
        if is_uri(location):
            return location
        if "*" not in path:
            check_there(self.what, Path(path), self.fix)
        elif not glob(path, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute pattern
            raise InputError(f"no file matches {path}; give {self.what}")
        return location


class NamedWeights(Existing):
    """A weights file, or the name of one that `weights fetch` fetches; these begin with `what`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or name; `InputError` where there is neither."""
        from pipeline.pretrained.registry import FILES

        names = [file.name for file in FILES if file.name.startswith(self.what.lower())]
        if str(value) in names:
            return Path(value)
        check_there(f"{self.what} weights file", Path(value), f"give a file, or a name: {', '.join(names)}")
        return super().convert(value, param, ctx)


class RecipeFile(Existing):
    """A recipe's file, or the name of one that comes with spadework."""

    def __init__(self) -> None:
        super().__init__("recipe", "give a file, or a name of `spadework recipes list`")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; `InputError` where there is neither."""
        return super().convert(find_recipe(value), param, ctx)


class Checkpoint(Existing):
    """A checkpoint, or `untrained:` and one or a recipe, as text."""

    def __init__(self) -> None:
        super().__init__("checkpoint", "give a .safetensors file or a run directory of `train`")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given, but for a recipe's name; `InputError` where the file does not exist."""
        text = str(value)
        if text.startswith("untrained:"):
            text = f"untrained:{find_recipe(text.removeprefix('untrained:'))}"
        super().convert(text.removeprefix("untrained:"), param, ctx)
        return text


CHECKPOINT = Checkpoint()


LABEL_MAPS = Existing("file of label maps")


DATA = Location("data set", "give a Parquet file or a folder of them (`spadework prepare` makes one)")


PALETTE = Existing("palette")


WEIGHTS = Existing("weights file")


RECIPE = RecipeFile()


class Size(click.ParamType):
    """WIDTHxHEIGHT on the command line; (height, width) in the code."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Two positive numbers, or a usage error."""
        if isinstance(value, tuple):
            return value
        width, _, height = value.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"'{value}' is not WIDTHxHEIGHT, such as 256x256", param, ctx)
        from pipeline.config import LARGEST_PIXELS

        if len(value) > 20 or int(height) * int(width) > LARGEST_PIXELS:
            self.fail(f"'{value[:40]}' has more than {LARGEST_PIXELS} pixels", param, ctx)
        return int(height), int(width)


def _show_dashboard(context: click.Context, _: click.Parameter, given: bool) -> None:
    from pipeline.runtime.ray_session import show_dashboard

    show_dashboard(given)


DASHBOARD = click.option(
    "--dashboard",
    is_flag=True,
    expose_value=False,
    callback=_show_dashboard,
    help="Run Ray with its dashboard, and say where that is; needs spadework[cluster].",
)
"""Of the verbs whose work may take Ray for hours."""


LABEL_COLUMN = click.option("--label-column", default="label", show_default=True, help="Column of the label maps.")


OVERRIDES = click.option(
    "--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the recipe."
)


WORKER_THREADS = click.option(
    "--threads", type=PROCESSES, default=1, show_default=True, help="Of each worker's arithmetic."
)


def batch_size_option(name: str, default: int, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--batch-size`, once `--batch`, as the parameter `name`."""
    return click.option(
        "--batch-size",
        name,
        cls=Renamed,
        old="--batch",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        help=help,
    )


PICTURE_SIZE = click.option("--size", type=Size(), help="Of the pictures  [default: the recipe's]")


def as_the_verb_takes(verb: click.Command, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a function, converted and checked as the command line does its own, by their names in its code.

    None, and what is left out, is the verb's default. Raises `InputError` for values that the verb does not take, and
    `TypeError` for names that it does not have.
    """
    names: dict[str, str] = {}
    """The function's, by those in the code of the verb."""
    values: dict[str, Any] = {}
    for param in verb.params:
        for name in (param.name or "", *(text.removeprefix("--").replace("-", "_") for text in param.opts)):
            if (value := options.get(name)) is not None:
                values[param.name or ""] = several(value) if param.multiple else value
                if isinstance(param.type, click.types.IntParamType) and not hasattr(value, "__index__"):
                    raise InputError(f"{name} is {value!r}; give a whole number")
            if name in options:
                names[param.name or ""] = name
    if unknown := sorted(options.keys() - names.values()):
        raise TypeError(f"there is no option '{unknown[0]}'; the --help of {verb.name} lists them")
    try:
        return verb.make_context(verb.name, [], default_map=values).params
    except click.BadParameter as error:
        name = names.get(error.param.name or "", "") if error.param else ""
        raise InputError(f"{name}: {error.message.rstrip('.')}") from None


def several(given: Any) -> Sequence[Any]:
    """One text or path, which Python would take for its letters, as a sequence."""
    return (given,) if isinstance(given, (str, os.PathLike)) else tuple(given)


def check_there(what: str, path: Path, fix: str = "") -> None:
    """Refuse (`InputError`) a file or folder that is not there, before what would read it is imported."""
    if not path.exists():
        raise InputError(f"{what} {path} does not exist{fix and '; '}{fix}")


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """`load_recipe`, whose imports take half a second; raises `InputError` as that does."""
    from pipeline.recipe_file import load_recipe

    return load_recipe(path, overrides)
