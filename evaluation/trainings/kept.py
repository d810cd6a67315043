"""Trainings as units of work, each kept in a folder named by what made it, run here or several at a time on Ray."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.data.fingerprint import fingerprint_data
from pipeline.data.parquet import ParquetDataset
from pipeline.errors import InputError
from pipeline.runtime.progress import ProgressBar

Result_co = TypeVar("Result_co", covariant=True)


class Kept(Protocol[Result_co]):
    """A training that pickles, and that does nothing twice."""

    @property
    def path(self) -> Path:
        """Its own folder, named by all that its result depends on (`content_name`)."""

    @property
    def device(self) -> str:
        """What it runs on: "cpu", or "cuda", of which it then has one to itself."""

    def run(self) -> Result_co:
        """The result that its folder holds, else that of the training, which is resumed or begun; `InputError` for the
        user's mistakes."""


def content_name(parts: Mapping[str, Any]) -> str:
    """32 hexadecimal digits that stand for JSON values: the name of the folder that they made."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def data_checksum(location: str | Path) -> str:
    """Of the records of a data set, wherever they are stored: a sha256 in hexadecimal digits."""
    files = fingerprint_data(ParquetDataset.open(location))
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def run_all(trainings: Sequence[Kept[Result_co]], workers: int) -> list[Result_co]:
    """The results of all trainings, in their order; equal ones are run once.

    `workers` run side by side on Ray; 0 or 1: here, one after another. Raises `InputError` as they do.
    """
    distinct = {training.path: training for training in trainings}
    found: dict[Path, Result_co] = {}
    with ProgressBar(total=len(distinct), desc="trainings", unit="training") as bar:
        results = _on_ray(distinct, workers) if workers > 1 else ((key, each.run()) for key, each in distinct.items())
        for key, result in results:
            found[key] = result
            bar.update()
    return [found[training.path] for training in trainings]


def _on_ray(trainings: Mapping[Path, Kept[Result_co]], workers: int) -> Iterator[tuple[Path, Result_co]]:
    """The trainings as Ray tasks, so many at a time, as they are done."""
    from pipeline.runtime.ray_session import ray_session

    with ray_session(num_cpus=max(4, workers + 1)):
        import ray

        gpus = 1 if next(iter(trainings.values())).device.startswith("cuda") else 0
        task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=2)(_run)
        waiting = list(trainings.items())
        running: dict[Any, Path] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                key, training = waiting.pop(0)
                running[task.remote(training)] = key
            done, _ = ray.wait(list(running), num_returns=1)
            result = ray.get(done[0])
            if isinstance(result, InputError):
                raise result
            yield running.pop(done[0]), result


def _run(training: Kept[Result_co]) -> Result_co | InputError:
    """A mistake as a value: Ray would wrap it into pages of traceback."""
    try:
        return training.run()
    except InputError as error:
        return error
