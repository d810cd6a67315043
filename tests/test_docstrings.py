"""Public docstrings say what ruff cannot check: the user's mistakes that are refused, and the shapes of arrays."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *(path for package in ("pipeline", "training", "evaluation") for path in sorted((ROOT / package).rglob("*.py"))),
    ROOT / "cli.py",
    ROOT / "spadework.py",
]
ARRAY = re.compile(r"\b(np\.ndarray|(torch\.)?Tensor)\b")
CALLED = ("__init__", "__call__")
SHAPE = re.compile(r"`\[.*\]`|\bscalars?\b|\b(as|see|inverse of) `\w+", re.IGNORECASE)
"""A shape, or the name of the function whose shape it is."""


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Those of a module and of its public classes, but for verbs of the command line, whose docstrings are help."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        if not isinstance(node, ast.FunctionDef) or (node.name.startswith("_") and node.name not in CALLED):
            continue
        if not any(re.search(r"\.(command|group)\b", ast.unparse(each)) for each in node.decorator_list):
            yield node


def hides_an_input_error(function: ast.FunctionDef) -> bool:
    """Whether its own lines raise `InputError`, which its docstring does not name."""
    raised = (ast.unparse(node.exc) for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc)
    return any(each.startswith("InputError(") for each in raised) and "InputError" not in _docstring(function)


def hides_a_shape(function: ast.FunctionDef) -> bool:
    """Whether it returns an array whose shape its docstring does not give; those of a dict have many shapes."""
    returned = re.sub(r"dict\[.*\]", "", ast.unparse(function.returns)) if function.returns else ""
    return bool(ARRAY.search(returned)) and not SHAPE.search(_docstring(function))


def _docstring(function: ast.FunctionDef) -> str:
    return ast.get_docstring(function) or ""


@pytest.mark.parametrize("hides", [hides_an_input_error, hides_a_shape])
def test_public_docstrings(hides: Callable[[ast.FunctionDef], bool]) -> None:
    found = {path: list(public_functions(ast.parse(path.read_text()).body)) for path in FILES}
    assert sum(map(len, found.values())) > 500  # Of nothing, nothing is missing.
    bad = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path, functions in found.items()
        for function in functions
        if hides(function)
    ]
    assert not bad, "\n".join(bad)


def test_what_is_missing_is_found() -> None:
    text = '''
def load(path: Path) -> tuple[np.ndarray, str]:
    """A picture and its name."""
    raise InputError(f"{path} is missing")

def scaled(picture: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` to float32 `[H, W, 3]`; `InputError` for an empty one."""
    raise InputError("it is empty")

def _private() -> np.ndarray: ...
'''
    functions = list(public_functions(ast.parse(text).body))
    assert [(each.name, hides_an_input_error(each), hides_a_shape(each)) for each in functions] == [
        ("load", True, True),
        ("scaled", False, False),
    ]
