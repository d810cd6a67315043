"""Data at URIs: every verb reads there what it reads here, with the same result, and an evaluation opens a file once.

The object store is fsspec's memory, and an S3 server on this machine (moto) where that is installed:
`pip install "moto[s3]" flask flask-cors`.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem

from cli import main
from evaluation.evaluate import evaluate
from evaluation.filter import filter_pictures
from pipeline.checkpoints.file import load_checkpoint
from pipeline.data.parquet import ParquetDataset
from pipeline.data.storage import Folder
from pipeline.errors import InputError
from pipeline.recipe_file import dump_recipe
from tests.evaluation.conftest import draw, make_recipe, noise, photograph, write_pictures

pytestmark = pytest.mark.slow

RECORDS = [draw(index) for index in range(100, 106)]


class CountedFileSystem(MemoryFileSystem):
    """Files in memory that count how often each is opened for reading."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}  # not that of the class above
    pseudo_dirs: ClassVar[list[str]] = [""]
    opened: ClassVar[Counter[str]] = Counter()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            self.opened[path] += 1
        return super()._open(path, mode=mode, **options)


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)


@pytest.fixture(scope="module")
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of an empty bucket, with a place for names."""
    if request.param == "memory":
        yield f"fsspec+counted://bucket-{uuid.uuid4().hex}/{{}}"
        return
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = f"scheme=http&endpoint_override={host}:{port}&region=us-east-1&allow_bucket_creation=true"
        yield f"s3://key:secret@bucket/{{}}?{options}"
    finally:
        server.stop()


def uploaded(folder: Path, location: str) -> str:
    """The URI of a copy of a folder."""
    for file in folder.rglob("*"):
        if file.is_file():
            Folder(location).put(str(file.relative_to(folder)), file.read_bytes())
    return location


def call(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


both = pytest.mark.parametrize("bucket", ["memory", "s3"], indirect=True)


@both
def test_pictures_at_a_uri_are_scored_filtered_and_compared_as_here(
    bucket: str, data: Path, trained: Path, tmp_path: Path
) -> None:
    here = write_pictures(
        tmp_path / "images", RECORDS, lambda r, sample: noise(r, 0) if sample else photograph(r, 0), samples=2
    )
    there = uploaded(here, bucket.format("images"))
    uploaded(data, bucket.format("data"))
    reports = {"here": (here, data / "validation.parquet"), "there": (there, bucket.format("data/validation.parquet"))}
    for name, (images, photographs) in reports.items():
        call(
            *("evaluate", "--images", images, "--reference", photographs, "--segmenter-weights", trained),
            *("--out", tmp_path / name, "--examples", 2),
        )
    found = [json.loads((tmp_path / name / "report.json").read_text())["sets"] for name in reports]
    for one, other in zip(*found, strict=True):
        assert one.pop("source")["files"] == other.pop("source")["files"]
        assert one == other

    scores = uploaded(tmp_path / "there", bucket.format("report")).replace("report", "report/scores.parquet", 1)
    assert "6 of 12 pictures pass" in call("filter", there, "--scores", scores, "--max-feature-distance", 0.01)
    call("filter", here, "--scores", tmp_path / "here" / "scores.parquet", "--max-feature-distance", 0.01)
    kept = Folder(bucket.format("images-filtered"))
    parts = [name for name in kept.names() if name.startswith("part-")]
    assert parts == ["part-00000.parquet", "part-00001.parquet"]
    for name in parts:
        assert kept.read(name) == (tmp_path / "images-filtered" / name).read_bytes()
    with pytest.raises(InputError, match="exists already; choose another folder"):
        filter_pictures(there, scores, kept.location, min_accuracy=0.1)

    call("compare", bucket.format("report"), tmp_path / "here", "--out", tmp_path / "comparison")
    rows = json.loads((tmp_path / "comparison" / "compare.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["report", "here"]
    assert rows[0]["mean_iou"] == rows[1]["mean_iou"]


@both
def test_training_reads_uris(bucket: str, data: Path, tmp_path: Path) -> None:
    there = uploaded(data, bucket.format("data"))
    small = ["generator.channels=2", "generator.hidden=4", "discriminator.channels=4", "discriminator.layers=3"]
    small += ["training.batch_size=2", "losses.perceptual=0", "training.steps=1"]
    overrides = [argument for override in small for argument in ("--set", override)]
    (tmp_path / "recipe.yaml").write_text(dump_recipe(make_recipe(data)))
    splits = [bucket.format(f"data/{name}.parquet") for name in ("train", "validation")]
    place = ("--set", f"data.train={splits[0]}", "--set", f"data.validation={splits[1]}")
    for name, options in (("here", ()), ("there", place)):
        call("train", tmp_path / "recipe.yaml", "--out", tmp_path / name, "--workers", 0, *overrides, *options)
        call("train-segmenter", tmp_path / "recipe.yaml", "--out", tmp_path / f"{name}-segmenter", *options)
    here, other = (load_checkpoint(tmp_path / name) for name in ("here", "there"))
    assert (here.recipe.data.train, other.recipe.data.train) == (str(data / "train.parquet"), splits[0])
    for one, same in zip(here.generator.parameters(), other.generator.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach().numpy(), same.detach().numpy())
    files = [tmp_path / name / "segmenter.safetensors" for name in ("here-segmenter", "there-segmenter")]
    assert files[0].read_bytes() == files[1].read_bytes()

    fingerprints = json.loads((tmp_path / "there" / "data.json").read_text())
    assert fingerprints[splits[0]] == {"train.parquet": ParquetDataset.open(splits[0]).files[0].fingerprint}
    call("train", tmp_path / "recipe.yaml", "--out", tmp_path / "there", "--workers", 0, *overrides, *place)
    Folder(there).put("train.parquet", (data / "validation.parquet").read_bytes())
    again = CliRunner().invoke(
        main,
        [
            "train",
            str(tmp_path / "recipe.yaml"),
            "--out",
            str(tmp_path / "there"),
            "--workers",
            "0",
            *overrides,
            *place,
        ],
    )
    assert again.exit_code == 2
    assert "train.parquet of the data set" in again.output and "has changed since the run" in again.output


def test_an_evaluation_opens_each_file_once(data: Path, trained: Path, tmp_path: Path) -> None:
    base = f"fsspec+counted://bucket-{uuid.uuid4().hex}"
    sets = {
        name: uploaded(write_pictures(tmp_path / name, RECORDS, made, samples=2), f"{base}/{name}")
        for name, made in (("images", photograph), ("baseline", noise))
    }
    uploaded(data, f"{base}/data")
    CountedFileSystem.opened.clear()
    evaluate(
        sets["images"],
        f"{base}/data/validation.parquet",
        tmp_path / "out",
        segmenter_weights=trained,
        baselines={"noise": sets["baseline"]},
        examples=3,
        device="cpu",
    )
    assert {path.partition(base.partition("://")[2])[2]: count for path, count in CountedFileSystem.opened.items()} == {
        **{f"/{name}/part-0000{part}.parquet": 1 for name in sets for part in range(2)},
        "/data/validation.parquet": 1,
    }


def test_files_beyond_the_limit_are_closed_and_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.parquet.OPEN_FILES", 1)
    dataset = ParquetDataset.open(write_pictures(tmp_path / "images", RECORDS, photograph, parts=3))
    ids = [record.id for part in range(3) for record in RECORDS[part::3]]
    rows = dataset.iter_rows(["id", "image"], batch_rows=1)
    assert next(rows)["id"] == ids[0]
    assert [row["id"] for row in dataset.iter_rows(["id"])] == ids
    assert [file._handle is not None for file in dataset.files] == [False, False, True]
    # A reader that is still at work keeps its file.
    assert [row["id"] for row in rows] == ids[1:]
