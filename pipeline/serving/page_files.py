"""The page's files, as they ship with the package."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "page"


def page_files() -> dict[str, Path]:
    """All files of the page by their names in addresses: what is not here cannot be asked for."""
    return {path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.is_file()}
