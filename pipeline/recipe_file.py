"""Recipes in files: read from YAML, refused in one line before any work where they are wrong, and written."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config import Recipe
from pipeline.config.generators import KINDS
from pipeline.errors import InputError
from pipeline.shipped_recipes import find_recipe

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 1 << 20
"""Of a recipe: five times what the most classes that there can be take up."""
MAX_DEPTH = 16
"""Of sections and lists in each other; recipes have four."""
MAX_DIGITS = 100
"""Characters of a number: 64 bits have 20, and thousands take Python long to convert, or are more than it does."""
MAX_SHOWN = 100
"""Characters of a value that an error shows."""
MAX_PROBLEMS = 8
"""That an error lists."""
UNION_MEMBERS = ("constrained", "tuple", "sources", "location")
"""How the names begin that pydantic, or `DataSettings.train`, gives to the members of unions."""


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that is valid, and not taken for a recipe."""


class RecipeLoader(yaml.SafeLoader):
    """YAML as people write it (1e-4 is a number, which YAML 1.1 takes for text), without what makes small files huge.

    Aliases (a few lines of which stand for gigabytes, or for themselves), deep nesting, and numbers of thousands of
    digits are errors.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node, unless it is an alias or too deep."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise _RefusedError(problem=f"aliases (*{event.anchor}) are not taken", problem_mark=event.start_mark)
        if self._depth >= MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise _RefusedError(problem=f"more than {MAX_DEPTH} sections and lists in each other", problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """A section, unless it has a key twice, of which YAML would take the last without a word."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _RefusedError(
                    problem=f"the key '{_shorten(key.value)}' twice in one section",
                    problem_mark=key.start_mark,
                    note="take one of them out",
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return node

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        """A single value, unless it is a number or a text that nothing could use."""
        node = super().compose_scalar_node(anchor)
        problem = None
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) > MAX_DIGITS:
            problem = f"a number of {len(node.value)} characters; write {MAX_DIGITS} at most"
        elif any(char == "\0" or "\ud800" <= char <= "\udfff" for char in node.value):
            problem = "a text with a NUL character, or half of a surrogate pair; take it out"
        if problem:
            raise _RefusedError(problem=problem, problem_mark=node.start_mark)
        return node


RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from YAML, with `section.field=value` overrides (values are YAML too).

    Where there is no such file, it is the recipe of spadework of that name (`find_recipe`). Raises `InputError`, one
    line that names the file, the field, the value and the valid choices.
    """
    fields = read_yaml_file(path := find_recipe(path), what="recipe")
    if not isinstance(fields, dict):
        raise InputError(f"recipe {path} must be a mapping of sections: {', '.join(Recipe.model_fields)}")
    return override_recipe(fields, overrides, source=str(path))


def read_yaml_file(path: Path, *, what: str) -> Any:
    """The value of a file of YAML, which errors call `what`. Raises `InputError` where it is missing, or not one."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error}") from None
    except ValueError:  # A NUL in the name.
        raise InputError(f"{what} {str(path)!r} cannot be a file's name; give the YAML file") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{what} {path} has more than {MAX_BYTES >> 20} MiB; give the YAML file of a {what}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} is not UTF-8 text (byte {error.start}); give the YAML file") from None
    return read_yaml(text, source=f"{what} {path}")


def override_recipe(fields: dict[str, Any], overrides: Iterable[str], *, source: str) -> Recipe:
    """`parse_recipe` of fields that `section.field=value` overrides have changed; raises `InputError` as that does."""
    for override in overrides:
        _apply(fields, override)
    return parse_recipe(fields, source=source)


def parse_recipe(fields: dict[str, Any], *, source: str) -> Recipe:
    """The recipe with these fields (as YAML or JSON gives them); raises `InputError` as `parse_settings` does."""
    return parse_settings(Recipe, fields, source=source)


def parse_settings(model: type[Model], fields: Mapping[str, Any], *, source: str) -> Model:
    """The settings of a `model` with these fields (as YAML or JSON gives them).

    Raises `InputError`, which begins with `source` and says what is wrong with each field.
    """
    try:
        # JSON mode keeps pydantic strict about types yet takes lists for tuples and strings for paths.
        return model.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        found = error.errors()
        problems = [" ".join(_explain(problem, model).split()) for problem in found[:MAX_PROBLEMS]]
        if len(found) > MAX_PROBLEMS:
            problems.append(f"and {len(found) - MAX_PROBLEMS} more")
        raise InputError(f"{source}: {'; '.join(problems)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: {' '.join(str(error).split())}") from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; `load_recipe` reads it back to an equal one."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)


def read_yaml(text: str, *, source: str) -> Any:
    """The value of a YAML text. Raises `InputError`, which begins with `source`, where it is not plain YAML."""
    try:
        return yaml.load(text, RecipeLoader)
    except _RefusedError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark and "\n" in text else ""
        raise InputError(f"{source} has {error.problem}{where}; {error.note or 'write it out in plain YAML'}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # PyYAML's own, of values that are not what they look like (2024-13-45) or are tagged as (!!bool maybe).
        told = _shorten(" ".join(str(error).split()))
        raise InputError(f"{source} has a value that is no YAML ({told}); quote it if it is text") from None


def _apply(fields: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    source = f"--set {_shorten(override if override.isprintable() else repr(override))}"
    if not equals or not all(keys) or len(keys) > MAX_DEPTH:
        raise InputError(f"{source}: write section.field=value, such as training.steps=1000")
    value = read_yaml(text, source=source)
    section = fields
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise InputError(f"{source}: '{key}' is a single value, not a section")
    section[keys[-1]] = value


def _explain(problem: Any, model: type[BaseModel]) -> str:
    """One validation problem as `field: what is wrong, with the value and the valid choices`."""
    # Positions inside tuples stay; the names of union members that pydantic adds are of no use to a reader.
    place, kind = _without_kind(problem["loc"])
    location = ".".join(str(part) for part in place if not str(part).startswith(UNION_MEMBERS))
    value = problem["input"]
    if problem["type"] == "generator_kind":
        return f"generator.kind is {_shorten(repr(value['kind']))}; there are {', '.join(KINDS)}"
    if problem["type"] == "extra_forbidden":
        name = str(place[-1])
        others = [other for other, settings in KINDS.items() if kind and name in settings.model_fields]
        if others:
            return f"{location} is of kind {', '.join(others)}, and generator.kind is '{kind}'; leave it out"
        valid = list(KINDS[kind].model_fields) if kind else _fields_at(place[:-1], model)
        close = difflib.get_close_matches(name, valid, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        of_kind = f" of kind '{kind}'" if kind and kind != "spade" else ""
        return f"unknown field '{_shorten(location)}'; {hint}the fields there{of_kind} are {', '.join(valid)}"
    if problem["type"] == "missing":
        return f"field '{location}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{location}: {message}" if location else message
    if problem["type"] == "json_invalid":
        return message
    return f"{location} is {_shorten(repr(value))}: {message[:1].lower()}{message[1:]}"


def _without_kind(location: tuple[Any, ...]) -> tuple[tuple[Any, ...], str | None]:
    """A location without the kind that pydantic puts after the generator's section; and that kind, inside of it."""
    if len(location) > 1 and location[0] == "generator" and location[1] in KINDS:
        return (location[0], *location[2:]), location[1] if len(location) == 3 else None
    return location, None


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _fields_at(location: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """The names of the valid fields of the section of `model` at `location`."""
    for part in location:
        if part in model.model_fields:  # and no position in a tuple, or name of a union's member
            model = next(_models(model.model_fields[part].annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
