"""Connections on which no request comes, or no answer is read, are closed; others are not."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.serving.limits import Limits
from pipeline.serving.server import server_config
from tests.pipeline.serving.running import running

SECONDS = 0.5
LARGE = 32 << 20
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Reads no body, and answers `/slow` after more than the limit, `/large` with more than sockets hold."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SECONDS)
    body = bytes(LARGE) if scope["path"] == "/large" else b"ok"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a service that waits half a second for a request."""
    with running(server_config(slow, Limits(head_seconds=SECONDS))) as port:
        yield port


def until_closed(connection: socket.socket, trickle: bytes = b"") -> float:
    """Seconds until the service closes, while a byte goes to it every now and then."""
    began = time.monotonic()
    connection.settimeout(SECONDS / 5)
    while time.monotonic() - began < 20 * SECONDS:
        try:
            if trickle:
                connection.sendall(trickle)
            if not connection.recv(100):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("sent", "trickle"),
    [(b"", b""), (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"), (HEAD, b" ")],
    ids=["silent", "slow head", "slow rest of an answered body"],
)
def test_who_asks_nothing_is_not_waited_for(port: int, sent: bytes, trickle: bytes) -> None:
    sent = sent.replace(b"Length: 4", b"Length: 4000")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        assert SECONDS / 2 < until_closed(connection, trickle) < 10 * SECONDS


def test_who_reads_nothing_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gone = select.poll()
        gone.register(connection, 0)  # nothing but the end of the connection
        assert gone.poll(1000 * 60 * SECONDS)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 20):
                received += len(data)
        assert received < LARGE


def test_who_asks_is(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for path in (b"/slow", b"/", b"/slow"):
            connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(1.5 * SECONDS)  # quiet between requests: kept alive
