"""Styles by name, and marks: whose they are, and that they are found however many there are."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipeline.serving import service as service_module
from pipeline.serving.app import make_app
from pipeline.serving.guard import Access
from pipeline.serving.label_maps import to_runs
from pipeline.serving.model import Model
from pipeline.serving.saved_styles import SavedStyles
from pipeline.serving.service import Service
from tests.pipeline.serving.test_synthesis import photograph
from tests.pipeline.synthesis import cases

SCENE: dict[str, Any] = {"label_map": to_runs(cases.label_map(0))}
Z = [1.0, 0.5, -1.0, 2.0]


def test_styles_are_listed_once_and_in_a_thread(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        service.saved.save(service.models["styled"].key, f"style {number:02}", np.array(Z, np.float32))
    listed: list[str] = []
    names = SavedStyles.names

    def counted(saved: SavedStyles, checkpoint: str) -> list[str]:
        listed.append(threading.current_thread().name)
        return names(saved, checkpoint)

    monkeypatch.setattr(SavedStyles, "names", counted)
    styles = client.get("/api/v1/styles").json()["styles"]
    assert styles == [{"name": f"style {number:02}", "z": Z} for number in range(20)]
    assert len(listed) == 1 and listed[0].startswith("codec")
    assert client.post("/api/v1/synthesize", json={**SCENE, "style": {"saved": "style 07"}}).status_code == 200
    assert len(listed) == 1


@pytest.mark.parametrize("name", ["../other/mine", ".mine", "", "..", "/etc/passwd"])
def test_no_name_is_a_path(tmp_path: Path, name: str) -> None:
    saved = SavedStyles(tmp_path, most=4)
    for checkpoint in ("one", "other"):
        saved.save(checkpoint, "mine", np.array(Z, np.float32))
    (tmp_path / "styles" / "one" / ".mine.json").write_text('{"z": [1]}')
    assert saved.find("one", name) is None and saved.find("one", "mine") == Z


@pytest.mark.parametrize("style", [{"saved": "day"}, {"blend": [{"seed": 1}, {"saved": "day"}], "t": 1}])
def test_a_style_of_the_checkpoint_is_known_at_once(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch, style: dict[str, Any]
) -> None:
    monkeypatch.setattr(service_module, "mood_photographs", lambda space, size: {"day": photograph(3)})
    first = client.post("/api/v1/synthesize", json={**SCENE, "style": style})
    assert first.status_code == 200, first.text
    (day,) = client.get("/api/v1/styles").json()["styles"]
    assert day["name"] == "day"
    assert first.content == client.post("/api/v1/synthesize", json={**SCENE, "style": {"z": day["z"]}}).content
    assert client.post("/api/v1/synthesize", json={**SCENE, "style": {"saved": "dusk"}}).status_code == 404


@pytest.mark.parametrize(("name", "status"), [("\U00020000" * 64, 400), ("\U00020000" * 50, 200), ("é" * 64, 200)])
def test_names_are_as_long_as_files_may_be(client: TestClient, name: str, status: int) -> None:
    answer = client.post("/api/v1/styles", json={"z": Z, "name": name})
    assert answer.status_code == status, answer.text
    if status == 400:
        assert answer.json() == {"error": "name: the name has more than 200 bytes"}
    found = client.post("/api/v1/synthesize", json={**SCENE, "style": {"saved": name}})
    assert found.status_code == status, found.text


def test_other_weights_of_the_same_name_find_nothing(client: TestClient, service: Service, tmp_path: Path) -> None:
    assert client.post("/api/v1/styles", json={"z": Z, "name": "mine"}).status_code == 200
    assert client.post("/api/v1/marks", json={**SCENE, "mark": "good"}).json() == {"count": 1}
    others = Model("styled", cases.write_checkpoint(tmp_path / "styled", style_dim=4, encoder=True, noise=True, seed=9))
    assert others.sha256 != service.models["styled"].sha256
    other = Service([others], folder=service.folder)
    asked = TestClient(make_app(other, Access()), base_url="http://localhost", raise_server_exceptions=False)
    assert asked.get("/api/v1/styles").json() == {"styles": []}
    assert asked.post("/api/v1/synthesize", json={**SCENE, "style": {"saved": "mine"}}).status_code == 404
    assert asked.post("/api/v1/marks", json={**SCENE, "mark": "bad"}).json() == {"count": 1}
    other.close()


def test_a_key_is_a_folders_name(models: list[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    assert models[0].key == f"styled-{models[0].sha256[:16]}"
    monkeypatch.setattr(models[0], "name", "\U00020000" * 100)
    assert len(models[0].key.encode()) < 255
