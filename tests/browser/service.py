"""The real service as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def running_service(folder: Path, *options: str, checkpoints: Sequence[str] = ()) -> Iterator[str]:
    """`spadework serve` on a free port, with one thread for its arithmetic; gives the address, and ends it."""
    command = [sys.executable, "cli.py", "serve", "--port", "0", "--folder", str(folder), *options]
    for each in checkpoints:
        command += ["--checkpoint", each]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = (re.search(r"http://[\w.:]+/", line) for line in process.stdout)
            address = next((found.group() for found in said if found), None)
            assert address, f"serve ended with {process.wait()} before it said its address"
            yield address
        finally:
            process.terminate()
