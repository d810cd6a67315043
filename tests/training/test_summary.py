"""The page about a run, and the times in it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.config import Recipe
from tests.pages import check_page
from training.data.dataset import BatchLoader, RecordDataset
from training.metrics import MetricLogger
from training.run_folder import RunFolder
from training.state import TrainingState
from training.summary import write_summary
from training.train import train
from training.worker import Worker

Make = Callable[..., Recipe]


def test_the_page_has_curves_samples_and_figures_and_needs_nothing_else(tiny_recipe: Make, tmp_path: Path) -> None:
    train(tiny_recipe(log_every=1, style_dim=3), tmp_path / "run", workers=0)
    page = (tmp_path / "run/summary.html").read_text()
    check_page(page)
    titles = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert titles == [
        "Generator&#39;s losses",
        "Discriminator&#39;s losses",
        "Discriminator&#39;s scores",
        "Gradient norms",
        "Images per second",
        "Waiting for data",
    ]
    curves = re.findall('<polyline points="(.*?)"', page)
    assert [len(curve.split()) for curve in curves] == [6] * len(curves)  # a point for each of the six entries
    assert len(curves) == 3 + 2 + 3 + 2 + 1 + 1
    assert "6 of 6, 4 pictures each" in page
    picture = re.search('src="data:image/png;base64,(.*?)"', page)
    assert picture
    assert Image.open(io.BytesIO(base64.b64decode(picture[1]))).size == (6 * 32, 5 * 32)


def test_a_run_without_a_step_has_no_page(tiny_recipe: Make, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(tiny_recipe())
    write_summary(folder, tiny_recipe())
    assert not folder.summary.exists()


def test_the_meter_tells_steps_waits_and_pauses_apart(tiny_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe()
    state = TrainingState(recipe, Worker(), None)
    terms = state.step(next(BatchLoader(RecordDataset(recipe.data.train, recipe)).batches()))
    clock = [100.0]
    monkeypatch.setattr("training.metrics.time.perf_counter", lambda: clock[0])
    metrics = MetricLogger(Worker(), 0)
    with metrics.waiting():
        clock[0] += 1
    clock[0] += 3
    metrics.add(terms)
    with metrics.pause():
        clock[0] += 50
    entry = metrics.read(1, state)
    assert (entry["seconds"], entry["images_per_second"], entry["data_wait"]) == (4, 1, 0.25)
    assert torch.isfinite(torch.tensor(list(entry["losses"].values()))).all()
    with metrics.waiting():  # what was read is not read again
        clock[0] += 2
    metrics.add(terms)
    metrics.add(terms)
    entry = metrics.read(3, state)
    assert (entry["seconds"], entry["images_per_second"], entry["data_wait"]) == (2, 4, 1)
    assert "communication" not in entry  # one worker waits for nobody
