"""`serve --workers 2` on a Ray of its own: the bytes of the generator, a replica that dies, and a clean end.

Skipped where Ray Serve is not installed (`pip install 'spadework[cluster]'`): the locked environment has none.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.checkpoints.file import LANDSCAPE
from pipeline.data.images import decode_image
from pipeline.serving.label_maps import to_runs
from pipeline.serving.messages import SeedStyle
from pipeline.serving.model import Draw, Model
from tests.pipeline.serving.load import ask, kill_one, processes, replicas, running_verb

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("fastapi") is None, reason="pip install 'spadework[cluster]'"),
]
PATIENCE = 300
"""Seconds after which the test gives up: a guard against hanging."""


def until_two(service: int, without: int | None = None) -> Iterator[None]:
    """Again and again, until a service has two replicas, none of them `without`."""
    limit = time.monotonic() + PATIENCE
    while len(found := set(replicas(service))) != 2 or without in found:
        assert time.monotonic() < limit, f"the replicas are still {found}"
        yield
        time.sleep(0.2)


def test_replicas_give_the_generators_pictures_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    model = Model("landscape", LANDSCAPE)
    label = np.repeat(np.array([0, 8], np.uint8), [70, 58])[:, None].repeat(128, axis=1)  # sky above grass
    codes = model.encode(*model.fit(label, None))
    (pixels,) = model.paint(codes, [Draw(SeedStyle(seed=5), "painter", 0, 0)])
    body = json.dumps({"label_map": to_runs(label), "style": {"seed": 5}}).encode()
    with running_verb(2, tmp_path) as (service, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

        def picture() -> bytes | None:
            status, data, _ = ask(connection, "POST", "/api/v1/synthesize", body)
            assert status == 200 or status >= 500, data
            return data if status == 200 else None

        first = picture()
        assert first and (decode_image(first) == pixels).all()
        for _ in until_two(service.pid):
            pass
        killed = kill_one(service.pid)
        for _ in until_two(service.pid, without=killed):
            assert picture() in (None, first), "while it is gone, the other one answers, or nobody does"
        assert picture() == first
        everyone = processes(service.pid)
    assert not [number for number in everyone if Path(f"/proc/{number}").exists()], "nothing is left behind"
