"""How long waiting threads spin."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.runtime.waiting import SPINS, bound_spinning

SAYS = """
import ctypes, sys
from click.testing import CliRunner
from cli import main
CliRunner().invoke(main, ["recipes", "list"])
assert "torch" not in sys.modules, "torch has read the environment before it was set"
ctypes.CDLL(sys.argv[1])
"""


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", environment := {"OMP_WAIT_POLICY": "active"})
    bound_spinning()
    assert environment == {"OMP_WAIT_POLICY": "active"}
    monkeypatch.setattr(os, "environ", environment := {"GOMP_SPINCOUNT": "7"})
    bound_spinning()
    assert environment == {"GOMP_SPINCOUNT": "7"}


def test_the_library_of_threads_reads_what_the_command_line_sets() -> None:
    found = importlib.util.find_spec("torch")
    assert found is not None and found.origin is not None
    library = Path(found.origin).parent / "lib" / "libgomp.so.1"
    if not library.exists():
        pytest.skip("this torch comes with another OpenMP than GNU's")
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    told = subprocess.run(
        [sys.executable, "-c", SAYS, str(library)],
        env=unset | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in told.stderr
