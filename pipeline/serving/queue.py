"""The one thread that computes, and the bounded queue before it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from pipeline.serving.refusal import Refusal


class Abandoned(Exception):
    """Nobody waits any more for what the thread computes."""


@dataclass(eq=False)
class Task:
    """Work for the thread: tasks of the same `group` are done by one call of the first one's `run`, and one by one
    where that fails."""

    group: Hashable
    item: Any
    run: Callable[[Sequence[Any]], Sequence[Any]]
    """Items to results, in their order."""
    future: Future[Any] = field(default_factory=Future)
    submitted: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    finished: float = 0.0
    abandoned: bool = False
    """Set by whoever waited for it and does not any more."""


class WorkQueue:
    """Tasks in the order in which they come, but that those of one group, such as a label map, are done together."""

    def __init__(
        self, *, max_waiting: int, max_group: int, watch: Callable[[str, float], None] = lambda name, value: None
    ) -> None:
        """`watch` is told `group` (tasks done together) and `waiting` (tasks in the queue) as they change."""
        self._max_waiting, self._max_group, self._watch = max_waiting, max_group, watch
        self._waiting: deque[Task] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._at_hand: list[Task] = []
        self._seconds = 0.05
        """That a task takes, of late."""
        self._thread = threading.Thread(target=self._work, name="generator", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread takes tasks."""
        return self._thread.is_alive() and not self._closed

    def submit(self, task: Task) -> None:
        """Put a task in; its future has the result. Raises `Refusal` (503) where too many wait."""
        with self._ready:
            if self._closed:
                raise Refusal(503, "the service is shutting down; try again later", retry_after=5, reason="shutdown")
            if len(self._waiting) >= self._max_waiting:
                # What waits for nothing any more, since its client is gone, makes room.
                self._waiting = deque(each for each in self._waiting if not each.future.cancelled())
            if len(self._waiting) >= self._max_waiting:
                wait = max(1, math.ceil(len(self._waiting) * self._seconds))
                raise Refusal(
                    503, f"{len(self._waiting)} pictures are waiting already; try again later", retry_after=wait,
                    reason="queue full",
                )  # fmt: skip
            self._waiting.append(task)
            self._watch("waiting", len(self._waiting))
            self._ready.notify()

    def check(self) -> None:
        """Raise `Abandoned` where all tasks at hand are; work that takes long calls this between its parts."""
        if self._at_hand and all(task.abandoned for task in self._at_hand):
            raise Abandoned

    def close(self) -> None:
        """Finish what is at hand, refuse the rest, and end the thread."""
        with self._ready:
            self._closed = True
            for task in self._waiting:
                task.future.cancel()
            self._waiting.clear()
            self._ready.notify()
        self._thread.join()

    def _work(self) -> None:
        while group := self._next_group():
            started = time.perf_counter()
            for task in group:
                task.started = started
            if not self._do(group) and len(group) > 1:
                for task in group:  # so that one that cannot be done does not fail those beside it
                    self._do([task])
            self._seconds = 0.9 * self._seconds + 0.1 * (time.perf_counter() - started) / len(group)
            self._watch("group", len(group))

    def _do(self, group: list[Task]) -> bool:
        """Whether tasks could be done. One alone that could not is given its error."""
        self._at_hand = group
        try:
            done = list(zip(group, group[0].run([task.item for task in group]), strict=True))
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for it
            if len(group) == 1:
                group[0].finished = time.perf_counter()
                group[0].future.set_exception(error)
            return False
        finished = time.perf_counter()
        for task, result in done:
            task.finished = finished
            task.future.set_result(result)
        return True

    def _next_group(self) -> list[Task]:
        """The oldest task and others of its group; empty at the end."""
        with self._ready:
            while True:
                while not (self._waiting or self._closed):
                    self._ready.wait()
                if not self._waiting:
                    return []
                first = self._waiting[0].group
                group: list[Task] = []
                rest: deque[Task] = deque()
                for task in self._waiting:
                    if task.group != first or len(group) == self._max_group:
                        rest.append(task)
                    elif task.future.set_running_or_notify_cancel():
                        group.append(task)
                self._waiting = rest
                self._watch("waiting", len(rest))
                if group:
                    return group
