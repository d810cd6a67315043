"""Connections on which no request comes: closed, as each holds a place that others want."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, but that a client has so many seconds to send the head of a request, however slowly its bytes
    come, or what is left of a body that was answered already.

    They count from the beginning of a connection, and from the first byte after an answer; until that byte comes it is
    `timeout_keep_alive` that bounds the wait.
    """

    class Impatient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of uvicorn
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()

        @property
        def _asks(self) -> bool:
            """Whether a request is being answered."""
            return self.cycle is not None and not self.cycle.response_complete

        def _watch(self) -> None:
            if self._asks or self.transport.is_closing():
                self._forget()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self._end)

        def _forget(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _end(self) -> None:
            self._deadline = None
            if not self._asks:
                self.transport.close()

    return Impatient
