"""Ctrl-C as a wish that a loop grants between two steps, so that it can leave a state from which it goes on."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def stop_signals(
    *, signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM), what: str = "checkpoint"
) -> Iterator[threading.Event]:
    """An event that `signals` set; a second one of them raises `KeyboardInterrupt` at once.

    The first is answered by a line that names `what` is being written. Outside the main thread, which alone gets
    signals, the event is never set.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        log.warning("stopping after this step; the %s is being written", what)

    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
