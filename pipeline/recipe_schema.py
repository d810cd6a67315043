"""The JSON schema of recipes, made from their typed settings; the docstring of each field is its description."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel

from pipeline.config import Recipe
from pipeline.label_sets import LABEL_SETS


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe's YAML (JSON Schema, draft 2020-12).

    It knows fields, types, ranges and choices; what fields must be to one another is checked when a recipe is read.
    """
    schema = Recipe.model_json_schema()
    for model in _models(Recipe):
        section = schema if model is Recipe else schema["$defs"].get(model.__name__)
        for name, text in _docstrings(model).items():
            if section and name in section["properties"]:
                section["properties"][name]["description"] = text
    for section in schema["$defs"].values():  # A generator without a kind is of SPADE alone.
        if section.get("properties", {}).get("kind", {}).get("const", "spade") != "spade":
            section["required"] = [*section.get("required", ()), "kind"]
    spelled = schema["properties"]["labels"]
    schema["properties"]["labels"] = {
        "description": spelled.pop("description", ""),
        "anyOf": [{"enum": list(LABEL_SETS)}, {"$ref": "#/$defs/LabelSpace"}],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "spadework recipe", **schema}


def _models(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> Iterator[type[BaseModel]]:
    """A settings class and those of its sections, each once."""
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for found in _inside(field.annotation, *field.metadata):
            yield from _models(found, seen)


def _inside(*annotations: Any) -> Iterator[type[BaseModel]]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        yield from _inside(*get_args(annotation))


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field of a class, those of its bases included, on one line."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(base)))
        assert isinstance(tree.body[0], ast.ClassDef)
        body = tree.body[0].body
        for field, text in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[field.target.id] = " ".join(text.value.value.split())
    return found
