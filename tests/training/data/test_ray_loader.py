"""Batches that Ray Data makes are those of the threads, up to what is said of a record that is broken."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli import main
from pipeline.config import Recipe, Source
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.errors import InputError
from pipeline.recipe_file import dump_recipe
from training.data import ray_loader as streaming
from training.data.batch import Batch
from training.data.dataset import BatchLoader, RecordDataset, to_batch
from training.distributed import ray_for_training

Make = Callable[..., Recipe]

RECORDS, SIDE, BROKEN = 24, 240, 5


@pytest.fixture(scope="module")
def large(tiny_recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe of six steps an epoch, in four windows or more; record `BROKEN` has no picture that can be read."""
    path = tmp_path_factory.mktemp("noise") / "noise.parquet"
    recipe = tiny_recipe(style_dim=3, data={"window_mib": 1})
    random = np.random.default_rng(0)
    with RecordWriter(path, DatasetInfo(recipe.labels), row_group_rows=2) as writer:
        for index in range(RECORDS):
            label = random.integers(3, size=(SIDE, SIDE), dtype=np.uint8)
            image = random.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
            row = {"id": f"r{index}", "label": label, "instance": label, "image": image}
            writer.write(row | ({"image": b"no picture"} if index == BROKEN else {}))
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": path})})


def drain(batches: Generator[Batch]) -> tuple[list[Batch], str]:
    """All batches of a stream, and the message that ended it."""
    found = []
    try:
        for batch in batches:
            found.append(batch)
    except InputError as error:
        return found, str(error)
    return found, ""


@pytest.mark.ray
def test_batches_and_errors_are_those_of_the_threads(
    large: Recipe, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both workers, from a step of the second epoch on; one of them comes upon the broken record after five."""
    monkeypatch.setattr(streaming, "SPAN", 2)
    halves = [BatchLoader(RecordDataset(large.data.train, large), rank=rank, workers=2) for rank in range(2)]
    bad = next(step for step in range(6, 12) for half in halves if (1, BROKEN) in half.records(step))
    windows = {halves[0].sampler.samplers[0].window(place) for place in range(4 * (bad - 5), 4 * (bad + 2))}
    assert len(windows) > 3
    messages = []
    for half, decoders, job in zip(halves, (2, 1), (99, 5), strict=True):
        monkeypatch.setattr(streaming, "JOB", job)
        expected, said = drain(half.batches(bad - 5, steps=7))
        stream = streaming.stream_batches(half, bad - 5, steps=7, pin=False, decoders=decoders)
        found, message = drain(stream)
        assert (len(found), message) == (len(expected), said)
        for ours, theirs in zip(found, expected, strict=True):
            for name in ("codes", "pictures", "noise", "seeds"):
                one, other = getattr(ours, name), getattr(theirs, name)
                assert torch.equal(one, other)
                assert (one.dtype, one.stride()) == (other.dtype, other.stride())
        messages.append((len(found), message))
    assert sorted(messages)[0][0] == 5
    assert "record 'r5'" in sorted(messages)[0][1]
    assert sorted(messages)[1] == (7, "")


def test_a_decoder_makes_the_batches_of_several_sources(
    large: Recipe, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an actor would: what it is made of is pickled, and read where relative paths mean something else."""
    monkeypatch.chdir(tiny_data.parent)
    sources = (
        Source(path=tiny_data.name, name="tiny", weight=2),
        Source(path=str(large.data.train), name="noise", weight=1, count=3),
    )
    recipe = large.model_copy(update={"data": large.data.model_copy(update={"train": sources})})
    half = BatchLoader(RecordDataset(recipe.data.train, recipe), rank=1, workers=2)
    expected, _ = drain(half.batches(3, steps=4))
    assert len(expected) == 4
    assert {number >= 10 for step in range(3, 7) for _, number in half.records(step)} == {True, False}
    monkeypatch.chdir("/")
    arguments = ([source.source for source in half.examples.sources], recipe, None, 1, 2, 1)
    decoder = streaming.Decoder(*pickle.loads(pickle.dumps(arguments)))
    for step, batch in zip(range(3, 7), expected, strict=True):
        arrays = {name: torch.from_numpy(array[0]) for name, array in decoder({"step": np.array([step])}).items()}
        made = to_batch(**arrays)
        for name in ("codes", "pictures", "noise", "seeds"):
            assert torch.equal(getattr(made, name), getattr(batch, name))


@pytest.mark.ray
def test_decoders_wait_for_the_step_and_end_with_the_stream(large: Recipe, ray_session: None) -> None:
    import ray

    def used(name: str) -> float:
        return ray.cluster_resources()[name] - ray.available_resources().get(name, 0)

    sized = large.model_copy(update={"data": large.data.model_copy(update={"height": SIDE, "width": SIDE})})
    data = BatchLoader(RecordDataset(sized.data.train, sized))
    wait_for(lambda: used("CPU") == 0)  # Ray's books are a little late, and other tests have actors too
    held = used("object_store_memory")
    first = next(step for step in range(6) if BROKEN not in [number for _, number in data.records(step)])
    stream = streaming.stream_batches(data, first, steps=10**6, pin=False, decoders=1)
    next(stream)
    wait_for(lambda: used("CPU") == 1)
    bound = streaming.AHEAD * 4 * SIDE * SIDE * 7
    # A decoder with room would make many more: what is held comes to a stand below the bound, however slow it is. (Well
    # below, for the minutes in which Ray still keeps a share of the limit for the streams of the test before.)
    wait_for(stands_still(lambda: used("object_store_memory")))
    assert used("object_store_memory") - held < 2 * bound
    stream.close()
    wait_for(lambda: used("CPU") == 0)


def stands_still(value: Callable[[], float], readings: int = 20) -> Callable[[], bool]:
    """Whether the last so many readings, one for each call, were alike."""
    seen: list[float] = []

    def condition() -> bool:
        seen.append(value())
        return len(seen) >= readings and len(set(seen[-readings:])) == 1

    return condition


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300  # only against hanging
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.ray
def test_a_cluster_without_room_is_refused(ray_session: None) -> None:
    needs = "--workers 2 with --decoders 2 for each need 6 CPUs, but Ray has 4; lower"
    with pytest.raises(InputError, match=needs), ray_for_training(2, 2):
        pass


def test_decoders_without_ray_are_refused(tiny_recipe: Make, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe()))
    command = ["train", str(path), "--workers", "0", "--decoders", "1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--decoders are actors on Ray, and --workers 0 trains without it" in result.output
