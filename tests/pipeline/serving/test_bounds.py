"""What one client may hold: time, places in the queue, memory; and that the rest is told when to come again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.serving.app import make_app
from pipeline.serving.guard import Access
from pipeline.serving.label_maps import to_runs
from pipeline.serving.limits import Limits
from pipeline.serving.messages import SynthesisMessage
from pipeline.serving.model import Model
from pipeline.serving.service import Service, Timing
from tests.pipeline.synthesis import cases

Receive = Callable[[], Awaitable[dict[str, Any]]]
SCENE = json.dumps({"label_map": to_runs(cases.label_map(0))}).encode()


class Held:
    """A service whose generator waits until it is let go."""

    def __init__(self, models: list[Model], folder: Path, monkeypatch: pytest.MonkeyPatch, **bounds: Any) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        paint = Model.paint_with_styles

        def held(model: Model, *given: Any) -> Any:
            self.begun.release()
            assert self.go.acquire(timeout=60)
            return paint(model, *given)

        monkeypatch.setattr(Model, "paint_with_styles", held)
        self.service = Service(models, folder=folder, limits=replace(Limits(), **bounds))
        self.app = make_app(self.service, Access())

    async def ask(self, receive: Receive | None = None, body: bytes = SCENE) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a synthesis."""
        sent: list[dict[str, Any]] = []
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def whole() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": "/api/v1/synthesize", "raw_path": b"/api/v1/synthesize",
            "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        await self.app(scope, receive or whole, send)  # type: ignore[arg-type]
        first = {name.decode(): value.decode() for name, value in sent[0]["headers"]} if sent else {}
        return (sent[0]["status"] if sent else 0), first, b"".join(each.get("body", b"") for each in sent[1:])


def maps(count: int) -> list[bytes]:
    return [json.dumps({"label_map": to_runs(cases.label_map(index))}).encode() for index in range(count)]


def test_a_full_queue_answers_503(models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(models, tmp_path, monkeypatch, max_queue=2)

    async def ask_four() -> list[Any]:
        first, *others = maps(4)
        asked = [asyncio.ensure_future(held.ask(body=first))]
        assert await asyncio.to_thread(held.begun.acquire, timeout=60)
        asked += [asyncio.ensure_future(held.ask(body=body)) for body in others]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)  # the one that found no place
        for _ in range(3):
            held.go.release()
        assert len(done) == 1
        return await asyncio.gather(*asked)

    answers = asyncio.run(ask_four())
    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 503]
    (refused,) = [answer for answer in answers if answer[0] == 503]
    assert int(refused[1]["retry-after"]) >= 1
    assert json.loads(refused[2]) == {"error": "2 pictures are waiting already; try again later"}
    assert 'rejections_total{reason="queue full"} 1.0' in held.service.metrics.text().decode()
    held.service.close()


def test_too_many_requests_and_too_many_bytes(
    models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(models, tmp_path, monkeypatch, max_requests=1, max_held_bytes=len(SCENE))

    async def ask_twice() -> tuple[Any, Any]:
        first = asyncio.ensure_future(held.ask())
        assert await asyncio.to_thread(held.begun.acquire, timeout=60)
        second = await held.ask()
        held.go.release()
        return await first, second

    first, second = asyncio.run(ask_twice())
    assert (first[0], second[0], second[1]["retry-after"]) == (200, 503, "1")
    held.service.close()
    held = Held(models, tmp_path, monkeypatch, max_held_bytes=len(SCENE) - 1)
    status, headers, body = asyncio.run(held.ask())
    assert (status, headers["retry-after"]) == (503, "2") and b"too much is being sent" in body
    held.service.close()


def test_a_client_that_goes_leaves_the_queue(
    models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(models, tmp_path, monkeypatch)

    async def go() -> Any:
        first, second = maps(2)
        asked = asyncio.ensure_future(held.ask(body=first))
        assert await asyncio.to_thread(held.begun.acquire, timeout=60)
        messages = [{"type": "http.request", "body": second}, {"type": "http.disconnect"}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        gone = await held.ask(receive)
        while not all(task.future.cancelled() for task in held.service.queue._waiting):
            await asyncio.sleep(0.01)  # the loop tells the queue in one of its next turns
        held.go.release()
        return gone, await asked

    gone, asked = asyncio.run(go())
    assert (gone[0], asked[0]) == (499, 200)
    held.service.close()
    assert not held.begun.acquire(blocking=False)  # the generator never saw it
    assert "spadework_abandoned_total 1.0" in held.service.metrics.text().decode()


def test_a_client_that_goes_ends_its_picture(models: list[Model], tmp_path: Path) -> None:
    service = Service(models, folder=tmp_path)
    begun, go, layers = threading.Event(), threading.Event(), []

    def check() -> None:
        layers.append(1)
        begun.set()
        assert go.wait(60)
        service.queue.check()

    models[0].check = check
    scene = service.decode(SynthesisMessage.model_validate_json(SCENE))

    async def go_away() -> None:
        asked = asyncio.ensure_future(service.paint(scene, Timing()))
        assert await asyncio.to_thread(begun.wait, 60)
        asked.cancel()
        await asyncio.wait([asked])
        go.set()

    asyncio.run(go_away())
    service.close()
    assert len(layers) == 1, "the first layer was not even begun"
    assert "spadework_abandoned_total 1.0" in service.metrics.text().decode()


def test_slow_bodies_and_slow_answers(models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(models, tmp_path, monkeypatch, body_seconds=0.1)

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    status, _, body = asyncio.run(held.ask(never))
    assert status == 408 and b"the body did not come within 0.1 s" in body
    held.go.release()
    held.service.close()
    held = Held(models, tmp_path, monkeypatch, answer_seconds=0.1)
    status, headers, body = asyncio.run(held.ask())
    assert (status, headers["retry-after"]) == (503, "5") and b"this took more than 0.1 s" in body
    held.go.release()
    held.service.close()
