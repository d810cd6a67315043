"""What cannot be used is refused in one sentence, before it costs memory or time."""

from __future__ import annotations

import base64
import struct
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from pipeline.data.images import encode_png
from pipeline.serving.app import make_app
from pipeline.serving.guard import Access
from pipeline.serving.limits import Limits
from pipeline.serving.messages import Runs
from pipeline.serving.model import Model
from pipeline.serving.service import Service

RUNS = {"width": 4, "height": 2, "runs": [[0, 8]]}
SYNTHESIZE = "/api/v1/synthesize"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header says so, and whose pixels, of some hundred bytes, would fill that: a bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"checkpoint": "other"}, 404, "there is no checkpoint 'other'; there are styled, plain"),
        ({"label_map": {"width": 4, "height": 2, "runs": [[0, 7]]}}, 400, "the runs of the label map have 7 pixels"),
        ({"label_map": {"width": 4, "height": 2, "runs": [[0, 8, 1]]}}, 400, "label_map.runs.runs.0: "),
        ({"label_map": {"width": 4, "height": 2, "runs": [[0.5, 8]]}}, 400, "label_map.runs.runs.0.0: "),
        ({"label_map": {"width": 4, "height": 2, "runs": [[0, 2**62]] * 4}}, 400, "label_map.runs.runs.0.1: "),
        ({"label_map": {"width": 4, "height": 2, "runs": [[0, -8]]}}, 400, "label_map.runs.runs.0.1: "),
        ({"label_map": {"width": 60000, "height": 60000, "runs": [[0, 8]]}}, 413, "the label map is 60000x60000"),
        ({"label_map": {"width": 4, "height": 2, "runs": [[7, 8]]}}, 400, "the label map has id 7"),
        ({"label_map": {"png": "bm8gcGljdHVyZQ=="}}, 400, "the label map cannot be decoded"),
        ({"label_map": {"png": "no base64!"}}, 400, "label_map.png.png: this is no base64 ("),
        ({"label_map": {"png": "data:image/png;base64,bm8="}}, 400, "label_map.png.png: this is no base64 ("),
        ({"label_map": {"png": "bm8gc"}}, 400, "label_map.png.png: this is no base64 ("),
        ({"label_map": {"png": "bm8é"}}, 400, "label_map.png.png: this is no base64 ("),
        ({"style": {"photograph": "bm8=?"}}, 400, "style.photograph.photograph: this is no base64 ("),
        ({"label_map": {"png": encoded(png_of_size(20000, 20000))}}, 413, "the label map is 20000x20000"),
        ({"label_map": {"png": encoded(png_of_size(2**30, 2**30))}}, 400, "the label map has"),
        ({"label_map": {"png": encoded(png_of_size(1000, 1000))}}, 400, "the label map cannot be decoded"),
        ({"label_map": [[0, 8]]}, 400, "label_map"),
        ({"label_map": None}, 400, "label_map"),
        ({"instance_map": {"width": 2, "height": 4, "runs": [[0, 8]]}}, 400, "the instance map is 2x4 but its label"),
        ({"style": {"z": [1.0]}}, 400, "the style has 1 numbers; checkpoint 'styled' takes 4"),
        ({"style": {"z": [1e30] * 4}}, 400, "style.z.z.0: "),
        ({"style": {"seed": -1}}, 400, "style.seed.seed: "),
        ({"style": {"seed": 2**63}}, 400, "style.seed.seed: "),
        ({"style": {"seed": 1, "z": [0, 0, 0, 0]}}, 400, "style.seed.z: "),
        ({"style": {"saved": "none"}}, 404, "checkpoint 'styled' has no saved style 'none'"),
        ({"style": {"saved": "../../secret"}}, 400, "style.saved.saved: "),
        ({"style": {"photograph": encoded(b"no picture")}}, 400, "the photograph cannot be decoded"),
        ({"style": {"photograph": encoded(png_of_size(20000, 20000))}}, 413, "the photograph is 20000x20000"),
        ({"style": {"z": [0, 0, 0, 0]}, "checkpoint": "plain"}, 400, "checkpoint 'plain' takes no style"),
        ({"sample": 64}, 400, "sample is 64; take 0 to 63"),
        ({"sample": -1}, 400, "sample: "),
        ({"id": ""}, 400, "id: "),
        ({"format": "gif"}, 400, "format: "),
        ({"colour": 1}, 400, "colour: "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_bad_fields(client: TestClient, fields: dict[str, Any], status: int, told: str) -> None:
    answer = client.post(SYNTHESIZE, json={"label_map": RUNS, **fields})
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert answer.json()["error"].startswith(told), answer.text
    assert "\n" not in answer.json()["error"] and len(answer.json()["error"]) < 400


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"label_map":' * 5000, "application/json", 400),
        (b'{"id": "\\ud800", "label_map": {"width": 1, "height": 1, "runs": [[0, 1]]}}', "application/json", 400),
        (b"label", "text/plain", 415),
        (b"label", "multipart/form-data", 400),
        (b"label", "multipart/form-data; boundary=x", 400),
        (
            b'--x\r\nContent-Disposition: form-data; name="evil"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            400,
        ),
    ],
    ids=["empty", "half", "latin", "deep list", "deep object", "surrogate", "text", "no boundary", "no part", "field"],
)
def test_bad_bodies(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post(SYNTHESIZE, content=body, headers={"content-type": kind})
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text


def test_blends_are_bounded(client: TestClient) -> None:
    style: dict[str, Any] = {"seed": 0}
    for _ in range(4):
        style = {"blend": [style, style]}
    assert client.post(SYNTHESIZE, json={"label_map": RUNS, "style": style}).status_code == 200
    style = {"blend": [style, {"seed": 1}]}
    answer = client.post(SYNTHESIZE, json={"label_map": RUNS, "style": style})
    assert answer.status_code == 400 and "nested more than 4 deep" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/synthesize", 405),
        ("DELETE", "/api/v1/marks", 405),
        ("GET", "/page/../app.py", 404),
        ("GET", "/page/..%2fapp.py", 404),
        ("GET", "/page//etc/passwd", 404),
        ("GET", "/api/v1/styles?checkpoint=../..", 404),
        ("POST", "/api/v1/parquet?row=-1", 400),
        ("POST", "/api/v1/parquet?row=1e9", 400),
    ],
)
def test_bad_addresses(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text


def test_a_method_that_an_address_does_not_take_is_told_all_that_it_takes(client: TestClient) -> None:
    for path, expected in (("marks", {"GET", "HEAD", "POST"}), ("synthesize", {"POST"})):
        assert set(client.delete(f"/api/v1/{path}").headers["Allow"].split(", ")) == expected


def limited(models: list[Model], folder: Path, **bounds: Any) -> tuple[Service, TestClient]:
    service = Service(models, folder=folder, limits=replace(Limits(), **bounds))
    return service, TestClient(make_app(service, Access()), base_url="http://localhost", raise_server_exceptions=False)


def test_large_bodies_are_refused_unread(models: list[Model], tmp_path: Path) -> None:
    service, client = limited(models, tmp_path, max_body_bytes=1000)
    assert client.post("/api/v1/label-maps", content=encode_png(np.zeros((4, 4), np.uint8))).status_code == 200
    answer = client.post("/api/v1/label-maps", content=bytes(1001))
    assert (answer.status_code, answer.json()["error"]) == (413, "the body has more than 1000 bytes; send less")
    answer = client.post("/api/v1/label-maps", content=iter([bytes(600), bytes(600)]))  # of no stated length
    assert answer.status_code == 413
    service.close()


@pytest.mark.parametrize(
    "start", ['{"label_map": {"width": 2048, "height": 2048, "runs": [[0,1]', '{"style": {"z": [0']
)
def test_many_values_are_refused_before_they_are_read(client: TestClient, start: str) -> None:
    body = (start + ",[0,1]" * 400_000).encode()  # 2.4 MB, without an end: whoever reads it answers 400
    began = time.monotonic()
    tracemalloc.start()
    answer = client.post(SYNTHESIZE, content=body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (answer.status_code, list(answer.json())) == (413, ["error"]), answer.text
    assert answer.json()["error"].startswith(
        "the body has more than 524288 numbers; send label maps of many runs as PN"
    )
    assert peak < 8 * len(body) and time.monotonic() - began < 10


def test_one_of_many_wrong_runs_is_told(client: TestClient) -> None:
    runs = {"width": 2048, "height": 2048, "runs": [[0]] * 100_000}
    with pytest.raises(ValidationError) as wrong:
        Runs.model_validate(runs)
    assert wrong.value.error_count() == 1
    assert client.post(SYNTHESIZE, json={"label_map": runs}).status_code == 400


def test_a_form_of_many_parts_is_refused(client: TestClient) -> None:
    answer = client.post(SYNTHESIZE, files=[("label_map", b"x")] * 50)
    assert answer.status_code == 400 and "error" in answer.json()


def test_a_defect_is_told_without_its_traceback(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(type(service.models["styled"]), "paint_with_styles", fail)
    answer = client.post(SYNTHESIZE, json={"label_map": RUNS})
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong in the service; its log says what"}
