"""The OpenAPI document describes the routes that there are, and the answers that they give."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from pipeline.serving import answers
from pipeline.serving.app import make_app
from pipeline.serving.guard import Access
from pipeline.serving.label_maps import to_runs
from pipeline.serving.openapi import describe
from pipeline.serving.operations import OPERATIONS
from pipeline.serving.service import Service
from tests.pipeline.synthesis import cases


def test_it_has_every_route_and_no_other(service: Service, client: TestClient) -> None:
    app: Any = make_app(service, Access())
    inner = app._app
    assert isinstance(inner, Starlette)
    there = {
        (method, route.path)
        for route in inner.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    not_described = {("GET", "/"), ("GET", "/page/{name:path}"), ("GET", "/api/v1/openapi.json")}
    document = client.get("/api/v1/openapi.json").json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == described | not_described
    assert all(each["summary"] for methods in document["paths"].values() for each in methods.values())


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(describe())
    for part in text.split('"$ref": "#/')[1:]:
        place: Any = describe()
        for step in part.partition('"')[0].split("/"):
            place = place[step]
        assert place


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.answer], ids=lambda each: each.path)
def test_answers_are_as_described(client: TestClient, operation: Any, tmp_path: Any) -> None:
    scene: dict[str, Any] = {"label_map": to_runs(cases.label_map(0))}
    bodies: dict[str, dict[str, Any]] = {
        "/api/v1/styles": {"json": {"z": [1, 2, 3, 4], "name": "mine"}},
        "/api/v1/label-maps": {"content": cases.good_label()},
        "/api/v1/parquet": {"content": cases.write_maps(tmp_path / "maps.parquet", 1).read_bytes()},
        "/api/v1/marks": {"json": {**scene, "mark": "good"}},
    }
    sent = bodies[operation.path] if operation.method == "POST" else {}
    answer = client.request(operation.method, operation.path, **sent)
    assert answer.status_code == 200, answer.text
    operation.answer.model_validate_json(answer.content)
    assert answers.ErrorAnswer.model_validate_json(client.get("/nothing").content)


def test_metrics_are_counted(client: TestClient) -> None:
    scene = {"label_map": to_runs(cases.label_map(0))}
    assert client.post("/api/v1/synthesize", json=scene).status_code == 200
    assert client.post("/api/v1/synthesize", json={}).status_code == 400
    assert client.get("/nothing").status_code == 404
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'spadework_requests_total{route="/api/v1/synthesize",status="200"} 1.0',
        'spadework_requests_total{route="/api/v1/synthesize",status="400"} 1.0',
        'spadework_requests_total{route="other",status="404"} 1.0',
        'spadework_rejections_total{reason="host"} 1.0',
        'spadework_stage_seconds_count{stage="paint"} 1.0',
        "spadework_queue_length 0.0",
        "spadework_active_requests 1.0",
        "spadework_group_size_count 1.0",
    ):
        assert line in lines
