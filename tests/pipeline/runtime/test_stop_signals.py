"""Ctrl-C between two steps: the first asks, the second ends, and afterwards all is as it was."""

from __future__ import annotations

import signal
import threading

import pytest

from pipeline.runtime.stop_signals import stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_the_second_ends(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals(what="state") as stopped:
        assert not stopped.is_set()
        signal.raise_signal(number)
        assert stopped.is_set()
        assert caplog.messages == ["stopping after this step; the state is being written"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_is_not_asked_for_stays_as_it_is() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals(signals=[signal.SIGINT]):
        assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_than_the_main_one_get_none() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with stop_signals() as stopped:
            seen.append((stopped.is_set(), signal.getsignal(signal.SIGINT) == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
