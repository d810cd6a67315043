"""Small text files that users write: read whole, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import InputError


def read_text(path: Path, kind: str) -> str:
    """The text of a file, which errors call `kind`; `InputError` where it is missing or no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before it
    except FileNotFoundError:
        raise InputError(f"{kind} {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} cannot be read: {error}") from None


def read_lines(path: Path, kind: str) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, stripped; empty ones and comments (#) are left out.

    Raises `InputError` as `read_text`.
    """
    for number, line in enumerate(read_text(path, kind).splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()
