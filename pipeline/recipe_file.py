"""Recipes in files: read from YAML, refused in one line before any work where they are wrong, and written."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config import Recipe
from pipeline.errors import InputError


class RecipeLoader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number, which YAML 1.1 takes for text."""


RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from YAML, with `section.field=value` overrides (values are YAML too).

    Raises `InputError`, one line that names the file, the field, the value and the valid choices.
    """
    try:
        fields = yaml.load(Path(path).read_text(), RecipeLoader)
    except FileNotFoundError:
        raise InputError(f"recipe {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise InputError(f"recipe {path} must be a mapping of sections: {', '.join(Recipe.model_fields)}")
    for override in overrides:
        _apply(fields, override)
    return parse_recipe(fields, source=str(path))


def parse_recipe(fields: dict[str, Any], *, source: str) -> Recipe:
    """Validate a recipe's fields (as YAML or JSON gives them); `source` names it in errors."""
    try:
        # JSON mode keeps pydantic strict about types yet takes lists for tuples and strings for paths.
        return Recipe.model_validate_json(json.dumps(fields))
    except TypeError as error:
        raise InputError(f"{source}: {error}") from None
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors())
        raise InputError(f"{source}: {problems}") from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; `load_recipe` reads it back to an equal one."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)


def _apply(fields: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: write section.field=value, such as training.steps=1000")
    try:
        value = yaml.load(text, RecipeLoader)
    except yaml.YAMLError:
        raise InputError(f"--set {override}: '{text}' is not a valid YAML value") from None
    section = fields
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise InputError(f"--set {override}: '{key}' is a single value, not a section")
    section[keys[-1]] = value


def _explain(problem: Any) -> str:
    """One validation problem as `field: what is wrong, with the value and the valid choices`."""
    # Positions inside tuples stay; the names of union members that pydantic adds are of no use to a reader.
    location = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("constrained", "tuple")))
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        valid = _fields_at(problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), valid, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        return f"unknown field '{location}'; {hint}the fields there are {', '.join(valid)}"
    if problem["type"] == "missing":
        return f"field '{location}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{location}: {message}" if location else message
    return f"{location} is {value!r}: {message[:1].lower()}{message[1:]}"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """The names of the valid fields of the section at `location`."""
    model: Any = Recipe
    for part in location:
        annotation = model.model_fields[part].annotation
        options = get_args(annotation) if get_origin(annotation) is Union else (annotation,)
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)
