"""Pictures over HTTP are those of `synthesize`, byte for byte."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

import spadework
from pipeline.data.images import encode_png
from pipeline.serving.label_maps import to_runs
from tests.pipeline.synthesis import cases

LABEL = cases.label_map(0, height=40, width=48)
RUNS = to_runs(LABEL)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def photograph(seed: int = 0) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8))


def picture(client: TestClient, **fields: Any) -> bytes:
    answer = client.post("/api/v1/synthesize", json={"label_map": RUNS, **fields})
    assert answer.status_code == 200, answer.text
    return answer.content


def synthesized(folder: Path, maps: Path, **options: Any) -> list[bytes]:
    """What the verb `synthesize` makes, in this process."""
    spadework.synthesize_dataset(maps, out=folder, workers=0, quiet=True, **options)
    rows = pq.read_table(sorted(folder.glob("*.parquet")), columns=["image"]).to_pylist()
    return [row["image"]["bytes"] for row in rows]


@pytest.mark.parametrize("picture_format", ["png", "webp", "jpeg"])
def test_the_bytes_are_those_of_the_verb(client: TestClient, styled: Path, tmp_path: Path, picture_format: Any) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 2, height=40, width=48)
    made = synthesized(tmp_path / "images", maps, checkpoint=styled, samples=3, seed=7, format=picture_format)
    for row in range(2):
        label = to_runs(cases.label_map(row, height=40, width=48))
        for sample in range(3):
            fields = {"id": f"map/{row}", "style": {"seed": 7}, "sample": sample, "format": picture_format}
            assert picture(client, **fields, label_map=label) == made[3 * row + sample]
    assert len(set(made)) == 6


def test_the_bytes_with_a_photographs_style_are_those_of_the_verb(
    client: TestClient, styled: Path, tmp_path: Path
) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 1, height=40, width=48)
    (tmp_path / "style.png").write_bytes(photograph())
    (made,) = synthesized(tmp_path / "images", maps, checkpoint=styled, seed=3, style=tmp_path / "style.png")
    given = {"photograph": encoded(photograph())}
    assert picture(client, id="map/0", seed=3, style=given) == made
    z = client.post("/api/v1/styles", json={"photograph": encoded(photograph())}).json()["z"]
    assert picture(client, id="map/0", seed=3, style={"z": z}) == made


def test_the_bytes_with_instances_are_those_of_the_verb(client: TestClient, plain: Path, tmp_path: Path) -> None:
    maps = cases.write_maps(tmp_path / "maps.parquet", 1, height=40, width=48)  # whose instances are label + 1
    (made,) = synthesized(tmp_path / "images", maps, checkpoint=plain)
    given = {"checkpoint": "plain", "id": "map/0", "instance_map": to_runs(LABEL + 1)}
    assert picture(client, **given) == made
    assert picture(client, checkpoint="plain", id="map/0") != made  # without objects


def test_all_forms_of_a_label_map_are_one(client: TestClient, models: list[Any]) -> None:
    colours = np.zeros((*LABEL.shape, 3), np.uint8)
    for number, colour in enumerate(models[0].space.palette):
        colours[number == LABEL] = colour  # don't-care is black
    indexed = Image.fromarray(LABEL)
    indexed.putpalette([value for colour in models[0].space.palette for value in colour] + [0] * 3 * 252)
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG")
    expected = picture(client)
    for data in (encode_png(LABEL), encode_png(colours), buffer.getvalue()):
        assert picture(client, label_map={"png": encoded(data)}) == expected
    wrapped = base64.encodebytes(encode_png(colours)).decode()
    assert wrapped.count("\n") > 1 and picture(client, label_map={"png": wrapped}) == expected
    form = {"style": json.dumps({"seed": 0}), "sample": "0", "id": "painter", "seed": "0", "format": "png"}
    answer = client.post("/api/v1/synthesize", files={"label_map": encode_png(LABEL)}, data=form)
    assert answer.content == expected


def test_what_an_answer_says_of_itself(client: TestClient) -> None:
    answer = client.post("/api/v1/synthesize", json={"label_map": RUNS, "format": "webp"})
    assert Image.open(io.BytesIO(answer.content)).size == (32, 32)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/webp", "no-store")
    stages = re.findall(r"(\w+);dur=(\d+\.\d\d)", answer.headers["server-timing"])
    assert {name for name, _ in stages} == {"decode", "queue", "paint", "encode"}


def test_styles_are_blended_and_saved(client: TestClient) -> None:
    one, two = [1.0, 0.5, -1.0, 2.0], [0.0, 1.5, 1.0, 2.0]
    blend = {"blend": [{"z": one}, {"z": two}], "t": 0.25}
    between = [0.75 * first + 0.25 * second for first, second in zip(one, two, strict=True)]
    assert picture(client, style=blend) == picture(client, style={"z": between})
    drawn = {"blend": [{"seed": 1}, {"z": two}], "t": 0}
    assert picture(client, style=drawn, seed=1) == picture(client, style={"seed": 1})
    answer = client.post("/api/v1/styles", json={"z": one, "name": "evening (2)"})
    assert answer.json() == {"z": one}
    assert client.get("/api/v1/styles").json() == {"styles": [{"name": "evening (2)", "z": one}]}
    assert picture(client, style={"saved": "evening (2)"}) == picture(client, style={"z": one})
    assert client.get("/api/v1/styles?checkpoint=plain").json() == {"styles": []}


def test_seeds_ids_and_samples_differ(client: TestClient) -> None:
    ways: list[dict[str, Any]] = [{}, {"seed": 1}, {"id": "other"}, {"sample": 1}]
    assert len({picture(client, **way) for way in ways}) == 4
    assert picture(client, style={"seed": 1}) == picture(client, seed=1)
