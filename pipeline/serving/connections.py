"""Connections on which no request comes, or no answer is read: closed, as each holds a place that others want."""

from __future__ import annotations

import asyncio
import socket
import struct

from uvicorn.protocols.http.h11_impl import H11Protocol

NO_LINGER = struct.pack("ii", 1, 0)
"""`struct linger` of a socket that is reset when it is closed."""


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, but that a client has so many seconds to send the head of a request, however slowly its bytes
    come, or what is left of a body that was answered already.

    They count from the beginning of a connection, and from the first byte after an answer; until that byte comes it is
    `timeout_keep_alive` that bounds the wait. A client that reads nothing of what is sent to it for as long, or at most
    twice as long, is cut off: to close its connection would wait for it.
    """

    class Impatient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _look: asyncio.TimerHandle | None = None
        _unread = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of uvicorn
            super().connection_made(transport)
            self._watch()
            self._look = self.loop.call_later(seconds, self._look_for_a_reader)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()
            if self._look is not None:
                self._look.cancel()

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

        def _look_for_a_reader(self) -> None:
            unread = self.transport.get_write_buffer_size()
            if unread and unread == self._unread:
                # At once, without what the kernel still holds for it.
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                self.transport.abort()
                return
            self._unread = unread
            self._look = self.loop.call_later(seconds, self._look_for_a_reader)

    return Impatient
