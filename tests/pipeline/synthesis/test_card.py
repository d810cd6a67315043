"""The dataset card and Croissant: what `datasets` and huggingface_hub make of a finished folder."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import cli
from tests.pipeline.synthesis import cases


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job with loose pictures of exports beside its parts."""
    folder = tmp_path_factory.mktemp("card")
    checkpoint = cases.write_checkpoint(folder / "run")
    maps = cases.write_maps(folder / "maps.parquet", 5)
    exports = ["--export", "folder", "--export", "coco", "--export", "voc"]
    result = cases.command(maps, checkpoint, folder / "out", "--seed", 3, *exports)
    assert result.exit_code == 0, result.output
    return folder / "out"


def head(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_the_card_says_what_there_is(job: Path) -> None:
    fields = head(job)
    assert fields["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "part-*.parquet"}]}
    ]
    assert fields["label_names"] == dict(enumerate(cases.CLASSES))
    assert (fields["license"], fields["size_categories"]) == ("unknown", ["n<1K"])
    types = {entry["name"]: entry["dtype"] for entry in fields["dataset_info"]["features"]}
    assert types["image"] == types["label"] == types["instance"] == "image"
    assert (types["id"], types["sample"], types["seed"]) == ("string", "int32", "int64")
    text = (job / "README.md").read_text()
    checkpoint = cases.output_rows(job)[0]["checkpoint"]
    assert f"| checkpoint | {checkpoint} |" in text and "| seed | 3 |" in text
    assert "5 pictures that a neural network drew from label maps" in text


def test_load_dataset_finds_pictures_with_label_maps_whatever_lies_beside(job: Path, tmp_path: Path) -> None:
    # In a process of its own: the libraries warn at import, and keep caches under the home directory.
    code = (
        "import sys, datasets, huggingface_hub; d = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2]); "
        "c = huggingface_hub.DatasetCard.load(sys.argv[1] + '/README.md', ignore_metadata_errors=False).data; "
        "r = d['train'][3]; "
        "print(sorted(d), len(d['train']), r['id'], r['image'].size, r['label'].mode, c.license, c.pretty_name)"
    )
    command = [sys.executable, "-c", code, str(job), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "['train'] 5 map/3 (32, 32) L unknown tiny, synthesized"


def test_croissant_has_the_same_facts(job: Path) -> None:
    fields = json.loads((job / "croissant.json").read_text())
    manifest = json.loads((job / "manifest.json").read_text())
    objects = {entry["@id"]: entry.get("sha256") for entry in fields["distribution"]}
    assert objects["part-00000.parquet"] == manifest["parts"][0]["sha256"]
    columns = [entry["source"]["extract"]["column"] for entry in fields["recordSet"][0]["field"]]
    assert columns == [entry["name"] for entry in head(job)["dataset_info"]["features"]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("mlcroissant") is None, reason="mlcroissant is not installed")
def test_mlcroissant_takes_it(job: Path) -> None:
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=str(job / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    assert len(list(dataset.records("pictures"))) == 5


def test_licence_and_scores_come_later(job: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(cli.main, ["card", str(job), "--license", "cc-by-4.0"])
    assert run.exit_code == 0, run.output
    assert head(job)["license"] == "cc-by-4.0"
    from pipeline.data.parquet import ParquetDataset

    [file] = ParquetDataset.open(job).files
    scored = {"source": {"files": [{"footer_sha256": file.fingerprint}]}, "segmenter": {"frechet": 1.5}}
    scored["labels"] = {"native": {"mean_iou": 0.25, "accuracy": None}}
    (tmp_path / "report.json").write_text(json.dumps({"sets": [scored]}))
    assert CliRunner().invoke(cli.main, ["card", str(job), "--report", str(tmp_path)]).exit_code == 0
    text = (job / "README.md").read_text()
    assert "| mean IoU (native) | 0.25 |" in text and "features | 1.5 |" in text
    scored["source"]["files"][0]["footer_sha256"] = "other"  # type: ignore[index]
    (tmp_path / "report.json").write_text(json.dumps({"sets": [scored]}))
    refused = CliRunner().invoke(cli.main, ["card", str(job), "--report", str(tmp_path)])
    assert (refused.exit_code, "has the scores of other pictures" in refused.stderr) == (2, True)
