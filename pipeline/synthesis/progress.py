"""The live display of a batch job: rows done, images per second, time left, rejects, and where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType

from pipeline.runtime.digits import three_digits
from pipeline.runtime.progress import ProgressBar
from pipeline.synthesis.job_records import Reject
from pipeline.synthesis.worker import Report

SHOWN_STAGES = ("decode", "synthesize", "encode", "wait")


class JobProgress:
    """Counts what workers report and draws one line on stderr. A context manager."""

    def __init__(self, rows: int, finished: int, rejects: Sequence[Reject], *, quiet: bool) -> None:
        """Of `rows` in all, `finished` are of earlier runs, as are the `rejects` among them."""
        self._started: tuple[float, int] | None = None
        self._last: dict[int, tuple[int, int, Mapping[str, float]]] = {}
        """Rows and images of each shard at its last report, and the seconds while it is being worked on."""
        self.images = 0
        """Made by this run so far."""
        self._seconds: dict[str, float] = defaultdict(float)
        self.rejects: dict[tuple[str, int], Reject] = {}
        self._note(rejects)
        self._bar = ProgressBar(
            total=rows, initial=finished, unit="map", desc="synthesize", smoothing=0, mininterval=0.2,
            dynamic_ncols=True, disable=quiet,
        )  # fmt: skip

    def __enter__(self) -> JobProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds of each stage, over all shards of this run."""
        return dict(sorted(self._seconds.items()))

    def update(self, report: Report) -> None:
        """Take in a report. A shard that starts again after its worker died counts from its start again.

        Sums are kept up to date: made anew from all shards, they would take the square of the job's time.
        """
        rows, images, spent = self._last.get(report.shard, (0, 0, {}))
        step = report.rows - rows
        self.images += report.images - images
        for stage in {*spent, *report.seconds}:
            self._seconds[stage] += report.seconds.get(stage, 0.0) - spent.get(stage, 0.0)
        self._last[report.shard] = report.rows, report.images, {} if report.record else report.seconds
        self._note(report.rejects)
        if self._started is None:
            # The clock runs from here, or the start of Ray and the loading would be in the rate and the time left.
            self._bar.start_clock(self._bar.n + step)
            self._started = time.monotonic(), self.images
            step = 0
        self._bar.set_postfix_str(self._state(), refresh=False)
        self._bar.update(step)

    def restart_clock(self) -> None:
        """The rate and the time left are from the next report on: what comes first is not work, such as Ray's start."""
        self._started = None

    def _note(self, rejects: Sequence[Reject]) -> None:
        for reject in rejects:
            self.rejects[reject.source, reject.row] = reject

    def _state(self) -> str:
        seconds = self.stage_seconds
        total = sum(seconds.get(stage, 0.0) for stage in SHOWN_STAGES) or 1.0
        shares = " ".join(f"{stage} {100 * seconds.get(stage, 0.0) / total:.0f}%" for stage in SHOWN_STAGES)
        assert self._started is not None
        passed, images = time.monotonic() - self._started[0], self.images - self._started[1]
        speed = f"{three_digits(images / passed)} images/s, " if images and passed else ""
        return f"{speed}{len(self.rejects)} rejected, {shares}"
