"""The recipes and studies that come with spadework: found by name wherever it is installed. Reads none of them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "configs"


def shipped_recipes() -> dict[str, Path]:
    """The files of the recipes that come with spadework, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find_recipe(given: str | Path) -> Path:
    """The file that a recipe's name or path means: what is there, else the recipe of spadework so called.

    A recipe of spadework is called by its name alone (`camvid`), or as in a checkout (`configs/camvid.yaml`). What
    means neither comes back as it is, for the reader to refuse.
    """
    return _find(Path(given), FOLDER, "configs")


def find_study(given: str | Path) -> Path:
    """The same for a study: by its name (`pictures_landscape`), or as in a checkout (`configs/studies/...`)."""
    return _find(Path(given), FOLDER / "studies", "configs/studies")


def _find(path: Path, folder: Path, in_checkout: str) -> Path:
    # A folder of a recipe's name may be its data, or be made by `demo`; a run directory is meant, after `untrained:`.
    there = path.is_file() or (path / "generator.safetensors").is_file()
    if there or str(path.parent) not in (".", in_checkout):
        return path
    if path.suffix != ".yaml" and str(path.parent) != ".":
        return path
    shipped = folder / f"{path.name.removesuffix('.yaml')}.yaml"
    return shipped if shipped.is_file() else path
