"""How far something is, on the error stream: a bar that is redrawn on a terminal, whole lines now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sized
from typing import Any, TextIO

from tqdm import tqdm

from pipeline.runtime.digits import three_digits
from pipeline.runtime.shown import is_progress_shown

LINE_SECONDS = 15.0
"""Between lines in a log."""
_LINE = "{desc}: {n_fmt}/{total_fmt}{timing}"


class ProgressBar(tqdm):
    """tqdm, with its arguments; in a file or a pipe it writes lines rather than carriage returns."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        settings["disable"] = settings.get("disable", False) or not is_progress_shown()
        if settings.get("total") is None and arguments and isinstance(arguments[0], Sized):
            settings["total"] = len(arguments[0])
        if not sys.stderr.isatty():
            settings |= {"file": _Lines(sys.stderr), "mininterval": LINE_SECONDS, "maxinterval": 4 * LINE_SECONDS}
            settings |= {
                "ascii": True,
                "bar_format": None if settings.get("total") is None else _LINE,
                "dynamic_ncols": False,
            }
        super().__init__(*arguments, **settings)

    def start_clock(self, done: float) -> None:
        """Count `done` as there already, and the rate and the time left from now on: what came before was no work."""
        self.n = self.initial = done
        self.start_t = self.last_print_t = time.time()

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm fills its line with, and `timing`: time gone, time left and pace, once anything is done."""
        known = dict(super().format_dict)
        if "initial" not in known:  # Of a bar that shows nothing.
            return known
        done, passed = known["n"] - known["initial"], known["elapsed"]
        rate = known["rate"] or (done / passed if passed else 0)
        if not (done and rate and known["total"]):
            return known | {"timing": ""}
        unit = known["unit"].strip()
        if known["unit_scale"]:
            pace = f"{self.format_sizeof(rate)}{unit}/s"
        elif rate < 1:
            pace = f"{three_digits(1 / rate)} s/{unit.removesuffix('s')}"
        else:
            pace = f"{three_digits(rate)} {unit.removesuffix('s')}s/s"
        left = self.format_interval((known["total"] - known["n"]) / rate)
        said = f", {known['postfix']}" if known["postfix"] else ""
        return known | {"timing": f" [{self.format_interval(passed)}<{left}, {pace}{said}]"}


class _Lines:
    """What tqdm draws on a line, as lines; without what only moves the cursor, and what was there already."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        count = line.partition(" [")[0]
        done, _, total = count.rpartition(" ")[2].partition("/")
        over = done == total and count == self._last.partition(" [")[0]  # Closing repeats it, with another pace.
        if line and line != self._last and not over:
            self._last = line
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()
