"""schemathesis against the service, by its own description: minutes, by hand, where schemathesis is installed.

    pip install schemathesis
    python -m tests.pipeline.serving.schemathesis_run --max-examples 100

It is no dependency: it brings forty packages. What it checks is in `test_fuzz.py` too, in seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.browser.service import running_service

LEFT_OUT = (
    # A request that the description does not allow may still be answered: a seed as "5" in a form, say.
    "negative_data_rejection",
    # And one that it allows may be refused: runs that do not fill their map, ids beyond the classes, no such style.
    "positive_data_acceptance",
)
HOOKS = """
import schemathesis

@schemathesis.serializer("application/vnd.apache.parquet")
def any_bytes(context, value):
    return value if isinstance(value, bytes) else repr(value).encode()
"""
"""Bodies of kinds that schemathesis does not know."""


def main() -> None:
    """Exits as schemathesis does; arguments are passed on to it."""
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder)) as address:
        command = ["schemathesis", "run", f"{address}api/v1/openapi.json", "--checks", "all"]
        command += ["--exclude-checks", ",".join(LEFT_OUT), *sys.argv[1:]]
        Path(folder, "service_hooks.py").write_text(HOOKS)
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "service_hooks", "PYTHONPATH": folder}
        sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
