"""Documents that are made from the code are those that the code makes now."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest

from cli import main
from tests.wheel.documented import commands_of

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_architecture", DOCS / "draw_architecture.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_architecture_is_that_of_the_imports(architecture: ModuleType) -> None:
    drawn = architecture.draw(architecture.find_imports())
    assert drawn == (DOCS / "architecture.svg").read_text(), "run python docs/draw_architecture.py"


def test_rooms_import_downwards_only(architecture: ModuleType) -> None:
    imports = architecture.find_imports()
    floors = architecture.find_floors(imports)  # A circle would have no floor: the recursion would not end.
    assert all(floors[room] > floors[other] for room, others in imports.items() for other in others)
    assert floors["training"] > floors["pipeline.synthesis"] > floors["pipeline.data"] > floors["pipeline.errors"]


def test_every_link_of_the_documents_leads_to_a_file() -> None:

    for page in [*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.stem)
def test_commands_of_the_documents_are_taken(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command line, where the files are there; `tests/wheel/documented.py` runs those of the README."""
    if page.stem == "experiments":
        pytest.skip("a diary, of options that were")
    for module in ("pipeline.command_line", "evaluation.command_line"):
        monkeypatch.setattr(f"{module}.check_there", lambda *_: None)
    for shown in commands_of(page.read_text()):
        line = re.sub(r"^(\w+=\S+ )+|\s+>.*", "", shown.text)
        if shown.python or not line.startswith("spadework "):
            continue
        _, *words = shlex.split(line)
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context(line, words)  # a usage error where an option does not exist
