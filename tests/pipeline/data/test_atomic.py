"""Files that appear whole, or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.data.atomic import atomic_path, temporary_name, write_atomic


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    for content in ("one", "zwölf", b"\xff"):
        write_atomic(target, content)
        assert target.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(target.parent.iterdir()) == [target]


def fail_half_way(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError("full")


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomic(target, "old")
    with pytest.raises(OSError, match="full"):
        fail_half_way(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".a.txt.{dead.pid}.tmp").write_text("half")
    (tmp_path / f".images.{dead.pid}.tmp").mkdir()
    (tmp_path / f".images.{dead.pid}.tmp" / "part-00000.parquet").write_text("half")
    living = tmp_path / f".a.txt.{os.getppid()}.tmp"
    living.write_text("being written")
    (tmp_path / ".b.txt.1234567.tmp").write_text("of another file")
    write_atomic(tmp_path / "a.txt", "new")
    assert temporary_name(tmp_path / "images") == tmp_path / f".images.{os.getpid()}.tmp"
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", living.name, ".b.txt.1234567.tmp"}
