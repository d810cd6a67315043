"""JSON: what others wrote, or was damaged since, and what we write."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def read_json(text: str | bytes) -> Any:
    """What a text means; `ValueError` for anything else, also for brackets too deep for Python to follow."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def jsonable(value: Any) -> Any:
    """The value as `json` takes it: of dataclasses, pydantic models and arrays what they hold, of others their text.

    JSON has no infinity: None stands for numbers that are not finite.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "model_dump"):
        return jsonable(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        return jsonable(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    return str(value)
