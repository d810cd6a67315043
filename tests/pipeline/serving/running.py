"""A server in a thread, on a port that the machine chooses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from pipeline.serving.server import listen


@contextmanager
def running(config: uvicorn.Config) -> Iterator[int]:
    """The port, for as long as the server runs."""
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()
    listening.close()
