"""Work in stages that overlap: ordered, bounded maps over threads, and a clock for each stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """`map` in threads: results in order, and at most `ahead` of them begun beyond the one that is asked for.

    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(in_order(pool, str.upper, "spade", ahead=3))
    ['S', 'P', 'A', 'D', 'E']
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


class StageClock:
    """Seconds spent in each stage, summed over its threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """A `with` block whose time belongs to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def timed(self, stage: str, function: Callable[[Item], Result]) -> Callable[[Item], Result]:
        """The function, its time added to a stage."""

        def call(item: Item) -> Result:
            with self(stage):
                return function(item)

        return call

    def waiting(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, the time spent waiting for them added to a stage."""
        iterator, end = iter(items), object()
        while True:
            with self(stage):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]
