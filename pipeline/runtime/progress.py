"""How far something is, on the error stream: a bar that is redrawn on a terminal, whole lines now and then in a log."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

from pipeline.runtime.shown import is_progress_shown

LINE_SECONDS = 15.0
"""Between lines in a log."""
_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class ProgressBar(tqdm):
    """tqdm, with its arguments; in a file or a pipe it writes lines rather than carriage returns."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        settings["disable"] = settings.get("disable", False) or not is_progress_shown()
        if not sys.stderr.isatty():
            settings |= {"file": _Lines(sys.stderr), "mininterval": LINE_SECONDS, "maxinterval": 4 * LINE_SECONDS}
            settings |= {"ascii": True, "bar_format": _LINE if settings.get("total") else None, "dynamic_ncols": False}
        super().__init__(*arguments, **settings)


class _Lines:
    """What tqdm draws on a line, as lines; without what only moves the cursor, and what was there already."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        if line and line != self._last:
            self._last = line
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()
