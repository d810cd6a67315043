"""What every verb of the command line says, and how much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from pipeline.command_line import Verbs
from pipeline.command_output import tell
from pipeline.runtime.json_text import jsonable
from pipeline.runtime.shown import is_progress_shown


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


def test_every_verb_takes_them() -> None:
    for name, verb in leaves(main):
        options = {option for param in verb.params for option in param.opts}
        assert {"--quiet", "--verbose", "--json"} <= options, name


@dataclass
class Found:
    share: float
    folder: Path


@click.group(cls=Verbs)
def program() -> None: ...


@program.command()
def look() -> None:
    tell("two lines\nof text", found=Found(float("nan"), Path("images")), counts=np.arange(2))


@program.command()
def stop() -> None:
    raise KeyboardInterrupt


def test_a_result_is_text_or_one_object() -> None:
    assert CliRunner().invoke(program, ["look"]).output == "two lines\nof text\n"
    found = json.loads(CliRunner().invoke(program, ["look", "--json"]).stdout)
    assert found == {"found": {"share": None, "folder": "images"}, "counts": [0, 1]}
    assert CliRunner().invoke(program, ["look"]).output == "two lines\nof text\n"  # nothing stays behind


def test_quiet_is_for_one_call() -> None:
    assert CliRunner().invoke(program, ["look", "--quiet"]).exit_code == 0
    assert not is_progress_shown()
    assert CliRunner().invoke(program, ["look"]).exit_code == 0
    assert is_progress_shown()


def test_ctrl_c_ends_in_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/spadework", "evaluate", "--title", "my pictures"])
    result = CliRunner().invoke(program, ["stop"])
    assert result.exit_code == 130
    assert result.output == "Stopped. To go on, repeat: spadework evaluate --title 'my pictures'\n"


def test_real_verbs_give_objects(tmp_path: Path) -> None:
    made = CliRunner().invoke(
        main,
        f"prepare landscape --out {tmp_path} --train 2 --validation 1 --size 32x32 --workers 1 --json".split(),
    )
    found = json.loads(made.stdout)
    assert found["folder"] == str(tmp_path)
    listed = json.loads(CliRunner().invoke(main, ["weights", "list", "--json"]).stdout)
    assert {"name", "url", "sha256"} <= listed["files"][0].keys()


def test_help_has_whole_sentences() -> None:
    text = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    assert "Keep the pictures whose scores pass every limit, and mark the regions" in " ".join(text.split())
    assert "..." not in text.partition("Commands:")[2]


def test_plain_values() -> None:
    assert jsonable({1: (np.float32(0.5), {"x"}, None, np.int64(3))}) == {"1": [0.5, ["x"], None, 3]}
